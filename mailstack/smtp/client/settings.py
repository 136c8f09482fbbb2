"""What a session with another server is like, and how long it waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mailstack.auth.client import LoginAs
from mailstack.handover import Content

GREETING_TIME = 300.0
"""Seconds for the greeting (RFC 5321 §4.5.3.2.1)."""
HELLO_TIME = 300.0
"""For the replies to EHLO, STARTTLS, AUTH and RSET; ours, since the RFC names none for them."""
MAIL_TIME = 300.0
"""RFC 5321 §4.5.3.2.2."""
RCPT_TIME = 300.0
"""RFC 5321 §4.5.3.2.3."""
DATA_TIME = 120.0
"""For the 354 (RFC 5321 §4.5.3.2.4)."""
BLOCK_TIME = 180.0
"""For the server to take a piece of mail data (RFC 5321 §4.5.3.2.5)."""
END_OF_DATA_TIME = 600.0
"""RFC 5321 §4.5.3.2.6."""
QUIT_TIME = 10.0
"""For the 221; ours: nothing depends on it."""

Downconvert = Callable[[Content], Awaitable[Content | None]]
"""Makes a message with 8-bit text one without (RFC 6152 §3), None if that cannot be."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """`hostname` is what we say in EHLO: a domain name in ASCII, or an address literal.

    `implicit_tls`: TLS begins before the greeting (RFC 8314 §3). `plaintext_login`: a password may be sent without
    TLS. Messages of `chunking_from` octets or more go by BDAT, where it is offered; others fare as well by DATA."""

    hostname: str
    lmtp: bool = False
    implicit_tls: bool = False
    login: LoginAs | None = None
    plaintext_login: bool = False
    pipelining: bool = True
    chunking_from: int = 128 * 1024
    downconvert: Downconvert | None = None
