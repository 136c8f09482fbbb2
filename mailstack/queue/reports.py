"""What the sender of a queued message is told about its recipients (RFC 3461 §5 and §6, RFC 5321 §6.1), as messages.

Pure: the runner says what happened, and gets an envelope and the octets around the message, or nobody is to be told. It
then lets `write` put them into the spool, and hands them over as it would any other mail.

    prepared = prepare(item, fates, Kind.FAILED, now, host)
    if prepared is not None and limit.take(prepared.to, now):
        await write(prepared, content, sink)

A report goes to the one who had the message taken here, never to a sender that somebody has only claimed: to our own
users, and to those whose mail we forward and whose address is in our rewritten one (`may_report`)."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import assert_never

from mailstack.config.returns import Reports
from mailstack.handover import Content, Outcome, Verdict
from mailstack.mail import header as headers
from mailstack.mail import report as notifications
from mailstack.mail.address import Address
from mailstack.mail.parameters import NOTHING_SAID_OF_RECIPIENT, MailParameters, Notify, RcptParameters, Return
from mailstack.mail.report import Action, RecipientStatus, Report
from mailstack.mail.words import decode_words
from mailstack.ports import MEMORY_LIMIT, Envelope, Sink
from mailstack.queue.reasons import reason
from mailstack.rates import RateCounter

DEFAULTS = Reports()
MAX_TOLD = 100
"""Recipients that the text for people explains; the others are in the part for programs."""
WIDTH = 72
HOUR, DAY = 3600.0, 86400.0


class Kind(Enum):
    """What a report is about."""

    FAILED = "failed"
    """It is given up (RFC 3461 §5.2.6)."""
    DELAYED = "delayed"
    """It takes longer than usual; it is tried again (§5.2.5)."""
    RELAYED = "relayed"
    """It went to a server that does not report on (§5.2.2)."""
    DELIVERED = "delivered"
    """It came late to a mailbox of ours (§5.2.3)."""
    LATE = "late"
    """It could not be delivered in the time that its sender gave, and is tried on (RFC 2852, by-mode N)."""
    TRACED = "traced"
    """It went to a server that does not know of that time (RFC 2852, by-trace)."""


_ACTIONS = {
    Kind.FAILED: Action.FAILED,
    Kind.DELAYED: Action.DELAYED,
    Kind.RELAYED: Action.RELAYED,
    Kind.DELIVERED: Action.DELIVERED,
    Kind.LATE: Action.DELAYED,
    Kind.TRACED: Action.RELAYED,
}
_SUBJECTS = {
    Kind.FAILED: "Not delivered: your message",
    Kind.DELAYED: "Delayed, still being tried: your message",
    Kind.RELAYED: "Handed on: your message",
    Kind.DELIVERED: "Delivered: your message",
    Kind.LATE: "Not there in time, still being tried: your message",
    Kind.TRACED: "Handed on: your message",
}


@dataclass(frozen=True, slots=True)
class Reported:
    """A queue item. `arrived` in seconds since the epoch; `header` are the header fields of the message as it is in the
    queue, in CRLF lines (`header_of`); `size` are the octets of the whole message."""

    id: str
    envelope: Envelope
    arrived: float
    header: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Fate:
    """Of the recipient with this number in the envelope: the last outcome, after how many attempts, when that was, and
    until when it is tried, if it is; in seconds since the epoch."""

    recipient: int
    outcome: Outcome
    attempts: int = 1
    last_attempt: float | None = None
    retry_until: float | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A report to be sent. Its octets are `prefix`, the message itself if `whole`, and `suffix`."""

    to: Address
    envelope: Envelope
    prefix: bytes
    whole: bool
    suffix: bytes


@dataclass(slots=True)
class ReportLimit:
    """How many reports one sender gets in an hour; 0: any. Pure, and bounded in memory."""

    per_hour: int = DEFAULTS.per_hour
    _counter: RateCounter = field(default_factory=lambda: RateCounter(HOUR))

    def take(self, to: Address, now: float) -> bool:
        """Count one, if there is room for it."""
        return not self.per_hour or self._counter.take(str(to).lower(), self.per_hour, now)


def may_report(envelope: Envelope, is_forwarder: Callable[[Address], bool]) -> bool:
    """Whether anybody may hear of this message: its sender logged in here, or the sender is an address that we made
    when we forwarded it, of which `is_forwarder` is sure. All others may be made up, and whose they are would get mail
    about what he never sent. Nobody reports to the null reverse-path (RFC 5321 §4.5.5)."""
    return envelope.sender is not None and (envelope.account is not None or is_forwarder(envelope.sender))


