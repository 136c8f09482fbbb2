"""The fields of a message of which its envelope is made (RFC 9051 §7.5.2)."""

from __future__ import annotations

from typing import NamedTuple

from mailstack.mail.header import Values, unfold, values


class EnvelopeFields(NamedTuple):
    """The fields in the order of the protocol, unfolded and otherwise as in the header. None for a string that
    is absent; b"" for a list of addresses that is."""

    date: bytes | None
    subject: bytes | None
    from_: bytes
    sender: bytes
    reply_to: bytes
    to: bytes
    cc: bytes
    bcc: bytes
    in_reply_to: bytes | None
    message_id: bytes | None


def envelope(header: bytes) -> EnvelopeFields:
    """The envelope's fields of a header section."""
    return envelope_of_values(values(header))


def envelope_of_values(found: Values) -> EnvelopeFields:
    """The same of the header's values. A field that is there more than once though it may not be
    (RFC 5322 §3.6) counts with its first, lists of addresses with all."""
    return EnvelopeFields(
        _text(found, b"date"),
        _text(found, b"subject"),
        _addresses(found, b"from"),
        _addresses(found, b"sender"),
        _addresses(found, b"reply-to"),
        _addresses(found, b"to"),
        _addresses(found, b"cc"),
        _addresses(found, b"bcc"),
        _text(found, b"in-reply-to"),
        _text(found, b"message-id"),
    )


def _text(found: Values, name: bytes) -> bytes | None:
    raw = found.get(name)
    return None if raw is None else unfold(raw[0])


def _addresses(found: Values, name: bytes) -> bytes:
    raw = found.get(name)
    if raw is None:
        return b""
    return unfold(raw[0]) if len(raw) == 1 else b", ".join([unfold(value) for value in raw])
