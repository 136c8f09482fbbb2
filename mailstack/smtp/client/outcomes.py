"""What a reply, or its absence, comes to (RFC 5321 §4.2.1, RFC 3463)."""

from __future__ import annotations

from mailstack.errors import ConnectionClosed, IdleTimeout
from mailstack.handover import Outcome, Verdict
from mailstack.smtp.wire.client_replies import Reply, printable

LOST_AFTER_DATA = "it may have the message nevertheless, so that it may come twice"
"""RFC 1047: nobody can know."""
_STATUS = {
    421: "4.3.2", 450: "4.2.0", 451: "4.3.0", 452: "4.3.1", 454: "4.7.0", 455: "4.5.4",
    500: "5.5.2", 501: "5.5.4", 502: "5.5.1", 503: "5.5.1", 504: "5.5.4", 521: "5.3.2", 530: "5.7.0", 535: "5.7.8",
    550: "5.0.0", 551: "5.1.6", 552: "5.3.4", 553: "5.1.3", 554: "5.0.0", 555: "5.5.4", 556: "5.1.10",
}  # fmt: skip
"""Where the server gives no enhanced status code: what RFC 5321 §4.2.3 says that the reply code means."""
_SERVER_AS_A_WHOLE = (521, 556)
"""RFC 7504: it takes no mail, and will not."""


def of_reply(reply: Reply, mta: str, *, reports: bool = False) -> Outcome:
    """Of a reply to MAIL, RCPT, DATA or the end of data. What is neither success nor failure is tried again."""
    if reply.positive:
        return Outcome(Verdict.DONE, reply.status or "2.0.0", reply.text, mta, reports=reports)
    if reply.code >= 500:
        return Outcome(Verdict.NEVER, reply.status or _STATUS.get(reply.code, "5.0.0"), reply.text, mta)
    return Outcome(Verdict.LATER, _soft_status(reply), reply.text, mta)


def of_session(reply: Reply, mta: str) -> Outcome:
    """Of a reply to something that is not about this message: the greeting, EHLO, STARTTLS, AUTH. Whatever it is, it
    may be mended before the message is too old, unless the server says that it never takes mail."""
    if reply.code in _SERVER_AS_A_WHOLE:
        return of_reply(reply, mta)
    return Outcome(Verdict.LATER, _soft_status(reply), reply.text, mta)


def _soft_status(reply: Reply) -> str:
    status = reply.status or _STATUS.get(reply.code, "4.0.0")
    return "4" + status[1:]


def of_failure(error: Exception, step: str, mta: str) -> Outcome:
    """Of a connection that ended, fell silent or makes no sense at this step, as "after RCPT"."""
    if isinstance(error, ConnectionClosed):
        return ours(Verdict.LATER, "4.4.2", f"connection lost {step}", mta)
    if isinstance(error, IdleTimeout):
        return ours(Verdict.LATER, "4.4.2", f"no answer in time {step}", mta)
    return ours(Verdict.LATER, "4.5.0", f"the server cannot be understood {step}: {error}", mta)


def ours(verdict: Verdict, status: str, text: str, mta: str) -> Outcome:
    """What we say ourselves."""
    return Outcome(verdict, status, printable(text), mta, remote=False)
