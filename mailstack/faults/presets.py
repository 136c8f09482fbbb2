"""Faults that have a name, and the usual words of refusals."""

from __future__ import annotations

from mailstack.faults.rules import (
    TLS,
    Answer,
    BadFault,
    BadTls,
    Certificate,
    Delay,
    Protocol,
    Rule,
    Where,
    stage_of,
)

_USUAL = {
    421: "4.3.2 Service not available",
    450: "4.2.1 Mailbox unavailable",
    451: "4.3.0 Local error in processing",
    452: "4.2.2 Mailbox full",
    454: "4.7.0 TLS not available",
    535: "5.7.8 Authentication credentials invalid",
    550: "5.1.1 No such user here",
    552: "5.2.2 Mailbox full",
    554: "5.0.0 Transaction failed",
}
_WORDS = {
    Protocol.SMTP: "451 4.3.0 Local error in processing",
    Protocol.IMAP: "NO [UNAVAILABLE] Fault on demand",
    Protocol.POP3: "-ERR [SYS/TEMP] Fault on demand",
}
_BARE = {"NO": "NO Fault on demand", "BAD": "BAD Fault on demand", "BYE": "BYE Fault on demand",
         "-ERR": "-ERR Fault on demand"}  # fmt: skip
GREYLISTED = "451 4.7.1 Greylisted, try again later"
FULL = {
    Protocol.SMTP: "452 4.2.2 Mailbox full",
    Protocol.IMAP: "NO [OVERQUOTA] Mailbox full",
}
NO_TLS = {
    Protocol.SMTP: "454 4.7.0 TLS not available",
    Protocol.IMAP: "NO [UNAVAILABLE] TLS not available",
    Protocol.POP3: "-ERR [SYS/TEMP] TLS not available",
}
LOGIN_STAGES = {
    Protocol.SMTP: ("AUTH",),
    Protocol.IMAP: ("LOGIN", "AUTHENTICATE"),
    Protocol.POP3: ("PASS", "APOP", "AUTH"),
}


def answer(protocol: Protocol, reply: int | str | bool) -> Answer:
    """The words of a refusal: a code stands for its usual ones, True for a failure that passes."""
    if reply is True:
        return Answer(_WORDS[protocol])
    text = str(reply).strip()
    if text.isdecimal() and len(text) == 3:
        code = int(text)
        text = f"{code} {_USUAL.get(code, f'{code // 100}.0.0 Fault on demand')}"
    return Answer(_BARE.get(text, text))


def greylist(where: Where, times: int = 1) -> list[Rule]:
    """Each client, sender and recipient that are new together have to come again."""
    return [Rule(Protocol.SMTP, "RCPT", Answer(GREYLISTED), where, times, each=True)]


def mailbox_full(protocol: Protocol, where: Where, times: int | None = None) -> list[Rule]:
    """Nothing more goes into mailboxes: of recipients, or of who has logged in. Raises: BadFault."""
    if protocol is Protocol.POP3:
        raise BadFault("nothing is put into a mailbox by POP3")
    stages = ("RCPT",) if protocol is Protocol.SMTP else ("APPEND", "COPY", "MOVE", "REPLACE")
    return [Rule(protocol, stage, Answer(FULL[protocol]), where, times) for stage in stages]


def slow_login(protocol: Protocol, seconds: float, where: Where, times: int | None = None) -> list[Rule]:
    """Logging in takes its time."""
    return [Rule(protocol, stage, Delay(seconds), where, times) for stage in LOGIN_STAGES[protocol]]


def refuse_tls(protocol: Protocol, where: Where, times: int | None = None) -> list[Rule]:
    """STARTTLS or STLS is offered, and refused."""
    return [Rule(protocol, stage_of(protocol, "STARTTLS"), Answer(NO_TLS[protocol]), where, times)]


def certificate(protocol: Protocol, kind: str, where: Where, times: int | None = None) -> list[Rule]:
    """Raises: BadFault."""
    return [Rule(protocol, TLS, Certificate(bad_tls(kind)), where, times)]


def bad_tls(kind: object) -> BadTls:
    """Raises: BadFault."""
    try:
        return BadTls(kind)
    except ValueError:
        raise BadFault(f"certificate: expected {', '.join(each.value for each in BadTls)}, not {kind!r}") from None
