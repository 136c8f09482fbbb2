"""Values as the octets of IMAP responses (RFC 9051 §9, RFC 3501 §9).

`utf8` says that the client has enabled IMAP4rev2 or UTF8=ACCEPT (RFC 6855 §3), so that quoted strings
may have UTF-8 in them; otherwise what is not ASCII goes as a literal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from functools import lru_cache
from itertools import chain, islice

from mailstack.mail.addresses import address_list
from mailstack.mail.envelope import envelope_of_values as envelope_fields
from mailstack.mail.header import Findable, Values, block, values
from mailstack.mail.mailbox_name import to_modified_utf7
from mailstack.mail.mime import Part
from mailstack.mail.words import Parameters
from mailstack.ports import FIRST_KEYWORD, Flag

MAX_QUOTED = 1000
"""Octets of a quoted string; a longer one goes as a literal, for the line buffers of clients (RFC 7162 §4)."""
MAX_SET = 7000
"""Octets of a sequence-set after which a second response is begun; RFC 7162 §4 speaks of lines of 8192 octets."""
MAX_FLAG_LISTS = 4096
"""Flag lists that are remembered for one mailbox; ours."""
SHORT_LIST = 200
"""Octets of an address-list of which the response is remembered: a mailbox has the same ones again and again."""
MAX_ADDRESS_LISTS = 1024
"""Address-lists that are remembered, with at most 2 KB each; ours."""

# QUOTED-CHAR without quoted-specials, and without other controls than TAB, on which clients stumble
_PLAIN = re.compile(rb"[\t !#-\[\]-~]*")
_QUOTABLE = re.compile(rb"[\t -~]*")
_QUOTABLE_UTF8 = re.compile(rb"[\t -~\x80-\xff]*")
_SPECIALS = re.compile(rb"([\"\\])")
# ASTRING-CHAR = ATOM-CHAR / "]"   ; RFC 9051 §9
_ATOM = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")


# --- strings --------------------------------------------------------------------------------


def string(value: bytes, *, utf8: bool = False) -> bytes:
    # string = quoted / literal   ; RFC 9051 §9
    """A quoted string if that can hold the value, else a literal. NUL, which neither can hold,
    becomes "?"."""
    if len(value) <= MAX_QUOTED:
        if _PLAIN.fullmatch(value):
            return b'"%b"' % value
        if _QUOTABLE.fullmatch(value) or (utf8 and _is_quotable_utf8(value)):
            return b'"%b"' % _SPECIALS.sub(rb"\\\1", value)
    return literal(value.replace(b"\0", b"?"))


def _is_quotable_utf8(value: bytes) -> bool:
    if not _QUOTABLE_UTF8.fullmatch(value):
        return False
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def literal(value: bytes) -> bytes:
    # literal = "{" number64 "}" CRLF *CHAR8   ; RFC 9051 §9, as a server sends it
    return b"{%d}\r\n%b" % (len(value), value)


def literal8(value: bytes) -> bytes:
    # literal8 = "~{" number64 "}" CRLF *OCTET   ; RFC 9051 §9
    return b"~{%d}\r\n%b" % (len(value), value)


def nstring(value: bytes | None, *, utf8: bool = False) -> bytes:
    # nstring = string / nil
    return b"NIL" if value is None else string(value, utf8=utf8)


def astring(value: bytes, *, utf8: bool = False) -> bytes:
    # astring = 1*ASTRING-CHAR / string ; "NIL" is quoted so that nobody takes it for nil
    if _ATOM.fullmatch(value) and len(value) <= MAX_QUOTED and value.upper() != b"NIL":
        return value
    return string(value, utf8=utf8)


def mailbox(name: str, *, utf8: bool = False) -> bytes:
    # mailbox = "INBOX" / astring   ; UTF-8, or modified UTF-7 of RFC 3501 §5.1.3
    if utf8:
        return astring(name.encode("utf-8", "replace"), utf8=True)
    return astring(to_modified_utf7(name).encode("ascii"))


# --- flags ----------------------------------------------------------------------------------

RECENT = 1 << 40
"""A bit above all of a mailbox's, for \\Recent, which belongs to a session (RFC 3501 §2.3.2)."""

_SYSTEM = (
    (int(Flag.ANSWERED), b"\\Answered"),
    (int(Flag.FLAGGED), b"\\Flagged"),
    (int(Flag.DELETED), b"\\Deleted"),
    (int(Flag.SEEN), b"\\Seen"),
    (int(Flag.DRAFT), b"\\Draft"),
    (RECENT, b"\\Recent"),
)


