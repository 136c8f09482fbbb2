"""Where the time of one message by SMTP goes: 4 KiB for one recipient, MAIL to 250, no pipelining. Each step is the
product's own code, run alone; the best of several rounds, since the machine has other things to do."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

ROUNDS = 7
MESSAGE = b"From: a@example.net\r\nTo: b@example.org\r\nSubject: bench\r\n\r\n" + b"x" * 76 + b"\r\n" * 1
BODY = MESSAGE + (b"The quick brown fox jumps over the lazy dog; mail is what remains of letters.\r\n" * 51)
MAIL, RCPT = b"FROM:<sender@example.net>", b"TO:<alice@example.org>"
SAID = (b"MAIL " + MAIL + b"\r\n", b"RCPT " + RCPT + b"\r\n", b"DATA\r\n", BODY + b".\r\n")


def measure(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Microseconds of a message: of the interpreter for the first steps, of the clock for those of the disk."""
    count = min(options.messages, 2000)
    found = {
        "framing": best(count, framing()),
        "grammar": best(count, grammar()),
        "checks": best(count, checks()),
        "message into the spool": best(count, spooled()),
        "trace header": best(count, trace_header()),
    }
    whole = best(count, session())
    found["commands, states, replies, log"] = whole - sum(found.values())
    found["session as a whole"] = whole
    found["worker and back"] = hop(count)
    found |= disk(root / "steps", count)
    return {name: round(value, 1) for name, value in found.items()}


def best(count: int, step: Callable[[], object]) -> float:
    """Microseconds of CPU."""
    times = []
    for _ in range(ROUNDS):
        started = time.thread_time_ns()
        for _ in range(count):
            step()
        times.append((time.thread_time_ns() - started) / count / 1000)
    return min(times)


def framing() -> Callable[[], object]:
    from mailstack.smtp.wire.framing import Framer

    framer = Framer()

    def step() -> None:
        for segment in SAID[:3]:
            framer.feed(segment)
            framer.next_line()
            framer.next_line()
        framer.begin_data()
        framer.feed(SAID[3])
        framer.next_data()
        framer.next_line()

    return step


def grammar() -> Callable[[], object]:
    from mailstack.smtp.wire import grammar as rules

    def step() -> None:
        rules.mail_from(MAIL)
        rules.rcpt_to(RCPT)
        rules.no_argument(b"")

    return step


def world() -> tuple[Any, Any]:
    """A session of port 25 over memory, and its connection."""
    from twisted.internet.defer import Deferred

    from mailstack.config.policy import Policy
    from mailstack.smtp.session import SmtpSession
    from mailstack.smtp.settings import SmtpResources, SmtpSettings
    from mailstack.testing.accounts import MemoryAccounts, MemoryDirectory
    from mailstack.testing.clock import ManualClock
    from mailstack.testing.connection import MemoryConnection
    from mailstack.testing.counters import MemoryCounters
    from mailstack.testing.log import RecordingLog
    from mailstack.testing.outbound import MemoryOutbound
    from mailstack.testing.store import MemorySpool, MemoryStore

    class Kept(MemoryStore):
        """Delivers at once."""

        async def deliver(self, blob: Any, deliveries: Any) -> Any:
            return [None] * len(deliveries)

    class Forgetful(RecordingLog):
        def event(self, what: str, /, **fields: object) -> None:
            pass

        def bind(self, **fields: object) -> Forgetful:
            return self

    users = {"alice@example.org": "x"}
    spool: Any = MemorySpool()
    resources = SmtpResources(
        MemoryDirectory(users, {}), MemoryAccounts(users), Kept(), MemoryOutbound(), spool, Forgetful(),
        MemoryCounters(), ManualClock(),
    )  # fmt: skip
    free = Policy(greeting_delay=0.0, connections_per_minute=0, messages_per_minute=0, recipients_per_minute=0)
    connection = MemoryConnection()
    made = SmtpSession(connection, resources, SmtpSettings("mx.example.org", policy=free))
    Deferred.fromCoroutine(made.run())
    connection.feed(b"EHLO client.example.net\r\n")
    return made, connection


def session() -> Callable[[], object]:
    _, connection = world()

    def step() -> None:
        for segment in SAID:
            connection.feed(segment)
        connection.take()

    step()
    connection.feed(SAID[0])
    assert connection.take().startswith(b"250"), "the session does not go on"
    connection.feed(b"RSET\r\n")
    return step


def checks() -> Callable[[], object]:
    from mailstack.smtp.checks.frame import Stage

    made, connection = world()
    for segment in SAID[:2]:
        connection.feed(segment)

    def step() -> None:
        for stage in (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.END_OF_DATA):
            _ran(made.opinion(stage))

    return step


def spooled() -> Callable[[], object]:
    made, connection = world()
    for segment in SAID[:2]:
        connection.feed(segment)

    def step() -> None:
        transaction = made.current
        transaction.begin_message(made.resources.spool)
        _ran(transaction.take(BODY))
        _ran(transaction.end())
        transaction.discard()

    return step


def trace_header() -> Callable[[], object]:
    from mailstack.smtp import delivery

    made, connection = world()
    for segment in SAID[:2]:
        connection.feed(segment)
    return lambda: delivery._trace(made.current, made.facts, None, 1_700_000_000.0)


def _ran(coroutine: Any) -> None:
    """To its end, for which it does not wait."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


def hop(count: int) -> float:
    """CPU of both threads."""
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from mailstack.store.workers import Reactor, Workers

    loop: Any = reactor
    waker: Reactor = loop
    workers, times = Workers(waker, 1), list[float]()

    async def run() -> None:
        for _ in range(ROUNDS):
            started = time.process_time_ns()
            for _ in range(count):
                await workers.run(int)
            times.append((time.process_time_ns() - started) / count / 1000)

    def begin() -> None:
        Deferred.fromCoroutine(run()).addBoth(lambda _: loop.stop())

    loop.callWhenRunning(begin)
    loop.run()
    workers.close()
    return min(times)


def disk(place: Path, count: int) -> dict[str, float]:
    """Of the clock, the median; what `store.maildir.deliver` asks the kernel for."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    for name in ("tmp", "new"):
        (place / name).mkdir(parents=True)
    tmp, new = (os.open(place / name, os.O_RDONLY) for name in ("tmp", "new"))
    times: dict[str, list[int]] = {}
    for number in range(min(count, 300)):
        name = str(number)
        fd = timed(times, "open", partial(os.open, name, flags, 0o600, dir_fd=tmp))
        timed(times, "write", partial(os.write, fd, BODY))
        timed(times, "fsync of the file", partial(os.fsync, fd))
        timed(times, "close", partial(os.close, fd))
        timed(times, "rename", partial(os.rename, name, name, src_dir_fd=tmp, dst_dir_fd=new))
        timed(times, "fsync of the directory", partial(os.fsync, new))
    os.close(tmp)
    os.close(new)
    return {name: sorted(found)[len(found) // 2] / 1000 for name, found in times.items()}


def timed(times: dict[str, list[int]], name: str, call: Callable[[], Any]) -> Any:
    started = time.perf_counter_ns()
    result = call()
    times.setdefault(name, []).append(time.perf_counter_ns() - started)
    return result


def report(found: dict[str, Any]) -> Iterator[str]:
    for name, value in found.items():
        yield f"SMTP step     {value:>7} µs  {name}"
