"""What every test must leave behind: nothing in the reactor, and no error that nobody looked at."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

SETTLE = 2.0
"""Seconds that closing connections may take after a test, counted only while something is left."""

sys.path.insert(0, str(Path(__file__).parent))  # so that tests can import `transcripts` and the like
settings.register_profile("mailstack", deadline=None)  # how long an example takes says nothing on a busy machine
settings.load_profile("mailstack")


@pytest.fixture(autouse=True)
def _same_umask() -> Iterator[None]:
    """Commands that a test runs in its own process set the umask for the files that they make."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


class UnhandledErrors:
    """Observes Twisted's log for errors in Deferreds that were dropped."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def __call__(self, event: dict[str, Any]) -> None:
        failure = event.get("log_failure")
        if failure is not None and event.get("log_namespace") == "twisted.internet.defer":
            self.found.append(failure.getTraceback())

    def take(self) -> list[str]:
        found, self.found = self.found, []
        return found


def pending(reactor: Any) -> list[Any]:
    """Timers and selectables, without those that the reactor needs for itself."""
    own = getattr(reactor, "_internalReaders", ())
    things = [*reactor.getDelayedCalls(), *reactor.getReaders(), *reactor.getWriters()]
    return [thing for thing in things if thing not in own]


def leftovers(reactor: Any, before: list[Any]) -> list[str]:
    """What waits in the reactor now and did not wait before."""
    return [str(thing) for thing in pending(reactor) if thing not in before]


def settle(reactor: Any, before: list[Any]) -> list[str]:
    """Let the reactor turn until nothing is left, or SETTLE seconds passed; what is left then."""
    import pytest_twisted
    from twisted.internet.task import deferLater

    end = reactor.seconds() + SETTLE
    while (left := leftovers(reactor, before)) and reactor.seconds() < end:
        pytest_twisted.blockon(deferLater(reactor, 0.005))
    return left


@pytest.fixture(scope="session")
def unhandled_errors() -> Iterator[UnhandledErrors]:
    from twisted.logger import globalLogPublisher

    observer = UnhandledErrors()
    globalLogPublisher.addObserver(observer)
    gc.collect()
    gc.freeze()  # makes the collections below cheap
    yield observer
    globalLogPublisher.removeObserver(observer)


@pytest.fixture(scope="module", autouse=True)
def no_error_dropped_in_module(unhandled_errors: UnhandledErrors) -> Iterator[None]:
    """Deferreds in cycles are only found by a full collection: once a module."""
    yield
    gc.collect()
    found = unhandled_errors.take()
    assert not found, f"errors in Deferreds that nobody handled, somewhere in this module:\n{''.join(found)}"


@pytest.fixture(autouse=True)
def clean_reactor(unhandled_errors: UnhandledErrors) -> Iterator[None]:
    """Fails a test that leaves timers, connections, ports, or unhandled errors behind."""
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    if reactor is None:
        yield
        return
    before = pending(reactor)
    yield
    left = settle(reactor, before) if leftovers(reactor, before) else []
    for call in reactor.getDelayedCalls():
        if call not in before:
            call.cancel()  # it must not fall into the next test
    gc.collect(1)
    found = unhandled_errors.take()
    assert not left, f"the test left these in the reactor: {left}"
    assert not found, f"errors in Deferreds that nobody handled:\n{''.join(found)}"
