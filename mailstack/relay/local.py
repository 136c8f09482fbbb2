"""To mailboxes of ours: what was held for a time, and copies that a mailbox could not take at once.

A recipient may be several mailboxes, and addresses elsewhere. When some of them have it and some do not, what is said
of him for the next attempt names those that are left, by hashes (`[left: …]`): nobody gets it twice."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from mailstack.errors import Problem, Refused
from mailstack.handover import Content, Outcome, Transcript, Verdict
from mailstack.mail import trace
from mailstack.mail.address import Address
from mailstack.mail.parameters import NOTHING_SAID_OF_RECIPIENT
from mailstack.ports import (
    MEMORY_LIMIT,
    Blob,
    Delivery,
    Directory,
    Envelope,
    Local,
    Log,
    MailStore,
    Outbound,
    Spool,
)
from mailstack.queue.items import Waiting
from mailstack.smtp.forwarding import behind_alias, forwarded

_STATUS = {
    Problem.NO_SUCH_RECIPIENT: (Verdict.NEVER, "5.1.1", "there is no such mailbox here"),
    Problem.NO_SUCH_ACCOUNT: (Verdict.NEVER, "5.1.1", "there is no such mailbox here"),
    Problem.OVER_QUOTA: (Verdict.LATER, "4.2.2", "the mailbox is full"),
    Problem.DISK_FULL: (Verdict.LATER, "4.3.1", "our disk is full"),
}


MAX_LEFT = 100
"""Mailboxes that are named as left; of more, all get it again."""
_LEFT = re.compile(r" \[left:((?: [0-9a-f]{12})*)( all)?\]$")


def _name(account: str) -> str:
    return blake2b(account.encode(), digest_size=6).hexdigest()


def _said_of(left: Sequence[Delivery]) -> str:
    names = "".join(f" {_name(delivery.account)}" for delivery in left) if len(left) <= MAX_LEFT else " all"
    return f" [left:{names}]"


@dataclass(slots=True, eq=False)
class LocalHop:
    """Implements `carrying.Hop`."""

    store: MailStore
    spool: Spool
    directory: Directory
    outbound: Outbound
    hostname: str
    log: Log
    usable: bool = True

    def suits(self, waiting: Waiting) -> bool:
        return True

    async def send(self, waiting: Waiting, content: Content, transcript: Transcript) -> Mapping[int, Outcome]:
        found: dict[int, Outcome] = {}
        try:
            blob = await self._blob(content)
        except Refused as refused:
            return dict.fromkeys(waiting.recipients, self._outcome(refused.problem))
        try:
            for number in waiting.recipients:
                found[number] = await self._outcome_of(waiting, number, blob)
                transcript.add(f"-- {waiting.item.envelope.recipients[number]}: {found[number].text}")
        finally:
            blob.discard()
        return found

    async def _blob(self, content: Content) -> Blob:
        sink = self.spool.sink()
        try:
            for start in range(0, content.size, MEMORY_LIMIT):
                await sink.write(await content.read(start, min(start + MEMORY_LIMIT, content.size)))
            return await sink.finish()
        except BaseException:
            sink.discard()
            raise

    async def _outcome_of(self, waiting: Waiting, number: int, blob: Blob) -> Outcome:
        """Never raises: the recipients before this one have it."""
        try:
            return await self._deliver(waiting, number, blob)
        except Refused as refused:
            return self._outcome(refused.problem)
        except Exception:
            self.log.failure("delivery failed", id=waiting.item.id)
            return Outcome(Verdict.LATER, "4.3.0", "internal error; the log has more", self.hostname, remote=False)

    async def _deliver(self, waiting: Waiting, number: int, blob: Blob) -> Outcome:
        envelope = waiting.item.envelope
        recipient = envelope.recipients[number]
        route = await self.directory.route(recipient)
        if not isinstance(route, Local):
            return Outcome(Verdict.LATER, "4.3.5", "the domain is not ours any more", self.hostname, remote=False)
        before = _LEFT.search(waiting.last[number].text) if number in waiting.last else None
        begun = before is not None
        if route.forwards and envelope.parameters.hold_until and not begun:
            await self._forward(envelope, number, route.forwards, blob)
            begun = True
        above = trace.return_path(envelope.sender) + trace.delivered_to(recipient)
        deliveries = [Delivery(account, route.mailbox, above) for account in route.accounts]
        if before is not None and not before[2]:
            named = before[1].split()
            deliveries = [delivery for delivery in deliveries if _name(delivery.account) in named]
        left, problem = await self._put(deliveries, blob)
        if problem is None:
            return Outcome(Verdict.DONE, "2.0.0", "delivered", self.hostname, remote=False)
        outcome = self._outcome(problem)
        begun = begun or len(left) < len(deliveries)
        return replace(outcome, text=outcome.text + _said_of(left)) if begun else outcome

    async def _put(self, deliveries: Sequence[Delivery], blob: Blob) -> tuple[Sequence[Delivery], Problem | None]:
        """Into mailboxes; what is left, and why. Of an alias of many whose mail some have, the others get it however
        full they are."""
        problems = await self.store.deliver(blob, deliveries)
        left = _left(deliveries, problems)
        if left and len(left) < len(deliveries):
            deliveries = [replace(delivery, over_quota=True) for delivery in left]
            problems = await self.store.deliver(blob, deliveries)
            left = _left(deliveries, problems)
        wrong = [problem for problem in problems if problem is not None]
        # One that may have it later is waited for, whatever is final for the others.
        return left, next(
            (each for each in wrong if self._outcome(each).verdict is Verdict.LATER), next(iter(wrong), None)
        )

    async def _forward(self, envelope: Envelope, number: int, targets: Sequence[Address], blob: Blob) -> None:
        """What was held is forwarded when it is delivered. Raises: Refused."""
        asked = envelope.rcpt_parameters[number] if envelope.rcpt_parameters else NOTHING_SAID_OF_RECIPIENT
        onwards = forwarded(envelope, behind_alias(asked), targets, self.directory)
        await self.outbound.enqueue(onwards, trace.delivered_to(envelope.recipients[number]), blob)

    def _outcome(self, problem: Problem) -> Outcome:
        verdict, status, text = _STATUS.get(problem, (Verdict.LATER, "4.3.0", problem.value))
        return Outcome(verdict, status, text, self.hostname, remote=False)

    async def close(self) -> None:
        self.usable = False

    def abort(self) -> None:
        self.usable = False


def _left(deliveries: Sequence[Delivery], problems: Sequence[Problem | None]) -> list[Delivery]:
    return [delivery for delivery, problem in zip(deliveries, problems, strict=True) if problem is not None]
