"""A queue in a directory, with time that passes when the test says so, and next hops that do what they are told."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from mailstack.handover import Content, HopFailed, Outcome, Transcript, Verdict
from mailstack.mail.address import Address
from mailstack.ports import Envelope
from mailstack.queue.carrying import Pace
from mailstack.queue.content import Files
from mailstack.queue.database import DATABASE
from mailstack.queue.items import Waiting
from mailstack.queue.queue import MailQueue, NewReport
from mailstack.queue.recovery import Recovery, open_database
from mailstack.queue.runner import Runner
from mailstack.queue.schedule import Schedule
from mailstack.queue.settlement import Settlement
from mailstack.store.spool import FileSpool, StoredBlob
from mailstack.store.workers import InlineWorkers
from mailstack.testing.counters import MemoryCounters
from mailstack.testing.log import RecordingLog

EPOCH = 1_700_000_000.0
MESSAGE = b"Subject: x\r\n\r\nhello\r\n"
DONE = Outcome(Verdict.DONE, "2.0.0", "250 2.0.0 ok", "mx.example.net", reports=True)
NEVER = Outcome(Verdict.NEVER, "5.1.1", "550 5.1.1 no such user", "mx.example.net")
LATER = Outcome(Verdict.LATER, "4.2.0", "450 4.2.0 greylisted", "mx.example.net")
UNREACHED = HopFailed(Outcome(Verdict.LATER, "4.4.1", "connection refused", remote=False))
Answer = Outcome | Mapping[str, Outcome] | HopFailed | Exception | Deferred[Any]


def result(coroutine: Any) -> Any:
    """What a coroutine returns that does not wait. Raises: what it raises."""
    found: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(found.append)
    if isinstance(found[0], Failure):
        found[0].raiseException()
    return found[0]


def envelope(*to: str, sender: str = "me@example.org", **more: Any) -> Envelope:
    local, _, domain = sender.partition("@")
    tos = tuple(Address(*each.split("@")) for each in to)
    return Envelope(Address(local, domain) if sender else None, tos, **more)


def by_domain(found: Envelope) -> Sequence[tuple[str, tuple[int, ...], str]]:
    """A destination for each domain of recipients."""
    places: dict[str, list[int]] = {}
    for number, address in enumerate(found.recipients):
        places.setdefault(address.domain, []).append(number)
    return [(domain, tuple(numbers), "held" if domain == "held.example" else "") for domain, numbers in places.items()]


class ByDomain:
    """Implements `queue.Placing`."""

    def places(self, envelope: Envelope) -> Sequence[tuple[str, tuple[int, ...], str]]:
        return by_domain(envelope)


@dataclass(eq=False)
class ScriptedHop:
    """Implements `carrying.Hop`."""

    carrier: ScriptedCarrier
    destination: str
    usable: bool = True
    closed: bool = False
    aborted: bool = False
    sent: int = 0

    def suits(self, waiting: Waiting) -> bool:
        return not waiting.item.envelope.parameters.require_tls

    async def send(self, waiting: Waiting, content: Content, transcript: Transcript) -> Mapping[int, Outcome]:
        carrier = self.carrier
        assert not self.closed, "a connection that is closed"
        octets = await content.read(0, content.size)
        recipients = [str(waiting.item.envelope.recipients[number]) for number in waiting.recipients]
        transcript.add(f"C: RCPT TO:<{recipients[0]}>")
        answer: Answer = carrier.answers[self.destination].popleft() if carrier.answers.get(self.destination) else DONE
        if isinstance(answer, Deferred):
            answer = await answer or DONE
        if isinstance(answer, Exception):
            raise answer
        self.sent += 1
        carrier.sent.append((self.destination, tuple(recipients), octets))
        if isinstance(answer, Outcome):
            return dict.fromkeys(waiting.recipients, answer)
        return {number: answer[name] for number, name in zip(waiting.recipients, recipients, strict=True)}

    async def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


@dataclass
class ScriptedCarrier:
    """Implements `carrying.Carrier`: `answers` are given in their order, and then DONE; a Deferred is
    one that comes later, None as DONE; `unreached` destinations
    cannot be reached."""

    answers: dict[str, deque[Answer]] = field(default_factory=dict)
    unreached: dict[str, HopFailed] = field(default_factory=dict)
    paces: dict[str, Pace] = field(default_factory=dict)
    sent: list[tuple[str, tuple[str, ...], bytes]] = field(default_factory=list)
    hops: list[ScriptedHop] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    opening: Deferred[None] | None = None

    def pace(self, destination: str) -> Pace:
        return self.paces.get(destination, Pace())

    async def open(self, destination: str, waiting: Waiting, transcript: Transcript) -> ScriptedHop:
        self.tried.append(destination)
        if self.opening is not None:
            await self.opening
        if destination in self.unreached:
            raise self.unreached[destination]
        hop = ScriptedHop(self, destination)
        self.hops.append(hop)
        return hop

    @property
    def recipients(self) -> list[str]:
        return [name for _, names, _ in self.sent for name in names]


@dataclass
class Reports:
    """Implements `carrying.Reporter`, `Journal` and `Screen`: a short message to the sender for each
    settlement in which he has to hear something."""

    settlements: list[Settlement] = field(default_factory=list)
    settlements_tried: int = 0

    async def reports(self, waiting: Waiting, settlement: Settlement, head: bytes, now: float) -> Sequence[NewReport]:
        sender = waiting.item.envelope.sender
        if sender is None or not (settlement.failed or settlement.late):
            return ()
        word = b"failed" if settlement.failed else b"late"
        return (NewReport(Envelope(None, (sender,)), (b"Subject: " + word + b"\r\n\r\n", head)),)

    def settled(self, waiting: Waiting, settlement: Settlement, now: float) -> None:
        self.settlements.append(settlement)

    async def suppressed(self, waiting: Waiting, now: float) -> Mapping[int, Outcome]:
        recipients = waiting.item.envelope.recipients
        return {n: NEVER for n in waiting.recipients if recipients[n].local_part == "suppressed"}

    async def tried(self, waiting: Waiting, settlement: Settlement, now: float) -> None:
        self.settlements_tried += 1


class QueueWorld:
    """Queue and runner over one directory. `restart` is a process that died and another one."""

    def __init__(self, directory: Path, **more: Any) -> None:
        self.directory = directory
        self.time = Clock()
        self.shift = EPOCH
        self.carrier = ScriptedCarrier()
        self.reports = Reports()
        self.log = RecordingLog()
        self.connections = int(more.pop("connections", 100))
        self.schedule = Schedule(
            more.pop("retry", (300.0, 600.0, 3600.0)), more.pop("expire", 86400.0), more.pop("warn", 0.0), lambda: 0.5
        )
        self.open()

    def now(self) -> float:
        return self.shift + self.time.seconds()

    def open(self) -> None:
        workers = InlineWorkers()
        self.files = Files(self.directory / "queue")
        with ExitStack() as opened:
            opened.callback(self.files.close)
            self.alone = self.files.be_alone()
            self.database = open_database(self.directory / "queue" / DATABASE, self.log, alone=self.alone)
            opened.callback(self.database.close)
            self.queue = MailQueue(
                self.files, self.database, workers, self.log, schedule=self.schedule, placing=ByDomain(), clock=self.now
            )
            if self.alone:
                Recovery(self.queue, self.files, self.database, self.log, self.now()).run()
            self.files.share()
            opened.pop_all()
        self.runner = Runner(
            self.queue, self.carrier, self.reports, self.reports, self.reports, reactor=self.time, now=self.now,
            log=self.log, counters=MemoryCounters(), connections=self.connections,
        )  # fmt: skip
        self.spool = FileSpool(self.directory, workers)

    def close(self) -> None:
        result(self.runner.stop(30.0))
        self.queue.close()

    def restart(self) -> None:
        self.close()
        self.carrier = ScriptedCarrier()
        self.open()

    def start(self) -> None:
        result(self.runner.start())

    def blob(self, octets: bytes = MESSAGE) -> StoredBlob:
        sink = self.spool.sink()
        result(sink.write(octets))
        made: StoredBlob = result(sink.finish())
        return made

    def send(self, *to: str, **more: Any) -> str:
        """Queue a message; its id."""
        blob = self.blob(more.pop("message", MESSAGE))
        name: str = result(self.queue.enqueue(envelope(*to, **more), b"Received: x\r\n", blob))
        blob.discard()
        return name

    def pass_time(self, seconds: float, step: float = 30.0) -> None:
        while seconds > 0:
            self.time.advance(min(step, seconds))
            seconds -= step

    def rows(self) -> list[Waiting]:
        return self.database.all()

    def on_disk(self) -> list[str]:
        return sorted(self.files.names())


World = Callable[..., QueueWorld]
