"""The queue against a dictionary: whatever comes, leaves, is held, moved or killed in whatever order."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from queue_steps import Crash, Steps
from queue_world import LATER, QueueWorld, envelope, result

from mailstack.ports import Envelope
from mailstack.queue.items import BY_HAND, Waiting
from mailstack.queue.queue import NewReport, Settled

DOMAINS = ("a.example", "b.example", "c.example")
RECIPIENTS = st.lists(
    st.sampled_from([f"{who}@{domain}" for who in ("x", "y") for domain in DOMAINS]),
    min_size=1,
    max_size=6,
    unique=True,
)
FATES = st.lists(st.booleans(), min_size=6, max_size=6)


@dataclass
class Expected:
    """One item: who waits still, and where it is held."""

    octets: bytes
    waits: set[str]
    held: set[str] = field(default_factory=set)


class QueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(mkdtemp(prefix="mailstack-queue-"))
        self.expected: dict[str, Expected] = {}
        self.reports = 0
        self.number = 0

    @initialize()
    def begin(self) -> None:
        self.world = QueueWorld(self.directory)

    def teardown(self) -> None:
        self.world.close()
        shutil.rmtree(self.directory)

    def restart(self) -> None:
        self.world.close()
        self.world = QueueWorld(self.directory)

    # --- what happens

    @rule(to=RECIPIENTS)
    def enqueue(self, to: list[str]) -> None:
        self.number += 1
        octets = b"Subject: %d\r\n\r\n" % self.number
        name = self.world.send(*to, message=octets)
        self.expected[name] = Expected(octets, set(to))

    @rule(to=RECIPIENTS, step=st.integers(0, 5))
    def killed_while_it_came(self, to: list[str], step: int) -> None:
        blob = self.world.blob()
        with pytest.MonkeyPatch.context() as patched, pytest.raises(Crash):
            Steps(self.directory / "queue", step, Crash()).install(patched)
            result(self.world.queue.enqueue(envelope(*to), b"", blob))
        self.restart()

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), done=FATES, refused=st.booleans())
    def settle(self, data: st.DataObject, done: list[bool], refused: bool) -> None:
        row = self._row(data)
        self._settle(row, done, refused)
        self._settled(row, done, refused)

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), done=FATES, refused=st.booleans(), step=st.integers(0, 7))
    def killed_while_it_settled(self, data: st.DataObject, done: list[bool], refused: bool, step: int) -> None:
        row = self._row(data)
        with pytest.MonkeyPatch.context() as patched:
            crashing = Steps(self.directory / "queue", step, Crash())
            crashing.install(patched)
            with suppress(Crash):
                self._settle(row, done, refused)
        if not crashing.dead or "unlink" in crashing.done[-1]:
            self._settled(row, done, refused)
        self.restart()

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        row = self._row(data)
        result(self.world.queue.change(lambda database: database.replace(replace(row, held=BY_HAND))))
        self.expected[row.item.id].held.add(row.destination)

    @rule(domain=st.sampled_from(DOMAINS))
    def release(self, domain: str) -> None:
        result(self.world.queue.release(lambda row: row.destination == domain, held=True))
        for each in self.expected.values():
            each.held.discard(domain)

    @rule(lost=st.booleans())
    def start_anew(self, lost: bool) -> None:
        self.restart()
        if lost:
            self.world.close()
            for path in (self.directory / "queue").glob("queue.sqlite3*"):
                path.unlink()
            self.world = QueueWorld(self.directory)
            for row in self.world.rows():  # all of its recipients get it, for nobody knows who has it
                if row.item.id in self.expected:
                    each = self.expected[row.item.id]
                    each.held.clear()
                    each.waits.update(str(row.item.envelope.recipients[number]) for number in row.recipients)

    # --- what is so, always

    @invariant()
    def all_is_there_once(self) -> None:
        if not hasattr(self, "world"):
            return
        rows = [row for row in self.world.rows() if row.item.envelope.sender is not None]
        found: dict[str, list[str]] = {}
        for row in rows:
            names = [str(row.item.envelope.recipients[number]) for number in row.recipients]
            found.setdefault(row.item.id, []).extend(names)
            assert (row.held == BY_HAND) == (row.destination in self.expected[row.item.id].held)
            octets = result(self.world.queue.read(row.item, 0, row.item.size))
            assert octets.endswith(self.expected[row.item.id].octets)
        assert {name: sorted(to) for name, to in found.items()} == {
            name: sorted(each.waits) for name, each in self.expected.items()
        }
        reports = [row for row in self.world.rows() if row.item.envelope.sender is None]
        assert len(reports) == self.reports
        assert len(self.world.on_disk()) == len(self.expected) + self.reports

    # --- how

    def _row(self, data: st.DataObject) -> Waiting:
        rows = [row for row in self.world.rows() if row.item.envelope.sender is not None]
        return data.draw(st.sampled_from(rows))

    def _settle(self, row: Waiting, done: list[bool], refused: bool) -> None:
        left = tuple(number for number, finished in zip(row.recipients, done, strict=False) if not finished)
        last = dict.fromkeys(left, LATER)
        rest = replace(row, recipients=left, attempts=row.attempts + 1, last=last) if left else None
        report = NewReport(Envelope(None, (envelope("me@example.org").recipients[0],)), (b"failed",))
        result(self.world.queue.settle(Settled(row, rest, reports=(report,) if refused else ())))

    def _settled(self, row: Waiting, done: list[bool], refused: bool) -> None:
        each = self.expected[row.item.id]
        names = [str(row.item.envelope.recipients[number]) for number in row.recipients]
        each.waits -= {name for name, finished in zip(names, done, strict=False) if finished}
        if not each.waits:
            del self.expected[row.item.id]
        self.reports += refused


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=8, stateful_step_count=20, deadline=None)
