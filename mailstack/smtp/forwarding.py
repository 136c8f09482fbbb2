"""Mail for accounts that is forwarded elsewhere (RFC 5321 §3.9.1): a queue item for each recipient of ours that is,
with a reverse-path of ours, so that it does not fail where SPF is looked at.

A message that has been here before is not sent round once more: we write Delivered-To above what we forward, and the
check `delivered_already` refuses it for its only recipient; of one with others, too, it is left out here.

Who empties the queue and finds recipients of ours in it forwards only what was held (`hold_until`): others were
forwarded when they came, and wait for their mailboxes alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mailstack.journeys import Step
from mailstack.mail import trace
from mailstack.mail.address import Address
from mailstack.mail.parameters import NOTHING_SAID_OF_RECIPIENT, Notify, RcptParameters
from mailstack.ports import Blob, Directory, Envelope, Local
from mailstack.smtp.facts import Facts
from mailstack.smtp.journeys import note
from mailstack.smtp.settings import SmtpResources
from mailstack.smtp.transaction import Recipient, Transaction


async def forward(transaction: Transaction, facts: Facts, above: bytes, blob: Blob, resources: SmtpResources) -> int:
    """Queue it for all the addresses to which its recipients' mail is forwarded; returns how many recipients that are.
    Raises: Refused."""
    been = frozenset(transaction.tap.first_words(b"delivered-to"))
    items = 0
    for recipient, targets in _wanted(transaction.recipients):
        if str(recipient.address).lower().encode() in been:
            resources.log.warning("not forwarded again: a loop", id=transaction.id, to=str(recipient.address))
            continue
        prefix = trace.delivered_to(recipient.address) + above
        envelope = replace(_envelope(recipient, targets, facts, resources), journey=transaction.id)
        queue_id = await resources.outbound.enqueue(envelope, prefix, blob)
        note(Step.FORWARDED, (recipient.address,), transaction, facts, resources, queue_id)
        resources.counters.count("queued")
        items += 1
    return items


def _wanted(recipients: Iterable[Recipient]) -> list[tuple[Recipient, list[Address]]]:
    """Who is forwarded to where; each address elsewhere once, however many recipients lead there."""
    found, seen = [], set[Address]()
    for recipient in recipients:
        if isinstance(recipient.route, Local):
            targets = [target for target in dict.fromkeys(recipient.route.forwards) if target not in seen]
            seen.update(targets)
            if targets:
                found.append((recipient, targets))
    return found


def _envelope(recipient: Recipient, targets: list[Address], facts: Facts, resources: SmtpResources) -> Envelope:
    original = Envelope(
        facts.sender,
        (recipient.address,),
        facts.login,
        smtputf8=facts.smtputf8,
        body_8bit=facts.body_8bit,
        parameters=facts.parameters,
    )
    return forwarded(original, behind_alias(recipient.parameters), targets, resources.directory)


def forwarded(original: Envelope, asked: RcptParameters, targets: Sequence[Address], directory: Directory) -> Envelope:
    """The envelope for these addresses. `asked` is what the original one says of the recipient who is forwarded to
    them, `behind_alias`."""
    return replace(
        original,
        sender=original.sender and directory.reverse_path(original.sender),
        recipients=tuple(targets),
        # Who submitted it is not for others; a time to hold it until is over.
        parameters=replace(original.parameters, submitter="", hold_until=None),
        rcpt_parameters=(asked,) * len(targets) if asked != NOTHING_SAID_OF_RECIPIENT else (),
    )


def behind_alias(asked: RcptParameters) -> RcptParameters:
    """Of success its sender hears once, when the alias is expanded (RFC 3461 §5.2.7.3)."""
    if asked.notify is None or Notify.SUCCESS not in asked.notify:
        return asked
    return replace(asked, notify=asked.notify - {Notify.SUCCESS} or frozenset({Notify.NEVER}))
