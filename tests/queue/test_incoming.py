"""The outbound spool: the order of its system calls, what a failure or a crash at each of them leaves
behind, and that what is read back is what was queued."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailstack.errors import Problem, Refused
from mailstack.mail.address import Address
from mailstack.mail.parameters import DeliverBy, MailParameters, Notify, RcptParameters, Return
from mailstack.ports import MEMORY_LIMIT, AccountName, Envelope
from mailstack.queue.incoming import QueueSpool
from mailstack.store.spool import FileSpool, StoredBlob
from mailstack.store.workers import InlineWorkers
from mailstack.testing.log import RecordingLog

PREFIX = b"Received: by mx.example.org\r\n"
SMALL = b"Subject: x\r\n\r\nsmall\r\n"
LARGE = b"Subject: x\r\n\r\n" + b"0123456789abcde\n" * (MEMORY_LIMIT // 16 + 100)
ENVELOPE = Envelope(Address("a", "example.org"), (Address("b", "example.net"),), AccountName("a@example.org"))


def result(coroutine: Any) -> Any:
    """What a coroutine returns that does not wait. Raises: what it raises."""
    found: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(found.append)
    if isinstance(found[0], Failure):
        found[0].raiseException()
    return found[0]


def blob(directory: Path, octets: bytes) -> StoredBlob:
    """A blob of the real spool: in a file if it is large."""
    sink = FileSpool(directory, InlineWorkers()).sink()
    result(sink.write(octets))
    made: StoredBlob = result(sink.finish())
    return made


def queue(directory: Path) -> QueueSpool:
    return QueueSpool(directory / "queue", InlineWorkers(), RecordingLog(), clock=lambda: 1_700_000_000.5)


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


class Crash(BaseException):
    """The process ends here."""


@dataclass
class Calls:
    """Counts the system calls that change something, and lets one of them go wrong."""

    fail_at: int = -1
    error: BaseException | None = None
    done: list[str] = field(default_factory=list)
    dead: bool = False
    names: dict[int, str] = field(default_factory=dict)

    def install(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        for name in ("open", "write", "sendfile", "fsync", "rename", "unlink"):
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name), root))

    def _wrapped(self, name: str, real: Callable[..., Any], root: Path) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            if self.dead and name == "unlink":
                return None  # a process that is gone tidies nothing up
            label = self._label(name, args, root)
            if len(self.done) == self.fail_at and self.error is not None:
                self.done.append(label)
                self.dead = isinstance(self.error, Crash)
                raise self.error
            value = real(*args, **more)
            self.done.append(label)
            if name == "open":
                self.names[value] = label.removeprefix("open ")
            return value

        return call

    def _label(self, name: str, args: tuple[Any, ...], root: Path) -> str:
        def shown(path: Any) -> str:
            if path == root:
                return "."
            text = self.names.get(path, str(path)) if isinstance(path, int) else str(Path(path).relative_to(root))
            stem, dot, suffix = text.rpartition(".")
            return stem.rpartition("/")[0] + "/*" + dot + suffix if stem else text

        return f"{name} {shown(args[0])}" + (f" -> {shown(args[1])}" if name == "rename" else "")


STEPS = [
    "open queue/tmp/*.eml",
    "write queue/tmp/*.eml",
    "fsync queue/tmp/*.eml",
    "open queue/tmp/*.json",
    "write queue/tmp/*.json",
    "fsync queue/tmp/*.json",
    "rename queue/tmp/*.eml -> queue/*.eml",
    "rename queue/tmp/*.json -> queue/*.json",
    "open queue",
    "fsync queue",
]
"""Both files are on disk before either has its name; the envelope, which makes the item, comes last."""
STEPS_OF_LARGE = [*STEPS[:2], "sendfile queue/tmp/*.eml", *STEPS[2:]]
EVERY_STEP = [pytest.param(SMALL, STEPS, step, id=f"small-{step}") for step in range(len(STEPS))]
EVERY_STEP += [pytest.param(LARGE, STEPS_OF_LARGE, step, id=f"large-{step}") for step in range(len(STEPS_OF_LARGE))]


@pytest.mark.parametrize(("octets", "expected"), [(SMALL, STEPS), (LARGE, STEPS_OF_LARGE)], ids=["small", "large"])
def test_the_order_of_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, octets: bytes, expected: list[str]
) -> None:
    spool, message = queue(tmp_path), blob(tmp_path, octets)
    calls = Calls()
    calls.install(monkeypatch, tmp_path)
    result(spool.enqueue(ENVELOPE, PREFIX, message))
    assert calls.done == expected


def test_the_directory_itself_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls()
    calls.install(monkeypatch, tmp_path)
    queue(tmp_path)
    assert calls.done == ["open .", "fsync ."]
    queue(tmp_path)
    assert len(calls.done) == 2


@pytest.mark.parametrize(("octets", "steps", "step"), EVERY_STEP)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
def test_a_failure_at_any_step_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, octets: bytes, steps: list[str], step: int, number: int
) -> None:
    spool, message = queue(tmp_path), blob(tmp_path, octets)
    calls = Calls(step, OSError(number, os.strerror(number)))
    with monkeypatch.context() as patched:
        calls.install(patched, tmp_path)
        with pytest.raises(Refused) as caught:
            result(spool.enqueue(ENVELOPE, PREFIX, message))
    assert calls.done[step] == steps[step]
    full = Problem.DISK_FULL if number == errno.ENOSPC else Problem.QUEUE_UNAVAILABLE
    assert caught.value.problem is full
    assert files(tmp_path) == []
    assert list(spool.items()) == []
    result(spool.enqueue(ENVELOPE, PREFIX, message))
    assert [item.message.read_bytes() for item in spool.items()] == [PREFIX + octets]


@pytest.mark.parametrize(("octets", "steps", "step"), EVERY_STEP)
def test_a_crash_at_any_step_leaves_all_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, octets: bytes, steps: list[str], step: int
) -> None:
    spool, message = queue(tmp_path), blob(tmp_path, octets)
    with monkeypatch.context() as patched:
        Calls(step, Crash()).install(patched, tmp_path)
        with pytest.raises(Crash):
            result(spool.enqueue(ENVELOPE, PREFIX, message))
    after = queue(tmp_path)
    after.sweep()
    assert files(tmp_path / "queue" / "tmp") == []
    items = list(after.items())
    both = STEPS[7] in steps[:step]
    assert len(items) == both
    assert len(files(tmp_path)) == 2 * both
    for item in items:
        assert item.message.read_bytes() == PREFIX + octets
        assert item.envelope == ENVELOPE


def test_an_envelope_without_its_message_is_swept(tmp_path: Path) -> None:
    """The two renames may reach the disk in either order."""
    spool = queue(tmp_path)
    result(spool.enqueue(ENVELOPE, PREFIX, blob(tmp_path, SMALL)))
    (kept,) = spool.items()
    for name in ("0a.eml", "0b.json", "tmp/0c.eml", "tmp/0c.json"):
        (tmp_path / "queue" / name).write_bytes(b"")
    assert spool.sweep() == 4
    assert list(spool.items()) == [kept]
    assert spool.sweep() == 0


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"version": 2}', b'{"version": 1}', b"\xff"])
def test_an_envelope_that_cannot_be_read_is_logged_and_left_alone(tmp_path: Path, text: bytes) -> None:
    log = RecordingLog()
    spool = QueueSpool(tmp_path / "queue", InlineWorkers(), log)
    result(spool.enqueue(ENVELOPE, PREFIX, blob(tmp_path, SMALL)))
    for name in ("0a.eml", "0a.json"):
        (tmp_path / "queue" / name).write_bytes(text)
    assert [item.envelope for item in spool.items()] == [ENVELOPE]
    assert log.whats("warning") == ["queue item cannot be read"]
    spool.sweep()
    assert (tmp_path / "queue" / "0a.json").exists()


ADDRESSES = st.builds(Address, st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
ENVELOPES = st.builds(
    Envelope,
    st.none() | ADDRESSES,
    st.lists(ADDRESSES, min_size=1, max_size=4).map(tuple),
    st.none() | st.text(min_size=1, max_size=20).map(AccountName),
    smtputf8=st.booleans(),
    body_8bit=st.booleans(),
)


@given(ENVELOPES, st.binary(max_size=200))
def test_what_is_read_back_is_what_was_queued(
    tmp_path_factory: pytest.TempPathFactory, envelope: Envelope, octets: bytes
) -> None:
    directory = tmp_path_factory.mktemp("queue")
    spool = queue(directory)
    queue_id = result(spool.enqueue(envelope, PREFIX, blob(directory, octets)))
    (item,) = queue(directory).items()
    assert (item.id, item.envelope, item.arrived) == (queue_id, envelope, 1_700_000_000.5)
    assert item.message.read_bytes() == PREFIX + octets


def test_the_oldest_comes_first_and_ids_differ(tmp_path: Path) -> None:
    now = [1_700_000_000.0]
    spool = QueueSpool(tmp_path / "queue", InlineWorkers(), RecordingLog(), clock=lambda: now[0])
    ids = []
    for _ in range(20):
        ids.append(result(spool.enqueue(ENVELOPE, b"", blob(tmp_path, SMALL))))
        now[0] += 0.01
    assert [item.id for item in spool.items()] == ids
    assert len(set(ids)) == 20


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    result(queue(tmp_path).enqueue(ENVELOPE, PREFIX, blob(tmp_path, SMALL)))
    for path in (tmp_path / "queue").rglob("*.*"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert (tmp_path / "queue" / "tmp").stat().st_mode & 0o077 == 0


FULL = Envelope(
    None,
    (Address("b", "example.net"), Address("jörg", "sub.example.org")),
    parameters=MailParameters(Return.FULL, "id", True, DeliverBy(1_700_000_060, False, True), 1_700_000_900, -3, "x@y"),
    rcpt_parameters=(
        RcptParameters(),
        RcptParameters(frozenset({Notify.SUCCESS, Notify.DELAY}), "utf-8;jörg@example.org"),
    ),
)


def test_what_was_asked_of_a_message_is_kept_with_it(tmp_path: Path) -> None:
    waiting = queue(tmp_path)
    result(waiting.enqueue(FULL, PREFIX, blob(tmp_path, SMALL)))
    assert [item.envelope for item in waiting.items()] == [FULL]


def test_an_envelope_without_parameters_is_as_it_was_before_there_were_any(tmp_path: Path) -> None:
    waiting = queue(tmp_path)
    result(waiting.enqueue(ENVELOPE, PREFIX, blob(tmp_path, SMALL)))
    [note] = (tmp_path / "queue").glob("*.json")
    assert json.loads(note.read_bytes()) == {
        "version": 1,
        "arrived": 1_700_000_000.5,
        "sender": ["a", "example.org"],
        "recipients": [["b", "example.net"]],
        "account": "a@example.org",
        "smtputf8": False,
        "body_8bit": False,
    }
    note.write_text(json.dumps({**json.loads(note.read_bytes()), "of another version": 1}))
    assert [item.envelope for item in waiting.items()] == [ENVELOPE]


@pytest.mark.parametrize("change", [{"rcpt_parameters": [{}]}, {"ret": "SOME"}, {"deliver_by": 3}, {"version": 2}])
def test_a_document_that_cannot_be_right_is_left_alone(tmp_path: Path, change: dict[str, Any]) -> None:
    waiting = queue(tmp_path)
    result(waiting.enqueue(FULL, PREFIX, blob(tmp_path, SMALL)))
    [note] = (tmp_path / "queue").glob("*.json")
    note.write_text(json.dumps({**json.loads(note.read_bytes()), **change}))
    assert list(waiting.items()) == [] and note.exists()


def test_what_waits_for_a_domain_cannot_be_hastened_here(tmp_path: Path) -> None:
    waiting = queue(tmp_path)
    result(waiting.enqueue(FULL, PREFIX, blob(tmp_path, SMALL)))
    assert result(waiting.hasten("example.org")) == 0
    for domain, below in (("EXAMPLE.net", False), ("example.org", True), ("sub.example.org", False)):
        with pytest.raises(Refused) as refused:
            result(waiting.hasten(domain, subdomains=below))
        assert refused.value.problem is Problem.QUEUE_UNAVAILABLE