def wanted(envelope: Envelope, fates: Sequence[Fate], kind: Kind) -> list[Fate]:
    """Those that the sender wants to hear of (RFC 3461 §4.1)."""
    return [fate for fate in fates if _asks(_asked(envelope, fate), fate.outcome, kind)]


def _asked(envelope: Envelope, fate: Fate) -> RcptParameters:
    return envelope.rcpt_parameters[fate.recipient] if envelope.rcpt_parameters else NOTHING_SAID_OF_RECIPIENT


def _asks(asked: RcptParameters, outcome: Outcome, kind: Kind) -> bool:
    match kind:
        case Kind.FAILED:
            return asked.asks(Notify.FAILURE)
        case Kind.DELAYED | Kind.LATE:  # who said nothing may be told of delays
            return asked.notify is None or asked.asks(Notify.DELAY)
        case Kind.RELAYED:
            return asked.asks(Notify.SUCCESS) and not outcome.reports
        case Kind.DELIVERED:
            return asked.asks(Notify.SUCCESS)
        case Kind.TRACED:
            return asked.notify is None or Notify.NEVER not in asked.notify
    assert_never(kind)


def prepare(
    item: Reported, fates: Sequence[Fate], kind: Kind, now: float, host: str, settings: Reports = DEFAULTS
) -> Prepared | None:
    """The report on these recipients, None if nobody wants to hear of any. `host` is our name, `now` in seconds since
    the epoch. Whether it may be sent at all is a matter of `may_report`."""
    envelope = item.envelope
    told = wanted(envelope, fates, kind)
    if envelope.sender is None or not told:
        return None
    by, whole = envelope.parameters.deliver_by, kind is Kind.FAILED and _whole(item, settings)
    report = Report(
        to=envelope.sender,
        mta=host,
        id=f"{item.id}.{kind.value}{told[0].recipient}",
        when=now,
        arrived=item.arrived,
        subject=_SUBJECTS[kind],
        text=_text(item, told, kind, now, host, whole),
        recipients=[_status(envelope, fate, kind) for fate in told],
        envid=envelope.parameters.envid,
        header=item.header,
        queue_id=item.id,
        deliver_by=by.time if by else None,
        whole=whole,
        smtputf8=envelope.smtputf8,
        eight_bit=envelope.body_8bit,
    )
    prefix, suffix, eight_bit = notifications.frame(report)
    return Prepared(report.to, _envelope(report, envelope, eight_bit), prefix, report.whole, suffix)


async def header_of(content: Content) -> bytes:
    """The header fields of a message, or those that a report can have of them. Raises: OSError."""
    beginning = await content.read(0, min(notifications.MAX_HEADER + 1, content.size))
    end = 0 if beginning.startswith(b"\r\n") else beginning.find(b"\r\n\r\n") + 2
    return beginning[:end] if end != 1 else beginning


async def write(prepared: Prepared, content: Content, sink: Sink) -> None:
    """The report into a sink, with the message out of its file piece by piece. Raises: Refused, OSError."""
    await sink.write(prepared.prefix)
    if prepared.whole:
        for start in range(0, content.size, MEMORY_LIMIT):
            await sink.write(await content.read(start, min(start + MEMORY_LIMIT, content.size)))
    await sink.write(prepared.suffix)


def _whole(item: Reported, settings: Reports) -> bool:
    # RFC 3461 §6.2 allows a limit, of RET=FULL too; RFC 8689 §5: what must travel by TLS comes back as RET=HDRS
    parameters = item.envelope.parameters
    if parameters.ret is Return.HEADERS or parameters.require_tls:
        return False
    return item.size <= (settings.full_size_asked if parameters.ret is Return.FULL else settings.full_size)


def _envelope(report: Report, original: Envelope, eight_bit: bool) -> Envelope:
    # RFC 3461 §6.1: from <>, NOTIFY=NEVER, no RET; RFC 8689 §5: what had to travel by TLS comes back so
    return Envelope(
        None,
        (report.to,),
        smtputf8=report.needs_utf8,
        body_8bit=eight_bit,
        parameters=MailParameters(require_tls=original.parameters.require_tls),
        rcpt_parameters=(RcptParameters(frozenset({Notify.NEVER})),),
    )


def _status(envelope: Envelope, fate: Fate, kind: Kind) -> RecipientStatus:
    outcome = fate.outcome
    return RecipientStatus(
        envelope.recipients[fate.recipient],
        _ACTIONS[kind],
        _code(outcome, kind),
        _asked(envelope, fate).orcpt,
        outcome.text,
        outcome.mta if outcome.remote else "",
        fate.last_attempt,
        fate.retry_until,
    )


