"""The server's side of SASL (RFC 4422): each mechanism a small state machine, without IO.

SMTP, IMAP and POP3 share it. What is theirs: carrying the base64 lines, the "*" with which a client
gives up, asking `ports.Accounts` about the credentials, and the words of the reply.

    exchange = start("PLAIN")                     None: no such mechanism
    step = exchange.respond(initial_or_None)      Challenge: send it as base64, decode the answer
    step = exchange.respond(answer)               Credentials: ask Accounts
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mailstack.errors import BadSyntax

MAX_BASE64 = 12288
"""Octets of one base64 line without CRLF (RFC 4954 §4)."""
MAX_FIELD = 1024
"""Octets of a user name, an authorization identity or a password; RFC 4616 §2 asks for at least 255."""


class Secret:
    """A password or token. Shows itself to nobody who does not call `reveal`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself, for the one who checks it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(("Secret", self._text))


@dataclass(frozen=True, slots=True)
class Challenge:
    """What to send to the client next, before base64; often empty."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who the client says it is (`user`, the authcid), and as whom it wants to act (`authzid`,
    "" for itself)."""

    user: str
    password: Secret
    authzid: str = ""

    @property
    def acts_for_itself(self) -> bool:
        """False when the client asks to act as somebody else; refuse that, unless it is allowed."""
        return not self.authzid or self.authzid == self.user


Step = Challenge | Credentials


class Exchange(Protocol):
    """One authentication under way."""

    def respond(self, response: bytes | None) -> Step:
        """Take the client's answer, decoded; at first its initial response, or None without one.
        After Credentials it must not be called again. Raises: BadSyntax."""


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One mechanism: its name (RFC 4422 §3.1), whether what it sends must be hidden by TLS, and how
    an exchange begins."""

    name: str
    plaintext: bool
    begin: Callable[[], Exchange]


class PlainExchange:
    """PLAIN (RFC 4616): one message with everything in it."""

    __slots__ = ()

    def respond(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
        # message = [authzid] UTF8NUL authcid UTF8NUL passwd   ; RFC 4616 §2
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise BadSyntax("PLAIN: [authzid] NUL user NUL password")
        authzid, user, password = (_text(part) for part in parts)
        if not user or not password:
            raise BadSyntax("PLAIN: a user and a password")
        return Credentials(user, Secret(password), authzid)


class LoginExchange:
    """LOGIN (draft-murchison-sasl-login): user and password, each when asked for. Obsolete, and what
    many programs speak."""

    __slots__ = ("_asked", "_user")

    def __init__(self) -> None:
        self._user: str | None = None
        self._asked = False

    def respond(self, response: bytes | None) -> Step:
        if response is None or (not response and not self._asked):
            self._asked = True
            return Challenge(b"Username:")
        self._asked = True
        text = _text(response)
        if not text or "\0" in text:
            raise BadSyntax("LOGIN: a user and a password without NUL")
        if self._user is None:
            self._user = text
            return Challenge(b"Password:")
        return Credentials(self._user, Secret(text))


MECHANISMS: tuple[Mechanism, ...] = (
    Mechanism("PLAIN", True, PlainExchange),
    Mechanism("LOGIN", True, LoginExchange),
)
"""All mechanisms, the one to prefer first."""


def start(name: str) -> Exchange | None:
    """Begin an exchange of the mechanism with this name (in any case); None if there is none."""
    wanted = name.upper()
    for mechanism in MECHANISMS:
        if mechanism.name == wanted:
            return mechanism.begin()
    return None


def decode_base64(line: bytes) -> bytes:
    """One line of the client, without its CRLF. Strict: no other characters, right padding
    (RFC 4648 §3.3, §4). Raises: BadSyntax."""
    if len(line) > MAX_BASE64:
        raise BadSyntax("a shorter base64 line")
    try:
        return binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error:
        raise BadSyntax("base64") from None


def decode_initial_response(word: bytes) -> bytes:
    """The initial response in a command: base64, or "=" for one of no octets (RFC 4954 §4,
    RFC 4959 §3, RFC 5034 §4). Raises: BadSyntax."""
    return b"" if word == b"=" else decode_base64(word)


def encode_base64(data: bytes) -> bytes:
    """A challenge for the wire, without CRLF."""
    return binascii.b2a_base64(data, newline=False)


def _text(octets: bytes) -> str:
    if len(octets) > MAX_FIELD:
        raise BadSyntax(f"at most {MAX_FIELD} octets of user name or password")
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise BadSyntax("UTF-8") from None
