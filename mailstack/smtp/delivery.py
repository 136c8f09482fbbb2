"""The end of mail data: the message goes to its mailboxes and to the queue, and only then is it ours.

Order: remote recipients first, and mail that is forwarded, because the queue takes all or nothing and a refusal must
leave nothing behind; then the mailboxes; then a mailbox that could not take its copy now becomes a queue
item, so that the one 250 is true for all recipients. A mailbox that is full takes its copy when
others have theirs: they were all told at RCPT that they had room.

A message that is to be held (RFC 4865) is a queue item for all its recipients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mailstack.errors import Problem, Refused
from mailstack.journeys import Step
from mailstack.mail import trace
from mailstack.mail.address import Address, ascii_domain
from mailstack.mail.parameters import NOTHING_SAID_OF_RECIPIENT, RcptParameters
from mailstack.ports import AccountName, Blob, Delivery, Envelope, Local, Remote, TlsInfo
from mailstack.smtp import success
from mailstack.smtp.facts import Facts
from mailstack.smtp.forwarding import behind_alias, forward
from mailstack.smtp.journeys import note
from mailstack.smtp.replies import Reply, accepted, for_problem, mailbox_full
from mailstack.smtp.settings import Role, SmtpResources
from mailstack.smtp.transaction import Recipient, Transaction

Copies = dict[tuple[AccountName, str], Address]
"""One copy for each account and mailbox, and the address that brings it there."""
Wanted = dict[Address, RcptParameters]
"""Recipients of a queue item, and what was said of each."""


async def deliver(transaction: Transaction, facts: Facts, tls: TlsInfo | None, resources: SmtpResources) -> Reply:
    """Hand the message over; its reply says who answers for it now.
    Raises: Refused, and then nobody but the sender has it (or, if the detail says so, some do)."""
    above = _trace(transaction, facts, tls, resources.clock.now())
    blob = await transaction.finished()
    try:
        held = (facts.parameters.hold_until or 0) > facts.now
        remote = {r.address: r.parameters for r in transaction.recipients if held or isinstance(r.route, Remote)}
        forwarded = 0 if held else await forward(transaction, facts, above, blob, resources)
        if remote:
            await _enqueue(remote, transaction, facts, above, blob, resources)
        if held:
            return accepted(transaction.id)
        return await _deliver_local(transaction, facts, above, blob, resources, bool(remote or forwarded))
    finally:
        transaction.discard()


async def _deliver_local(
    transaction: Transaction, facts: Facts, above: bytes, blob: Blob, resources: SmtpResources, sent: bool
) -> Reply:
    """`sent` says that remote recipients, or some to whom it is forwarded, are served already."""
    if not any(isinstance(recipient.route, Local) for recipient in transaction.recipients):
        return accepted(transaction.id)
    copies = _copies(transaction)
    deliveries = _deliveries(copies, transaction, facts, above)
    answers = await resources.store.deliver(blob, deliveries) if copies else ()
    if Problem.OVER_QUOTA in answers and (sent or None in answers):
        answers = await _deliver_over_quota(blob, deliveries, answers, resources)
    failed = [problem for problem in answers if problem is not None]
    resources.counters.count("deliveries", "delivered", len(answers) - len(failed))
    if failed:
        resources.counters.count("deliveries", "failed", len(failed))
        if len(failed) == len(answers) and not sent:
            return _refusal(failed[0], facts)
        await _deliver_later(transaction, facts, above, blob, resources, copies, answers)
    _note_delivered(transaction, facts, resources, dict(zip(copies, answers, strict=True)))
    if any(recipient.parameters.notify for recipient in transaction.recipients):
        there = _in_mailboxes(transaction, dict(zip(copies, answers, strict=True)))
        await success.report(there, transaction, facts, resources)
    return accepted(transaction.id)


def _note_delivered(
    transaction: Transaction,
    facts: Facts,
    resources: SmtpResources,
    found: dict[tuple[AccountName, str], Problem | None],
) -> None:
    for recipient in transaction.recipients:
        if isinstance(recipient.route, Local):
            for account in recipient.route.accounts:
                if found[account, recipient.route.mailbox] is None:
                    note(
                        Step.DELIVERED, (recipient.address,), transaction, facts, resources,
                        f"{recipient.route.mailbox} of {account}",
                    )  # fmt: skip


def _in_mailboxes(transaction: Transaction, found: dict[tuple[AccountName, str], Problem | None]) -> list[Recipient]:
    """The recipients whose mail is in their mailboxes, and the aliases of many, which have no mailbox."""
    return [
        recipient
        for recipient in transaction.recipients
        if isinstance(recipient.route, Local)
        and (_is_alias(recipient) or found[recipient.route.accounts[0], recipient.route.mailbox] is None)
    ]


async def deliver_each(
    transaction: Transaction, facts: Facts, tls: TlsInfo | None, resources: SmtpResources
) -> list[Reply]:
    """Put the message into the mailboxes; a reply for each recipient (RFC 2033 §4.2), in their order. There is
    no queue behind it: who handed it over keeps what a mailbox cannot take now. Only of an alias of many that
    have it in part the rest is queued. Raises: Refused."""
    above = _trace(transaction, facts, tls, resources.clock.now())
    blob = await transaction.finished()
    try:
        await forward(transaction, facts, above, blob, resources)
        copies = _copies(transaction)
        answers = await resources.store.deliver(blob, _deliveries(copies, transaction, facts, above)) if copies else ()
        failed = len(answers) - answers.count(None)
        resources.counters.count("deliveries", "delivered", len(answers) - failed)
        if failed:
            resources.counters.count("deliveries", "failed", failed)
        found = dict(zip(copies, answers, strict=True))
        _note_delivered(transaction, facts, resources, found)
        replies: list[Reply] = []
        for recipient in transaction.recipients:
            route = recipient.route
            assert isinstance(route, Local), "checks refuse others"
            problems = {account: problem for account in route.accounts if (problem := found[account, route.mailbox])}
            if not problems:
                replies.append(accepted(transaction.id))
            elif len(problems) == len(route.accounts) and not route.forwards:
                replies.append(_refusal(next(iter(problems.values())), facts))
            else:
                rest = dict.fromkeys(map(_address_of, problems), behind_alias(recipient.parameters))
                replies.append(await _rest_of_alias(transaction, facts, above, blob, resources, rest))
        taken = [r for r, reply in zip(transaction.recipients, replies, strict=True) if reply.is_positive]
        await success.report(taken, transaction, facts, resources)
        return replies
    finally:
        transaction.discard()


async def _rest_of_alias(
    transaction: Transaction, facts: Facts, above: bytes, blob: Blob, resources: SmtpResources,
    rest: Wanted,
) -> Reply:  # fmt: skip
    """Some of the alias have the message, and would have it again if it were refused for these."""
    try:
        await _enqueue(rest, transaction, facts, above, blob, resources)
    except Refused as refused:
        resources.log.warning("delivery refused", id=transaction.id, accounts=len(rest), reason=str(refused))
        return for_problem(refused.problem)
    return accepted(transaction.id)


def _deliveries(copies: Copies, transaction: Transaction, facts: Facts, above: bytes) -> list[Delivery]:
    path = trace.return_path(facts.sender)
    return [
        Delivery(
            account, mailbox, b"".join((path, trace.delivered_to(address), above)), arrival=transaction.arrival
        )  # fmt: skip
        for (account, mailbox), address in copies.items()
    ]


async def _deliver_over_quota(
    blob: Blob, deliveries: Sequence[Delivery], answers: Sequence[Problem | None], resources: SmtpResources
) -> Sequence[Problem | None]:
    """Some recipients have the message, and there is one reply for all: the others, each of which had room
    at RCPT (or shares an alias with one that had), get it too. They go over their quota by this message."""
    again = [
        replace(delivery, over_quota=True)
        for delivery, problem in zip(deliveries, answers, strict=True)
        if problem is Problem.OVER_QUOTA
    ]
    late = iter(await resources.store.deliver(blob, again))
    return [next(late) if problem is Problem.OVER_QUOTA else problem for problem in answers]


def _refusal(problem: Problem, facts: Facts) -> Reply:
    if problem is Problem.OVER_QUOTA:
        return mailbox_full(for_good=facts.settings.full_for_good)
    return for_problem(problem)


def _copies(transaction: Transaction) -> Copies:
    copies: Copies = {}
    for recipient in transaction.recipients:
        if isinstance(recipient.route, Local):
            for account in recipient.route.accounts:
                copies.setdefault((account, recipient.route.mailbox), recipient.address)
    return copies


async def _deliver_later(
    transaction: Transaction,
    facts: Facts,
    above: bytes,
    blob: Blob,
    resources: SmtpResources,
    copies: Copies,
    answers: Sequence[Problem | None],
) -> None:
    """Queue the copies that failed, while others did not."""
    recipients = {recipient.address: recipient for recipient in reversed(transaction.recipients)}
    waiting: Wanted = {}
    for ((account, _), address), problem in zip(copies.items(), answers, strict=True):
        if problem is not None:
            resources.log.warning(
                "delivery deferred", id=transaction.id, account=account, to=str(address), problem=problem.value
            )
            recipient = recipients[address]
            if _is_alias(recipient):
                # The alias would bring it again to those who have it.
                waiting[_address_of(account)] = behind_alias(recipient.parameters)
            else:
                waiting[address] = recipient.parameters
    try:
        await _enqueue(waiting, transaction, facts, above, blob, resources)
    except Refused as refused:
        detail = f"{refused.detail}; {len(answers) - len(waiting)} recipients have it, and will get it again"
        raise Refused(refused.problem, detail) from refused


async def _enqueue(
    recipients: Wanted, transaction: Transaction, facts: Facts, above: bytes, blob: Blob, resources: SmtpResources
) -> None:
    asked = tuple(recipients.values())
    envelope = Envelope(
        facts.sender,
        tuple(recipients),
        facts.login,
        smtputf8=facts.smtputf8,
        body_8bit=facts.body_8bit,
        parameters=facts.parameters,
        rcpt_parameters=asked if any(each != NOTHING_SAID_OF_RECIPIENT for each in asked) else (),
        journey=transaction.id,
    )
    queue_id = await resources.outbound.enqueue(envelope, above, blob)
    note(Step.QUEUED, recipients, transaction, facts, resources, queue_id)
    resources.counters.count("queued")


def _is_alias(recipient: Recipient) -> bool:
    """Whether its mail goes to several places, or to another one."""
    route = recipient.route
    return isinstance(route, Local) and (len(route.accounts) > 1 or bool(route.forwards))


def _address_of(account: AccountName) -> Address:
    local, at, domain = account.rpartition("@")
    return Address(local, domain) if at else Address(account, "")


def _helo(facts: Facts) -> str:
    """What the client called itself, in ASCII where the message is ASCII (RFC 6531 §3.7.3)."""
    if facts.smtputf8 or facts.helo.isascii():
        return facts.helo
    name = ascii_domain(facts.helo)
    return name if name.isascii() else "unknown"


def protocol(facts: Facts, tls: TlsInfo | None) -> str:
    """The word of RFC 3848 for how the message comes."""
    return trace.with_protocol(
        extended=facts.extended, tls=tls is not None, login=facts.login is not None, smtputf8=facts.smtputf8,
        lmtp=facts.settings.role is Role.LMTP,
    )  # fmt: skip


def _trace(transaction: Transaction, facts: Facts, tls: TlsInfo | None, now: float) -> bytes:
    """The Received field, and what else stands above the message."""
    settings = facts.settings
    word = protocol(facts, tls)
    secured = f"{tls.version} {tls.cipher}" if tls is not None else ""
    hop = trace.Hop(
        _helo(facts), facts.peer.host, settings.hostname, word, transaction.id, now, secured, facts.parameters.priority
    )
    only = transaction.recipients[0].address if len(transaction.recipients) == 1 else None
    above = trace.received(hop, only)
    marks = (*facts.connection_marks, *facts.helo_marks, *facts.message_marks)
    if marks:
        above += trace.marks([(mark.word, mark.detail) for mark in marks])
    if not transaction.complete:
        above += missing_fields(transaction, facts, now)
    return transaction.top + above


def missing_fields(transaction: Transaction, facts: Facts, now: float) -> bytes:
    """What a submission lacks (RFC 6409 §8)."""
    missing = b""
    if facts.settings.role is Role.SUBMISSION:
        if not transaction.tap.count(b"date"):
            missing += trace.date(now)
        if not transaction.tap.count(b"message-id"):
            field = trace.message_id(transaction.id, now, facts.settings.hostname)
            transaction.message_id = field.decode().partition(":")[2].strip()
            missing += field
    return missing
