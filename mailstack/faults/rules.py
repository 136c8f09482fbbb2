"""What goes wrong, where, and for whom: values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network


class BadFault(ValueError):
    """A fault that cannot be: the message says what was expected."""


class Protocol(Enum):
    """What is spoken. SMTP is submission and LMTP, too."""

    SMTP = "smtp"
    IMAP = "imap"
    POP3 = "pop3"


CONNECT, TLS, ANY = "CONNECT", "TLS", "*"
"""Stages of every protocol: before the greeting, in the TLS handshake, and whatever command comes."""
MESSAGE = "MESSAGE"
"""Of SMTP: the end of the mail data."""
_OF_SMTP = "EHLO MAIL RCPT DATA BDAT MESSAGE AUTH STARTTLS RSET NOOP VRFY EXPN HELP QUIT BURL ETRN XCLIENT XFORWARD"
_OF_POP3 = "USER PASS APOP AUTH CAPA STLS STAT LIST UIDL RETR TOP DELE NOOP RSET QUIT UTF8 LANG"
STAGES: Mapping[Protocol, frozenset[str]] = {
    Protocol.SMTP: frozenset(_OF_SMTP.split()),
    Protocol.IMAP: frozenset(),
    Protocol.POP3: frozenset(_OF_POP3.split()),
}
"""Where it may be, beside those of every protocol. IMAP has too many commands: any word is one."""
_ALSO = {
    (Protocol.SMTP, "HELO"): "EHLO",
    (Protocol.SMTP, "LHLO"): "EHLO",
    (Protocol.SMTP, "END"): MESSAGE,
    (Protocol.POP3, "STARTTLS"): "STLS",
    (Protocol.IMAP, "AUTH"): "AUTHENTICATE",
    (Protocol.IMAP, "STLS"): "STARTTLS",
}
"""Other names of stages."""


def stage_of(protocol: Protocol, text: str) -> str:
    """A stage's proper name. Raises: BadFault."""
    word = " ".join(text.upper().split())
    word = {"GREETING": CONNECT}.get(word, _ALSO.get((protocol, word), word))
    if word in (CONNECT, TLS, ANY) or word in STAGES[protocol]:
        return word
    if protocol is Protocol.IMAP and word.removeprefix("UID ").isalnum():
        return word
    known = ", ".join((CONNECT, TLS, *sorted(STAGES[protocol]), ANY))
    raise BadFault(f"expected a stage of {protocol.value} ({known}), not {text!r}")


# --- actions


@dataclass(frozen=True, slots=True)
class Answer:
    """The command is not done, and this is said instead: "452 4.2.2 Mailbox full" in SMTP, "NO [OVERQUOTA] Full" or
    "BYE Going away" in IMAP, "-ERR [IN-USE] Locked" in POP3, without tag and CRLF."""

    text: str


