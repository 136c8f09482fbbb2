"""To mailboxes of ours: what was held for a time, and copies that a mailbox could not take at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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


@dataclass(slots=True, eq=False)
class LocalHop:
    """Implements `carrying.Hop`."""

    store: MailStore
    spool: Spool
    directory: Directory
    outbound: Outbound
    hostname: str
    usable: bool = True

    def suits(self, waiting: Waiting) -> bool:
        return True

    async def send(self, waiting: Waiting, content: Content, transcript: Transcript) -> Mapping[int, Outcome]:
        found: dict[int, Outcome] = {}
        blob = await self._blob(content)
        try:
            for number in waiting.recipients:
                found[number] = await self._deliver(waiting.item.envelope, number, blob)
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

    async def _deliver(self, envelope: Envelope, number: int, blob: Blob) -> Outcome:
        recipient = envelope.recipients[number]
        try:
            route = await self.directory.route(recipient)
            if not isinstance(route, Local):
                return Outcome(Verdict.LATER, "4.3.5", "the domain is not ours any more", self.hostname, remote=False)
            if route.forwards and envelope.parameters.hold_until:
                await self._forward(envelope, number, route.forwards, blob)
        except Refused as refused:
            return self._outcome(refused.problem)
        problem = await self._put(route, trace.return_path(envelope.sender) + trace.delivered_to(recipient), blob)
        if problem is not None:
            return self._outcome(problem)
        return Outcome(Verdict.DONE, "2.0.0", "delivered", self.hostname, remote=False)

    async def _put(self, route: Local, above: bytes, blob: Blob) -> Problem | None:
        """Into all the mailboxes of the recipient; what is wrong, if something is. Of an alias of many whose mail some
        have, the others get it however full they are, or all would get it again."""
        deliveries = [Delivery(account, route.mailbox, above) for account in route.accounts]
        answers = await self.store.deliver(blob, deliveries)
        left = [delivery for delivery, problem in zip(deliveries, answers, strict=True) if problem is not None]
        if left and len(left) < len(deliveries):
            answers = await self.store.deliver(blob, [replace(delivery, over_quota=True) for delivery in left])
        return next((problem for problem in answers if problem is not None), None)

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
