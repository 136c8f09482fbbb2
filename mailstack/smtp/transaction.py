"""One mail transaction (RFC 5321 §3.3): its recipients, and its message on the way to the spool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mailstack.arrivals import Arrival
from mailstack.errors import FramingLost, Refused
from mailstack.mail.address import Address
from mailstack.mail.binary import BinaryToBase64
from mailstack.mail.parameters import NOTHING_SAID_OF_RECIPIENT, RcptParameters
from mailstack.ports import Blob, Local, Log, Remote, Sink, Spool
from mailstack.smtp.bcc import BccFilter
from mailstack.smtp.facts import Facts
from mailstack.smtp.header_tap import HeaderTap
from mailstack.smtp.replies import SERVER_BUG, Reply, for_problem
from mailstack.smtp.settings import Role
from mailstack.smtp.wire.framing import NewlineRepair

OVERRUN = 4 * 1024 * 1024
"""Octets beyond the limit that are read for the sake of an orderly reply, if the limit itself is smaller."""


class Overrun(FramingLost):
    """So much more came than the limit allows that the client is not listened to any longer."""


def largest(max_size: int) -> int:
    """Octets of mail data that are read to their end: most of them are of a message that is refused then."""
    return max_size + max(max_size, OVERRUN)


class Filter(Protocol):
    """Changes a message in pieces as it passes."""

    def feed(self, data: bytes, /) -> bytes:
        """What is certain so far."""

    def finish(self) -> bytes:
        """What was held back."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """An accepted recipient and where its mail goes."""

    address: Address
    route: Local | Remote
    parameters: RcptParameters = NOTHING_SAID_OF_RECIPIENT


class Transaction:
    """From MAIL to the end of the mail data. `trouble` is the reply that the end of data will have
    because the message could not be kept; the rest of it is swallowed."""

    __slots__ = (
        "_facts", "_filters", "_log", "arrival", "blob", "complete", "deadline", "id", "message_id", "quarantined",
        "recipients", "refused", "sink", "tap", "top", "trouble",
    )  # fmt: skip

    def __init__(self, transaction_id: str, deadline: float, facts: Facts, log: Log) -> None:
        self.id = transaction_id
        self.deadline = deadline
        """Seconds since the epoch until which everything has to have come."""
        self.recipients: list[Recipient] = []
        self.refused = 0
        """Recipients that were not accepted."""
        self.sink: Sink | None = None
        self.blob: Blob | None = None
        """The message, once it is `finished`."""
        self.top = b""
        """Fields that milters want above our own trace field."""
        self.complete = False
        """What a submission lacks is in the message already, because milters were to see it."""
        self.message_id = ""
        """The one that we have given it, because it came without."""
        self.quarantined = False
        self.arrival: Arrival | None = None
        """For whom the store tells of it."""
        self.tap = HeaderTap()
        self.trouble: Reply | None = None
        self._filters: list[Filter] = [BinaryToBase64(), NewlineRepair()] if facts.binary else []
        if facts.settings.role is Role.SUBMISSION:
            self._filters.append(BccFilter())
        self._facts = facts
        self._log = log

    def was_delivered(self) -> bool:
        """Whether Delivered-To fields, as we write them, name every recipient. Those that a server has put on top
        of a message which it hands over to LMTP tell of this delivery: OpenSMTPD writes them, and Postfix if told
        so. A message that comes back had something above what was on top before, or has it the next time."""
        below = b"received" if self._facts.settings.role is Role.LMTP else b""
        fields = frozenset(self.tap.first_words(b"delivered-to", below=below))
        return bool(fields) and all(str(r.address).lower().encode() in fields for r in self.recipients)

    def begin_message(self, spool: Spool) -> None:
        """Mail data follows. Never raises, as `take`."""
        try:
            self.sink = spool.sink()
        except Exception:
            self._log.failure("message not kept", id=self.id)
            self.trouble = SERVER_BUG

    async def take(self, data: bytes) -> None:
        """A piece of the message. Never raises for lack of room: the client sends it all anyway, and
        what it sends must not be taken for commands."""
        facts = self._facts
        facts.size += len(data)
        sink = self.sink
        if sink is None:
            return
        if facts.size > facts.settings.max_size:
            self.discard()  # the check of the size says so at the end
            return
        for each in self._filters:
            data = each.feed(data)
        await self._keep(sink, data)

    async def _keep(self, sink: Sink, data: bytes) -> None:
        self.tap.feed(data)
        try:
            await sink.write(data)
        except Refused as refused:
            self._log.warning("message not kept", id=self.id, problem=refused.problem.value, detail=refused.detail)
            self.trouble = for_problem(refused.problem)
            self.discard()
        except Exception:
            self._log.failure("message not kept", id=self.id)
            self.trouble = SERVER_BUG
            self.discard()

    async def end(self) -> None:
        """The message is over: what was held back goes to where the rest is. Never raises, as `take`."""
        data = b""
        for each in self._filters:
            data = each.feed(data) + each.finish()
        if data and self.sink is not None:
            await self._keep(self.sink, data)
        self.tap.finish()

    async def finished(self) -> Blob:
        """The message as the spool has it, after its end. Raises: Refused."""
        if self.blob is None:
            assert self.sink is not None, "a message that was not kept"
            self.blob = await self.sink.finish()
            self.sink = None
        return self.blob

    def discard(self) -> None:
        """Keep nothing of the message."""
        if self.sink is not None:
            self.sink.discard()
            self.sink = None
        if self.blob is not None:
            self.blob.discard()
            self.blob = None
