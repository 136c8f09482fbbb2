"""What SORT and THREAD compare messages by (RFC 5256, RFC 5957), made once from a message's header and kept as
octets by `Mailbox.derive`.

A record is a head of numbers, the references, and six texts with NUL between them. Texts are in the form that a
collation compares, i;unicode-casemap (RFC 5051) usually, as UTF-8, so that octets stand in its order. Of a msg-id only
a hash is kept: 64 bits, of which two of one mailbox are not the same by chance."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from struct import Struct

from mailstack.mail.addresses import ListedAddress, address_list
from mailstack.mail.collation import COLLATIONS, DEFAULT
from mailstack.mail.dates import sent_date
from mailstack.mail.header import Values, common_values, unfold
from mailstack.mail.message_ids import message_ids
from mailstack.mail.subject import base_subject
from mailstack.mail.words import decode_words, guess
from mailstack.ports import Octets

ITEM = "SORT 1"
"""The name under which records are kept, with that of the collation behind it unless it is the default one: to be
changed when their form changes."""
NO_DATE = -(1 << 62)
"""The sent date of a message without a valid one: then its internal date counts (RFC 5256 §2.2)."""
MAX_REFERENCES = 1000
"""References of one message that are kept, the last ones; ours."""
MAX_SUBJECT = 4000
"""Octets of a base subject that are compared octet by octet; of a longer one the rest counts as equal or not; ours."""
MAX_ADDRESS = 500
"""The same of an address or a display name."""

SHORT = 200
"""Octets of an address-list of which the texts are remembered: a mailbox has the same ones again and again."""
MAX_REMEMBERED = 1024
"""Address-lists that are remembered, with some 1 KB each; ours."""

SUBJECT, FROM, TO, CC, DISPLAY_FROM, DISPLAY_TO = range(6)
"""The texts of a record."""

# sent date, whether it is a reply or forward, hash of the msg-id or 0, number of references
_HEAD = Struct("<q?QH")
EMPTY = _HEAD.pack(NO_DATE, False, 0, 0) + b"\0" * 5
"""The record of a message without a header."""
_WHO = (b"from", b"to", b"cc")
_Map = Callable[[str], str]


def item(collation: str) -> str:
    """The name under which records are kept whose texts are compared by a collation."""
    return ITEM if collation == DEFAULT.name else f"{ITEM} {collation}"


def record(octets: Octets, collation: str = DEFAULT.name) -> bytes:
    """The record of a message. Pure; for Mailbox.derive."""
    compared = COLLATIONS[collation].map
    fields = common_values(octets)
    base = base_subject(decode_words(_first(fields, b"subject")))
    date = sent_date(_first(fields, b"date"))
    own = message_ids(_first(fields, b"message-id"))[:1]
    references = array("Q", map(_hash, _references(fields)))
    (sender, from_), (recipient, to), (copied, _) = (_people(fields, name, collation) for name in _WHO)
    texts = (
        _text(base.text, MAX_SUBJECT, compared),
        sender, recipient, copied, from_, to,
    )  # fmt: skip
    head = _HEAD.pack(
        NO_DATE if date is None else date, base.reply, _hash(own[0]) if own else 0, len(references)
    )  # fmt: skip
    return head + references.tobytes() + b"\0".join(texts)


def date_of(made: bytes) -> int:
    """The sent date of a record in seconds since the epoch, or NO_DATE."""
    return int.from_bytes(made[:8], "little", signed=True)


def text_of(made: bytes, number: int) -> bytes:
    """One of a record's texts."""
    return made[_HEAD.size + 8 * int.from_bytes(made[_HEAD.size - 2 : _HEAD.size], "little") :].split(b"\0")[number]


def ids_of(made: bytes) -> tuple[int, bool, int, bytes]:
    """Sent date, whether it is a reply or forward, hash of the msg-id or 0, and the references as octets of an
    array("Q")."""
    date, reply, own, count = _HEAD.unpack_from(made)
    return date, reply, own, made[_HEAD.size : _HEAD.size + 8 * count]


# --- from the header ------------------------------------------------------------------------


def _first(fields: Values, name: bytes) -> bytes:
    raw = fields.get(name)
    return b"" if raw is None else unfold(raw[0])


def _people(fields: Values, name: bytes, collation: str) -> tuple[bytes, bytes]:
    """The texts of the mailbox and of the display name that a field of addresses is ordered by."""
    raw = fields.get(name)
    if raw is None:
        return b"", b""
    value = unfold(raw[0]) if len(raw) == 1 else b", ".join([unfold(value) for value in raw])
    return _remembered(value, collation) if len(value) <= SHORT else _first_of(value, collation)


def _first_of(value: bytes, collation: str) -> tuple[bytes, bytes]:
    compared = COLLATIONS[collation].map
    first = address_list(value)[:1]
    return _mailbox(first, compared), _display(first, compared)


_remembered = lru_cache(MAX_REMEMBERED)(_first_of)


def _references(fields: Values) -> list[bytes]:
    """RFC 5256 §3, THREAD: those of References, or else the first one of In-Reply-To."""
    found = message_ids(b" ".join([unfold(value) for value in fields.get(b"references", ())]))
    return found[-MAX_REFERENCES:] or message_ids(_first(fields, b"in-reply-to"))[:1]


def _mailbox(addresses: list[ListedAddress], compared: _Map) -> bytes:
    """The addr-mailbox of the first address; of a group, its name, as in ENVELOPE."""
    return _text(guess(addresses[0].mailbox or b""), MAX_ADDRESS, compared) if addresses else b""


def _display(addresses: list[ListedAddress], compared: _Map) -> bytes:
    """RFC 5957 §3."""
    if not addresses:
        return b""
    first = addresses[0]
    shown = decode_words(first.name) if first.name is not None else ""
    if not shown:
        shown = guess(first.mailbox or b"")
        if first.mailbox is not None and first.host is not None:
            shown += "@" + guess(first.host)
    return _text(shown, MAX_ADDRESS, compared)


def _text(text: str, limit: int, compared: _Map) -> bytes:
    mapped = compared(text.replace("\0", "")).encode("utf-8", "replace")
    if len(mapped) <= limit:
        return mapped
    return mapped[:limit] + blake2b(mapped, digest_size=16).hexdigest().encode()


def _hash(message_id: bytes) -> int:
    return int.from_bytes(blake2b(message_id, digest_size=8).digest()) or 1
