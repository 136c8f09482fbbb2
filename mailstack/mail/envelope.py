"""The envelope structure of a message: what ENVELOPE says of its header (RFC 9051 §7.5.2)."""

from __future__ import annotations

from typing import NamedTuple

from mailstack.mail.addresses import ListedAddress, address_list
from mailstack.mail.header import unfold, values


class EnvelopeFields(NamedTuple):
    """The fields in the order of the protocol. Strings are unfolded and otherwise as in the header,
    None if absent; an empty list stands for an absent or empty field."""

    date: bytes | None
    subject: bytes | None
    from_: list[ListedAddress]
    sender: list[ListedAddress]
    reply_to: list[ListedAddress]
    to: list[ListedAddress]
    cc: list[ListedAddress]
    bcc: list[ListedAddress]
    in_reply_to: bytes | None
    message_id: bytes | None


def envelope(header: bytes) -> EnvelopeFields:
    """The envelope of a header section. A field that is there more than once though it may not be
    (RFC 5322 §3.6) counts with its first, lists of addresses with all."""
    found = values(header)
    sender = _addresses(found, b"from")
    return EnvelopeFields(
        _text(found, b"date"),
        _text(found, b"subject"),
        sender,
        _addresses(found, b"sender") or sender,
        _addresses(found, b"reply-to") or sender,
        _addresses(found, b"to"),
        _addresses(found, b"cc"),
        _addresses(found, b"bcc"),
        _text(found, b"in-reply-to"),
        _text(found, b"message-id"),
    )


def _text(found: dict[bytes, list[bytes]], name: bytes) -> bytes | None:
    raw = found.get(name)
    return None if raw is None else unfold(raw[0])


def _addresses(found: dict[bytes, list[bytes]], name: bytes) -> list[ListedAddress]:
    raw = found.get(name)
    if raw is None:
        return []
    return address_list(unfold(raw[0]) if len(raw) == 1 else b", ".join([unfold(value) for value in raw]))
