"""Reports of success: the sender asked to hear when the message is in the mailbox (RFC 3461 §5.2.3, §6.2).

The message is ours by then, so that a report which cannot be sent is a line in the log and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from mailstack.errors import Refused
from mailstack.mail import report as reports
from mailstack.mail import trace
from mailstack.mail.address import Address
from mailstack.mail.parameters import MailParameters, Notify, RcptParameters
from mailstack.mail.report import Action, RecipientStatus, Report
from mailstack.ports import Blob, Delivery, Envelope, Local
from mailstack.smtp.facts import Facts
from mailstack.smtp.settings import SmtpResources
from mailstack.smtp.transaction import Recipient, Transaction


async def report(
    delivered: Sequence[Recipient], transaction: Transaction, facts: Facts, resources: SmtpResources
) -> None:
    """One report for those of the recipients of whom the sender wants to hear. Never raises."""
    asked = [recipient for recipient in delivered if recipient.parameters.asks(Notify.SUCCESS)]
    if not asked or facts.sender is None:  # RFC 3461 §6: nobody reports to the null reverse-path
        return
    try:
        await _send(_report(asked, facts.sender, transaction, facts, resources.clock.now()), facts, resources)
    except Refused as refused:
        resources.log.warning("report not sent", id=transaction.id, to=str(facts.sender), reason=str(refused))
    except Exception:
        resources.log.failure("report not sent", id=transaction.id, to=str(facts.sender))
        resources.counters.count("internal_errors", "smtp")


def _report(asked: Sequence[Recipient], to: Address, transaction: Transaction, facts: Facts, now: float) -> Report:
    names = [f"  {recipient.address}" for recipient in dict.fromkeys(asked)]
    return Report(
        to=to,
        mta=facts.settings.hostname,
        id=f"{transaction.id}.dsn",
        when=now,
        arrived=now,
        subject="Delivered: your message",
        text=["Your message was delivered to", "", *names, "", "as you asked to be told."],
        recipients=[_status(recipient) for recipient in asked],
        envid=facts.parameters.envid,
        header=transaction.tap.header,
    )


def _status(recipient: Recipient) -> RecipientStatus:
    route = recipient.route
    assert isinstance(route, Local), "others are reported by the queue"
    action = Action.DELIVERED
    if not route.accounts:
        action = Action.RELAYED  # RFC 3461 §5.2.7.3: nobody will report on
    elif len(route.accounts) > 1 or route.forwards:
        action = Action.EXPANDED
    return RecipientStatus(recipient.address, action, "2.0.0", recipient.parameters.orcpt)


async def _send(made: Report, facts: Facts, resources: SmtpResources) -> None:
    octets = reports.message(made)
    route = await resources.directory.route(made.to)
    sink = resources.spool.sink()
    try:
        await sink.write(octets)
        blob = await sink.finish()
    finally:
        sink.discard()
    try:
        targets = route.forwards if isinstance(route, Local) else (made.to,)
        if targets:
            envelope = Envelope(
                None, targets, smtputf8=made.needs_utf8, body_8bit=not octets.isascii(),
                parameters=MailParameters(require_tls=facts.parameters.require_tls),
                rcpt_parameters=(RcptParameters(frozenset({Notify.NEVER})),) * len(targets),
            )  # fmt: skip
            await resources.outbound.enqueue(envelope, b"", blob)
        if isinstance(route, Local):
            await _deliver(made, route, blob, resources)
    finally:
        blob.discard()


async def _deliver(made: Report, route: Local, blob: Blob, resources: SmtpResources) -> None:
    above = trace.return_path(None) + trace.delivered_to(made.to)
    deliveries = [Delivery(account, route.mailbox, above) for account in route.accounts]
    for problem in await resources.store.deliver(blob, deliveries) if deliveries else ():
        if problem is not None:
            raise Refused(problem)
