"""Trace header fields: what a server writes above a message that passes (RFC 5321 §4.4).

All functions return whole header fields, ending in CRLF, as octets. Non-ASCII stays UTF-8, which
is right for a message that needs SMTPUTF8 (RFC 6532 §3.2) and does not happen for others.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from mailstack.mail.address import Address

MAX_COMMENT = 200
"""Characters of what a mark says."""
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Hop:
    """One passage of a message through a server, for its Received field.

    `helo` is what the client called itself, checked by the grammar; `peer` its IP address or "";
    `protocol` a word of RFC 3848; `tls` as "TLSv1.3 TLS_AES_256_GCM_SHA384" or ""; `when` in seconds
    since the epoch; `priority` as of RFC 6710."""

    helo: str
    peer: str
    by: str
    protocol: str
    id: str
    when: float
    tls: str = ""
    priority: int = 0


@lru_cache(maxsize=16)
def _date_time(second: int) -> str:
    t = time.gmtime(second)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02d} {_MONTHS[t.tm_mon - 1]} {t.tm_year:04d} "
        f"{t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} +0000"
    )


def date_time(when: float) -> str:
    """A date-time of RFC 5322 §3.3, in UTC. `when` in seconds since the epoch."""
    # date-time = [ day-of-week "," ] date time   ; RFC 5322 §3.3
    return _date_time(int(when))


def with_protocol(*, extended: bool, tls: bool, login: bool, smtputf8: bool, lmtp: bool = False) -> str:
    """The word after "with": RFC 3848 for ESMTP and LMTP, RFC 6531 §4.3 for UTF8SMTP and UTF8LMTP."""
    if not extended:
        return "SMTP"
    word = "LMTP" if lmtp else "SMTP" if smtputf8 else "ESMTP"
    return ("UTF8" if smtputf8 else "") + word + ("S" if tls else "") + ("A" if login else "")


def received(hop: Hop, recipient: Address | None = None) -> bytes:
    """The Received field (RFC 5321 §4.4). `recipient` only if it is the message's only one: others
    must not learn of it."""
    # Time-stamp-line = "Received:" FWS Stamp <CRLF>
    # Stamp = From-domain By-domain Opt-info [CFWS] ";" FWS date-time   ; RFC 5321 §4.4
    source = f"{hop.helo} ({address_literal(hop.peer)})" if hop.peer else hop.helo
    secured = f"\r\n\t(using {hop.tls})" if hop.tls else ""
    only = f"\r\n\tfor <{recipient}>" if recipient is not None else ""
    # Pri = CFWS "PRIORITY" FWS priority-value   ; RFC 6710 §7
    urgent = f"\r\n\tPRIORITY {hop.priority}" if hop.priority else ""
    return (
        f"Received: from {source}{secured}\r\n\tby {hop.by} with {hop.protocol} id {hop.id}{only}{urgent};"
        f"\r\n\t{date_time(hop.when)}\r\n"
    ).encode()


def marks(found: Sequence[tuple[str, str]]) -> bytes:
    """What checks noticed of a message that was taken all the same: words, and what they say of each."""
    said = ";\r\n\t".join(f"{word} ({_comment(detail)})" if detail else word for word, detail in found)
    return f"Mailstack-Marks: {said}\r\n".encode()


def _comment(text: str) -> str:
    # ccontent = ctext / quoted-pair ; RFC 5322 §3.2.2
    return re.sub(r"([()\\])", r"\\\1", re.sub(r"[^ -~]", "?", text))[:MAX_COMMENT]


def return_path(sender: Address | None) -> bytes:
    """The Return-Path field, written at final delivery only (RFC 5321 §4.4)."""
    # Return-path-line = "Return-Path:" FWS Reverse-path <CRLF>   ; RFC 5321 §4.4
    return b"Return-Path: <>\r\n" if sender is None else f"Return-Path: <{sender}>\r\n".encode()


def delivered_to(recipient: Address) -> bytes:
    """The Delivered-To field (RFC 9228 §4): the address that brought the message here."""
    return f"Delivered-To: {recipient}\r\n".encode()


def date(when: float) -> bytes:
    """A Date field, for a submission without one (RFC 6409 §8.1)."""
    return f"Date: {date_time(when)}\r\n".encode()


def message_id(unique: str, when: float, host: str) -> bytes:
    """A Message-ID field, for a submission without one (RFC 6409 §8.3). `unique` is an id that
    differs from all others of this host at that time."""
    # msg-id = [CFWS] "<" id-left "@" id-right ">" [CFWS]   ; RFC 5322 §3.6.4
    return f"Message-ID: <{int(when)}.{unique}@{host}>\r\n".encode()


def address_literal(host: str) -> str:
    """An IP address with its brackets (RFC 5321 §4.1.3)."""
    return f"[IPv6:{host}]" if ":" in host else f"[{host}]"
