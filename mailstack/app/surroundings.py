"""What a server has around it: whether mail leaves, and whom it asks. The development mode is alone; production is
among others (`among_others.py`), which costs a start of more imports."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from mailstack.app.run import Running
from mailstack.config.sections import Config
from mailstack.errors import Problem, Refused
from mailstack.journeys import Journal
from mailstack.observe.metrics import Counts
from mailstack.ports import Blob, Envelope, Log, Outbound, Resolver
from mailstack.store.api import Store
from mailstack.store.workers import Workers

if TYPE_CHECKING:
    from mailstack.app.services import Resources
    from mailstack.queue.queue import MailQueue


class Around(Protocol):
    """Made before the services, begun after them."""

    @property
    def resolver(self) -> Resolver | None: ...

    @property
    def outbound(self) -> Outbound: ...

    @property
    def journal(self) -> Journal | None: ...

    def begin(self, resources: Resources) -> None:
        """The services are made. Raises: BadRoute, OSError, sqlite3.Error."""

    def use(self, config: Config) -> None:
        """Go on as this configuration says."""


MakeAround = Callable[[Running, Counts, Config, Store], Around]


class Alone:
    """Implements `Around`: no mail leaves, and nobody is asked."""

    resolver = None

    def __init__(
        self, running: Running, counts: Counts, config: Config, store: Store, *, journal: Journal | None = None
    ) -> None:
        self.journal = journal
        self.outbound = LazyQueue(config, store.workers, running.log)
        running.closers.insert(0, self.outbound.close)

    def begin(self, resources: Resources) -> None:
        pass

    def use(self, config: Config) -> None:
        pass


class LazyQueue:
    """Implements `ports.Outbound` where no mail leaves: there are no files until something is queued after all."""

    def __init__(self, config: Config, workers: Workers, log: Log) -> None:
        self._make = partial(_open, config, workers, log)
        self._workers = workers
        self._queue: MailQueue | None = None

    async def enqueue(self, envelope: Envelope, prefix: bytes, blob: Blob) -> str:
        if self._queue is None:
            await self._workers.run_in_lane("queue", self._ready)
        assert self._queue is not None
        return await self._queue.enqueue(envelope, prefix, blob)

    def _ready(self) -> None:
        """In the worker, so that the next one in the lane sees it: of two queues on one directory the second would
        never be closed."""
        self._queue = self._queue or self._make()

    async def hasten(self, domain: str, *, subdomains: bool = False) -> int:
        return 0 if self._queue is None else await self._queue.hasten(domain, subdomains=subdomains)

    def close(self) -> None:
        """When the workers have ended."""
        if self._queue is not None:
            self._queue.close()


def _open(config: Config, workers: Workers, log: Log) -> MailQueue:
    """Raises: Refused(QUEUE_UNAVAILABLE)."""
    import apsw

    from mailstack.app.outgoing import open_queue
    from mailstack.queue.database import QueueDatabaseError

    try:
        return open_queue(config, workers, log)
    except (QueueDatabaseError, apsw.Error, OSError) as error:
        raise Refused(Problem.QUEUE_UNAVAILABLE, str(error)) from error
