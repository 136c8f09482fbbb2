"""The only threads around the store. What blocks is a plain function, run here.

Results come back in batches: a worker appends to a deque and wakes the reactor only when no wake-up
is under way, so that fifty deliveries which end together cost one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")

DEFAULT_THREADS = 8
"""More would only wait for each other: the interpreter is the limit, then the disk."""


class Reactor(Protocol):
    """The one thing that workers need of a reactor."""

    def callFromThread(self, callable: Callable[..., object], *args: object) -> None: ...


class Job(Generic[T]):
    """One function on its way to a worker and back."""

    __slots__ = ("after", "done", "failure", "fn", "result")

    def __init__(self, fn: Callable[[], T]) -> None:
        self.fn: Callable[[], T] | None = fn
        self.done: Deferred[T] = Deferred()
        self.result: T | None = None
        self.failure: Failure | None = None
        self.after: Callable[[], None] | None = None

    def work(self) -> None:
        """In the worker."""
        fn, self.fn = self.fn, None
        assert fn is not None
        try:
            self.result = fn()
        except BaseException:  # noqa: B036  (whatever it was, it is handed to who waits)
            self.failure = Failure()  # type: ignore[no-untyped-call]

    def finish(self) -> None:
        """In the reactor's thread."""
        if self.after is not None:
            self.after()
        if self.failure is not None:
            self.done.errback(self.failure)
        else:
            self.done.callback(self.result)  # type: ignore[arg-type]  # T may itself be None


class Workers:
    """A pool of threads, and lanes: jobs of one lane run one after the other, in order."""

    def __init__(self, reactor: Reactor, threads: int = DEFAULT_THREADS) -> None:
        self._reactor = reactor
        self._jobs: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._finished: deque[Job[Any]] = deque()
        self._wake_lock = threading.Lock()
        self._waking = False
        self._lanes: dict[str, deque[Job[Any]]] = {}
        self._given = 0
        self._threads = [
            threading.Thread(target=self._work, name=f"store-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, fn: Callable[[], T]) -> Deferred[T]:
        """Run `fn` in any worker; its result or its exception comes back."""
        job = Job(fn)
        self._given += 1
        self._jobs.put(job)
        return job.done

    def run_in_lane(self, lane: str, fn: Callable[[], T]) -> Deferred[T]:
        """As `run`, after all earlier jobs of the same lane are done."""
        job = Job(fn)
        job.after = lambda: self._next(lane)
        self._given += 1
        waiting = self._lanes.get(lane)
        if waiting is None:
            self._lanes[lane] = deque()
            self._jobs.put(job)
        else:
            waiting.append(job)
        return job.done

    @property
    def idle(self) -> bool:
        """Whether nobody waits for anything. In the reactor's thread."""
        return not self._given

    def close(self) -> None:
        """Finish what was given, then end the threads. Blocks for as long as that takes; results
        are delivered by the reactor afterwards."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _next(self, lane: str) -> None:
        waiting = self._lanes[lane]
        if waiting:
            self._jobs.put(waiting.popleft())
        else:
            del self._lanes[lane]

    def _work(self) -> None:
        get, finished = self._jobs.get, self._finished
        while (job := get()) is not None:
            job.work()
            finished.append(job)
            del job
            with self._wake_lock:
                if self._waking:
                    continue
                self._waking = True
            self._reactor.callFromThread(self._collect)

    def _collect(self) -> None:
        with self._wake_lock:
            self._waking = False
        finished = self._finished
        while finished:
            job = finished.popleft()
            self._given -= 1
            job.finish()


class InlineWorkers(Workers):
    """Runs everything at once in the caller's thread: for tests, and for the command line."""

    def __init__(self) -> None:
        pass

    def run(self, fn: Callable[[], T]) -> Deferred[T]:
        job = Job(fn)
        job.work()
        job.finish()
        return job.done

    def run_in_lane(self, lane: str, fn: Callable[[], T]) -> Deferred[T]:
        return self.run(fn)

    @property
    def idle(self) -> bool:
        return True

    def close(self) -> None:
        """There is nothing to end."""