def _code(outcome: Outcome, kind: Kind) -> str:
    """A code whose class fits the action (RFC 3464 §2.3.4)."""
    if kind is Kind.LATE:
        return "4.4.7"  # RFC 2852: delivery time expired
    if kind is Kind.DELAYED and not outcome.status.startswith("4."):
        return "4.0.0"
    if kind is Kind.FAILED and not outcome.status.startswith(("4.", "5.")):
        return "5.0.0"
    if _ACTIONS[kind] in (Action.RELAYED, Action.DELIVERED) and not outcome.status.startswith("2."):
        return "2.0.0"
    return outcome.status


# --- the text for people ----------------------------------------------------------------------


def _text(item: Reported, told: Sequence[Fate], kind: Kind, now: float, host: str, whole: bool) -> list[str]:
    lines = [f"This is the mail system at {host}.", "", *_wrapped(_introduction(told, kind)), ""]
    about = _subject(item.header)
    if about:
        lines += [f"    Subject: {about}", ""]
    for fate in told[:MAX_TOLD]:
        lines += [*_explained(item, fate, kind, now), ""]
    if len(told) > MAX_TOLD:
        lines += [*_wrapped(f"There are {len(told) - MAX_TOLD} more, which the next part of this message lists."), ""]
    given = "The message" if whole else "The header of the message"
    return [*lines, f"{given} is attached."]


def _introduction(told: Sequence[Fate], kind: Kind) -> str:
    whom = "this recipient" if len(told) == 1 else f"these {len(told)} recipients"
    match kind:
        case Kind.FAILED:
            return f"Your message could not be delivered to {whom}, and is not tried any more."
        case Kind.DELAYED:
            return (
                f"Your message could not be delivered to {whom} so far. You need not do anything: it is tried again "
                "by itself, and you hear of it once more only if that fails for good."
            )
        case Kind.RELAYED:
            return (
                f"Your message was handed on to the mail system of {whom}, as you asked to be told. That system does "
                "not tell whether it comes into the mailbox."
            )
        case Kind.DELIVERED:
            return f"Your message was delivered to {whom}, as you asked to be told."
        case Kind.LATE:
            return f"Your message could not be delivered to {whom} in the time that you gave. It is still being tried."
        case Kind.TRACED:
            return (
                f"Your message was handed on to the mail system of {whom}, which does not know of the time by which "
                "you want it delivered. Nobody will tell you whether it is late."
            )
    assert_never(kind)


def _explained(item: Reported, fate: Fate, kind: Kind, now: float) -> list[str]:
    outcome = fate.outcome
    lines = [str(item.envelope.recipients[fate.recipient])]
    if _ACTIONS[kind] in (Action.FAILED, Action.DELAYED):
        why = reason(outcome.status, outcome.text)
        what = f"{why.what} {reason(outcome.cause, outcome.text).what}" if outcome.cause else why.what
        lines += _wrapped(f"{what} {why.advice}" if kind is Kind.FAILED else what, "    ")
        lines += _wrapped(_tried(item, fate, now), "    ")
    if outcome.text:
        who = f"{outcome.mta} said" if outcome.remote and outcome.mta else "In detail"
        lines += _wrapped(f"{who}: {_printable(outcome.text)}", "    ")
    return lines


def _tried(item: Reported, fate: Fate, now: float) -> str:
    """How often, where it was not refused at once, and for how long it still is."""
    said = ""
    if fate.attempts > 1:
        said = f"It was tried {fate.attempts} times in {_span(now - item.arrived)}."
    if fate.outcome.verdict is Verdict.LATER and fate.retry_until is not None and fate.retry_until > now:
        said += f" It is tried for {_span(fate.retry_until - now)} more."
    return said.strip()


def _span(seconds: float) -> str:
    for unit, name in ((DAY, "day"), (HOUR, "hour"), (60.0, "minute")):
        number = round(seconds / unit)
        if number >= 2 or (number and unit == 60.0):
            return f"{number} {name}{'s' if number > 1 else ''}"
    return "less than a minute"


def _subject(header: bytes) -> str:
    value = b"".join(headers.values(header).get(b"subject", [])[:1])
    return _printable(decode_words(headers.unfold(value)))[:WIDTH]


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text).strip()


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=len(text) > 900,
        break_on_hyphens=False,
    )  # fmt: skip