class FlagLists(dict[int, bytes]):
    """`lists[bits]` is "(\\Seen $Junk)". Remembers each combination; `keywords` may only be appended to."""

    def __init__(self, keywords: Sequence[str]) -> None:
        super().__init__()
        self._keywords = keywords

    def __missing__(self, bits: int) -> bytes:
        if len(self) >= MAX_FLAG_LISTS:
            self.clear()
        made = self[bits] = flag_list(bits, self._keywords)
        return made


def flag_list(bits: int, keywords: Sequence[str]) -> bytes:
    # flag-list = "(" [flag *(SP flag)] ")"   ; RFC 9051 §9
    names = [name for bit, name in _SYSTEM if bits & bit]
    names += [word.encode() for i, word in enumerate(keywords) if bits >> (FIRST_KEYWORD + i) & 1]
    return b"(%b)" % b" ".join(names)


# --- dates and numbers ----------------------------------------------------------------------

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPOCH = date(1970, 1, 1).toordinal()


def date_time(seconds: float) -> bytes:
    # date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE   ; RFC 9051 §9
    """Seconds since the epoch, in UTC."""
    day, second = divmod(int(seconds // 1), 86400)
    return b'"%b %02d:%02d:%02d +0000"' % (_day(day), second // 3600, second // 60 % 60, second % 60)


@lru_cache(maxsize=1024)
def _day(days: int) -> bytes:
    ordinal = min(max(_EPOCH + days, 1), date.max.toordinal())
    day = date.fromordinal(ordinal)
    return b"%2d-%b-%04d" % (day.day, _MONTHS[day.month - 1].encode(), day.year)


def sequence_set(numbers: Sequence[int]) -> bytes:
    # sequence-set = (seq-number / seq-range) ["," sequence-set]   ; RFC 9051 §9
    """Ascending numbers, each once, as "1:4,7"; b"" for none. A run costs the logarithm of its length."""
    pieces: list[bytes] = []
    at, count = 0, len(numbers)
    while at < count:
        first = numbers[at]
        step = 1
        while at + step < count and numbers[at + step] == first + step:
            step *= 2
        low, high = step // 2, min(step, count - at)
        while high - low > 1:
            middle = (low + high) // 2
            if numbers[at + middle] == first + middle:
                low = middle
            else:
                high = middle
        pieces.append(b"%d:%d" % (first, first + low) if low else b"%d" % first)
        at += low + 1
    return b",".join(pieces)


def vanished(known_uids: bytes, *, earlier: bool = False) -> Iterator[bytes]:
    # expunged-resp = "VANISHED" [SP "(EARLIER)"] SP known-uids   ; RFC 7162 §7
    """The responses that name these UIDs, given as a sequence-set; several when they are many, since clients have
    line buffers, too; none for b""."""
    head = b"* VANISHED (EARLIER) " if earlier else b"* VANISHED "
    start = 0
    while start < len(known_uids):
        comma = known_uids.find(b",", start + MAX_SET)
        end = comma if comma >= 0 else len(known_uids)
        yield b"%b%b\r\n" % (head, known_uids[start:end])
        start = end + 1


def runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges of ascending numbers, each once, as a SequenceSet has them."""
    first = last = 0
    for number in numbers:
        if number != last + 1 or not first:
            if first:
                yield first, last
            first = number
        last = number
    if first:
        yield first, last


def ordered_set(numbers: Sequence[int]) -> bytes:
    # sequence-set   ; RFC 5267 §3.2: ranges only where the numbers ascend, so that the order is that of the numbers
    """As `sequence_set`, of numbers in any order."""
    if isinstance(numbers, range) or all(map(int.__lt__, numbers, islice(numbers, 1, None))):
        return sequence_set(numbers)
    pieces: list[bytes] = []
    first = last = numbers[0]
    for number in chain(islice(numbers, 1, None), (0,)):
        if number != last + 1:
            pieces.append(b"%d" % first if first == last else b"%d:%d" % (first, last))
            first = number
        last = number
    return b",".join(pieces)


# --- envelope and body structure --------------------------------------------------------------


def envelope_of(header: bytes, *, utf8: bool = False) -> bytes:
    """ENVELOPE of a header section."""
    return envelope_of_values(values(header), utf8=utf8)


def envelope_of_values(found: Values, *, utf8: bool = False) -> bytes:
    # envelope = "(" env-date SP env-subject SP env-from SP env-sender SP env-reply-to SP env-to SP env-cc SP
    #            env-bcc SP env-in-reply-to SP env-message-id ")"   ; RFC 9051 §9
    """Of a header's values. Who sent it and who is to be answered is the author, unless the header says otherwise
    (RFC 9051 §7.5.2)."""
    fields = envelope_fields(found)
    author = _addresses(fields.from_, utf8)
    sender, reply_to = _addresses(fields.sender, utf8), _addresses(fields.reply_to, utf8)
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        nstring(fields.date, utf8=utf8),
        nstring(fields.subject, utf8=utf8),
        author,
        author if sender == b"NIL" else sender,
        author if reply_to == b"NIL" else reply_to,
        _addresses(fields.to, utf8),
        _addresses(fields.cc, utf8),
        _addresses(fields.bcc, utf8),
        nstring(fields.in_reply_to, utf8=utf8),
        nstring(fields.message_id, utf8=utf8),
    )


def _addresses(value: bytes, utf8: bool) -> bytes:
    # "(" 1*address ")" / nil
    if not value:
        return b"NIL"
    return _remembered_addresses(value, utf8) if len(value) <= SHORT_LIST else _list_of_addresses(value, utf8)


def _list_of_addresses(value: bytes, utf8: bool) -> bytes:
    # address = "(" addr-name SP addr-adl SP addr-mailbox SP addr-host ")"
    addresses = address_list(value)
    if not addresses:
        return b"NIL"
    return b"(%b)" % b"".join(
        b"(%b %b %b %b)"
        % (nstring(name, utf8=utf8), nstring(adl, utf8=utf8), nstring(local, utf8=utf8), nstring(host, utf8=utf8))
        for name, adl, local, host in addresses
    )


_remembered_addresses = lru_cache(MAX_ADDRESS_LISTS)(_list_of_addresses)


def body(octets: Findable, part: Part, *, extended: bool, utf8: bool = False) -> bytes:
    # body = "(" (body-type-1part / body-type-mpart) ")"   ; RFC 9051 §9
    """BODYSTRUCTURE, or with `extended` false BODY, of the message `part` whose octets are given."""
    if part.children:
        pieces = b"".join([body(octets, child, extended=extended, utf8=utf8) for child in part.children])
        inside = b"%b %b" % (pieces, string(part.subtype, utf8=utf8))
        if extended:
            inside += b" %b %b" % (_params(part.params, utf8), _extension(part, utf8))
        return b"(%b)" % inside
    # body-type-basic = media-basic SP body-fields
    inside = b"%b %b %b %b %b %b %d" % (
        string(part.type),
        string(part.subtype),
        _params(part.params, utf8),
        nstring(part.id, utf8=utf8),
        nstring(part.description, utf8=utf8),
        string(part.encoding),
        part.size,
    )
    if part.message is not None:
        # body-type-msg = media-message SP body-fields SP envelope SP body SP body-fld-lines
        header = block(octets, part.message.header_start, part.message.body_start)
        nested = body(octets, part.message, extended=extended, utf8=utf8)
        inside += b" %b %b %d" % (envelope_of(header, utf8=utf8), nested, part.lines)
    elif part.type == b"text":
        inside += b" %d" % part.lines
    if extended:
        # body-ext-1part = body-fld-md5 [SP body-fld-dsp [SP body-fld-lang [SP body-fld-loc …]]]
        inside += b" %b %b" % (nstring(part.md5, utf8=utf8), _extension(part, utf8))
    return b"(%b)" % inside


def _params(params: Parameters, utf8: bool) -> bytes:
    # body-fld-param = "(" string SP string *(SP string SP string) ")" / nil
    if not params:
        return b"NIL"
    return b"(%b)" % b" ".join([string(item, utf8=utf8) for pair in params for item in pair])


def _extension(part: Part, utf8: bool) -> bytes:
    # body-fld-dsp SP body-fld-lang SP body-fld-loc
    disposition, language = b"NIL", b"NIL"
    if part.disposition is not None:
        disposition = b"(%b %b)" % (string(part.disposition), _params(part.disposition_params, utf8))
    if len(part.language) == 1:
        language = string(part.language[0], utf8=utf8)
    elif part.language:
        language = b"(%b)" % b" ".join([string(tag, utf8=utf8) for tag in part.language])
    return b"%b %b %b" % (disposition, language, nstring(part.location, utf8=utf8))
