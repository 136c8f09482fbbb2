"""Which server `send` and `sendmail` talk to, and talking to it. Standard library only: starts fast."""

from __future__ import annotations

import json
import os
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mailstack.cli.state import READY_FILE, default_state_directory

VARIABLE = "MAILSTACK_SERVER"
"""Names the server as `host:port`."""
TIMEOUT = 60.0
"""Seconds to wait for any one reply."""
SMTP_PORT = 25
TLS_MODES = ("none", "starttls", "implicit")


class NoServer(Exception):
    """There is no server to talk to, or its name does not parse."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where to, and how. `ca` is a PEM file of authorities instead of the system's."""

    host: str
    port: int
    tls: str = "none"
    ca: str | None = None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether what is said to it cannot leave this machine."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def connect(self) -> smtplib.SMTP:
        """A session past its greeting, EHLO and TLS. Raises: OSError, smtplib.SMTPException."""
        context = ssl.create_default_context(cafile=self.ca)
        if self.tls == "implicit":
            session: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT, context=context)
        else:
            session = smtplib.SMTP(self.host, self.port, timeout=TIMEOUT)
        try:
            if self.tls == "starttls":
                session.starttls(context=context)
            session.ehlo_or_helo_if_needed()
        except BaseException:
            session.close()
            raise
        return session


def parse_server(text: str, default_port: int = SMTP_PORT) -> Server:
    """`host`, `host:port` or `[::1]:port`. Raises: NoServer."""
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise NoServer(f"expected a server as [::1]:2525, not {text}")
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host or not (port.isascii() and port.isdecimal() or not port) or int(port or 0) > 65535:
        raise NoServer(f"expected a server as host:port, not {text}")
    return Server(host, int(port) if port else default_port)


def running_development_server(state: Path | None = None) -> Server | None:
    """The development mode that this user runs now, by its ready file; None if none is running."""
    path = (state or default_state_directory()) / READY_FILE
    try:
        document = json.loads(path.read_text())
        os.kill(document["pid"], 0)
        return Server(document["smtp"]["host"], document["smtp"]["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # none runs: no file, one half gone, or one left behind by a killed process


def local_server() -> Server:
    """$MAILSTACK_SERVER, else the running development mode, else localhost:25. Raises: NoServer."""
    named = os.environ.get(VARIABLE, "")
    if named:
        return parse_server(named)
    return running_development_server() or Server("localhost", SMTP_PORT)


def smtp_options(session: smtplib.SMTP, sender: str, recipients: Sequence[str], octets: bytes) -> list[str]:
    """The parameters of MAIL that this message needs (RFC 6152, RFC 6531). Puts the session into
    UTF-8 where addresses need it. Raises: smtplib.SMTPNotSupportedError."""
    options = [] if octets.isascii() or not session.has_extn("8bitmime") else ["BODY=8BITMIME"]
    if all(address.isascii() for address in (sender, *recipients)):
        return options
    if not session.has_extn("smtputf8"):
        raise smtplib.SMTPNotSupportedError("the server does not take addresses outside ASCII (SMTPUTF8)")
    return [*options, "SMTPUTF8"]


def one_line(error: Exception) -> str:
    """What the server or the system said, in one line, and what may help."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "; ".join(f"{who}: {code} {_text(said)}" for who, (code, said) in error.recipients.items())
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_text(error.smtp_error)}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return "it does not begin with TLS"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return _text(str(error)) or type(error).__name__


def _text(said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return " ".join(text.split())
