"""The server's side of SASL (RFC 4422): each mechanism a small state machine, without IO.

SMTP, IMAP and POP3 share it; `mechanisms.py` has the table of them, `login.py` carries an exchange
through a connection. What is the protocols' own: the lines around the base64, and the words of the reply.

    step = exchange.respond(initial_or_None)      Challenge: send it as base64, decode the answer
    step = exchange.respond(answer)               Credentials or another claim: ask `ports.Accounts`
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mailstack.errors import BadSyntax
from mailstack.ports import ScramKeys

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
        return acts_for_itself(self.user, self.authzid)


@dataclass(frozen=True, slots=True)
class KeysWanted:
    """SCRAM goes on when `answer` is called with the keys of the user; `mechanism` is without -PLUS."""

    user: str
    mechanism: str
    answer: Callable[[ScramKeys], Challenge]


@dataclass(frozen=True, slots=True)
class Proof:
    """The end of SCRAM: whether the client has proved to know the password of `user`. `verifier` is
    what the server proves in turn; it must be sent, and answered with nothing, before the outcome
    (RFC 5802 §3: additional data with success, which no protocol here can carry)."""

    user: str
    authzid: str
    right: bool
    verifier: bytes


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, and the account that the client says it is for ("" if it does not). `http_status`:
    a refusal is told as Google's XOAUTH2 does, not as RFC 7628 §3.2.2."""

    user: str
    token: Secret
    http_status: bool = False


@dataclass(frozen=True, slots=True)
class CertificateHolder:
    """The client refers to its certificate, and wants to act as `authzid` ("" for whom it names)."""

    authzid: str


Step = Challenge | Credentials | KeysWanted | Proof | Token | CertificateHolder


class Exchange(Protocol):
    """One authentication under way."""

    def respond(self, response: bytes | None) -> Step:
        """Take the client's answer, decoded; at first its initial response, or None without one. After
        a step that is neither Challenge nor KeysWanted it must not be called again.
        Raises: BadSyntax, Refused(BAD_CREDENTIALS)."""


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
        authzid, user, password = (text_of(part) for part in parts)
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
        text = text_of(response)
        if not text or "\0" in text:
            raise BadSyntax("LOGIN: a user and a password without NUL")
        if self._user is None:
            self._user = text
            return Challenge(b"Password:")
        return Credentials(self._user, Secret(text))


class ExternalExchange:
    """EXTERNAL (RFC 4422 appendix A): who the client is, TLS has shown already."""

    __slots__ = ()

    def respond(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
        authzid = text_of(response)
        if "\0" in authzid:
            raise BadSyntax("EXTERNAL: an authorization identity without NUL")
        return CertificateHolder(authzid)


def acts_for_itself(user: str, authzid: str) -> bool:
    """Whether nobody asks to act as somebody else."""
    return not authzid or authzid == user


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


def text_of(octets: bytes) -> str:
    """A field of a message. Raises: BadSyntax when it is too long or not UTF-8."""
    if len(octets) > MAX_FIELD:
        raise BadSyntax(f"at most {MAX_FIELD} octets of user name or password")
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise BadSyntax("UTF-8") from None