@dataclass(frozen=True, slots=True)
class Delay:
    """It is done after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Drop:
    """It is not done, and the connection is closed, or reset (as a host that crashes does)."""

    reset: bool = False


class Place(Enum):
    """Where a reply is cut."""

    LINE = "line"
    """In the middle of its first line."""
    LITERAL = "literal"
    """In the middle of the next literal of IMAP, or of the next message of POP3."""


@dataclass(frozen=True, slots=True)
class Cut:
    """It is done, but the connection closes in its reply: after so many octets, or in the middle."""

    after: int | Place


@dataclass(frozen=True, slots=True)
class Throttle:
    """From there on not more than so many octets a second go in, and out."""

    rate: int


@dataclass(frozen=True, slots=True)
class Garbage:
    """It is not done, and the reply is a line of so many octets of chance."""

    octets: int = 64


@dataclass(frozen=True, slots=True)
class Hang:
    """From there on nothing is read, done or said."""


class BadTls(Enum):
    """What is wrong with the certificate in the handshake."""

    EXPIRED = "expired"
    NOT_YET = "not-yet"
    WRONG_NAME = "wrong-name"
    UNTRUSTED = "untrusted"
    """Right, but not of the authority that the clients of this server trust."""
    HANDSHAKE = "handshake"
    """There is no cipher that both know: the handshake fails."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """TLS is bad. Only at the stage TLS, where nothing else can be."""

    kind: BadTls


Action = Answer | Delay | Drop | Cut | Throttle | Garbage | Hang | Certificate
LAST = (Answer, Drop, Garbage, Hang, Certificate)
"""After which the command is not done any more, so that no other action counts."""

# --- when


@dataclass(frozen=True, slots=True)
class Moment:
    """One command, before it is done. Addresses in lower case; "" where it is not known (yet)."""

    protocol: Protocol
    stage: str
    client: str
    """IP address."""
    helo: str = ""
    sender: str = ""
    recipients: tuple[str, ...] = ()
    """At RCPT the one in question; after it all of them."""
    login: str = ""


@dataclass(frozen=True, slots=True)
class Where:
    """For whom: all that is said has to fit. Patterns have * and ?, and match in any case; `client` is an address, a
    network or a pattern."""

    recipient: str = ""
    sender: str = ""
    client: str = ""
    helo: str = ""
    login: str = ""

    def fits(self, moment: Moment) -> bool:
        """Whether the moment is one of those."""
        if self.recipient and not any(_like(self.recipient, each) for each in moment.recipients):
            return False
        pairs = ((self.sender, moment.sender), (self.helo, moment.helo), (self.login, moment.login))
        if not all(_like(pattern, text) for pattern, text in pairs if pattern):
            return False
        return not self.client or _from(self.client, moment.client)


def _like(pattern: str, text: str) -> bool:
    return fnmatchcase(text.lower(), pattern.lower())


def _from(pattern: str, client: str) -> bool:
    try:
        return ip_address(client) in ip_network(pattern, strict=False)
    except ValueError:
        return _like(pattern, client)


ALL_CLIENTS = Where()


@dataclass(frozen=True, slots=True)
class Rule:
    """One fault. `times` is how often it strikes, None for ever; `each` counts that for each client, sender and
    recipient by itself, as greylisting does. With a `probability` it strikes by chance, the same each time that
    begins with the same `seed`."""

    protocol: Protocol
    stage: str
    action: Action
    where: Where = ALL_CLIENTS
    times: int | None = None
    each: bool = False
    probability: float = 1.0
    seed: int = 0
    note: str = field(default="", compare=False)
    """Where it comes from, for people."""

    def __post_init__(self) -> None:
        if (self.stage == TLS) != isinstance(self.action, Certificate):
            raise BadFault("a certificate can be bad at the stage TLS, and nothing else can be there")
        if self.times is not None and self.times < 1:
            raise BadFault("times: expected 1 or more")
        if not 0.0 < self.probability <= 1.0:
            raise BadFault("probability: expected more than 0 and at most 1")
        if isinstance(self.action, Answer):
            check_answer(self.protocol, self.action.text)
        if self.stage == MESSAGE and isinstance(self.action, Garbage):
            raise BadFault("garbage can be the reply to a command; at MESSAGE there is none")

    def strikes_at(self, moment: Moment) -> bool:
        """Whether it is about such a moment."""
        if moment.protocol is not self.protocol:
            return False
        if self.stage not in (moment.stage, ANY) and f"UID {self.stage}" != moment.stage:
            return False
        return not (self.stage == ANY and moment.stage in (CONNECT, TLS, MESSAGE)) and self.where.fits(moment)


def check_answer(protocol: Protocol, text: str) -> None:
    """Raises: BadFault, when a client could not read it as a refusal."""
    if not text.isprintable() or not text.isascii():
        raise BadFault("reply: expected one line of ASCII")
    word = text.split(" ", 1)[0]
    if protocol is Protocol.SMTP:
        if not (len(word) == 3 and word.isdecimal() and word[0] in "45"):
            raise BadFault(f"reply: expected a code from 400 to 599 in SMTP, as 452 or 452 4.2.2 Full, not {text!r}")
    elif protocol is Protocol.IMAP:
        if word not in ("NO", "BAD", "BYE"):
            raise BadFault(f"reply: expected NO, BAD or BYE in IMAP, as NO [OVERQUOTA] Full, not {text!r}")
    elif word != "-ERR":
        raise BadFault(f"reply: expected -ERR in POP3, as -ERR [IN-USE] Locked, not {text!r}")
