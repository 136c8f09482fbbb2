"""Many connections at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from mailstack.load.clients import CLIENTS, Client, Refused, Work
from mailstack.load.figures import Figures

LINE = 1 << 20
"""Octets of the longest line of a server."""
PAUSE = 0.05
"""Seconds before the next attempt to connect where one has failed."""
LOOK = 0.25
"""Seconds between two looks at how far it is."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much: so many operations in all, or for so many seconds. `patience` in seconds for each operation."""

    protocol: str
    host: str
    port: int
    work: Work
    connections: int
    operations: int | None
    seconds: float | None
    patience: float = 30.0


def run(plan: Plan, progress: Callable[[Figures], None]) -> Figures:
    """Do it. A connection on which something fails is over, and another one takes its place."""
    return asyncio.run(_run(plan, progress))


async def _run(plan: Plan, progress: Callable[[Figures], None]) -> Figures:
    figures = Figures()
    begun = time.monotonic()
    tasks = Tasks(plan, figures, begun)
    workers = [asyncio.create_task(tasks.work()) for _ in range(plan.connections)]
    waiting = set(workers)
    while waiting:
        _, waiting = await asyncio.wait(waiting, timeout=LOOK)
        figures.elapsed = time.monotonic() - begun
        progress(figures)
    for worker in workers:
        worker.result()
    return figures


class Tasks:
    """Who does what of the plan."""

    def __init__(self, plan: Plan, figures: Figures, begun: float) -> None:
        self.plan = plan
        self.figures = figures
        self._left = plan.operations
        self._end = None if plan.seconds is None else begun + plan.seconds

    def next(self) -> bool:
        """Whether there is something to do yet, which is then taken."""
        if self._end is not None and time.monotonic() >= self._end:
            return False
        if self._left is None:
            return True
        self._left -= 1
        return self._left >= 0

    async def work(self) -> None:
        """One connection after the other, until there is nothing to do."""
        while self.next():
            try:
                reader, writer = await asyncio.wait_for(
                    asyncio.open_connection(self.plan.host, self.plan.port, limit=LINE), self.plan.patience
                )
            except (OSError, TimeoutError) as error:
                self._failed(error)
                await asyncio.sleep(PAUSE)
                continue
            client = CLIENTS[self.plan.protocol](reader, writer, self.plan.work)
            try:
                await self._on(client)
            except (OSError, TimeoutError, Refused, EOFError, ValueError) as error:
                self._failed(error)
            finally:
                self.figures.octets += client.octets
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    async def _on(self, client: Client) -> None:
        async with asyncio.timeout(self.plan.patience) as limit:
            await client.begin()
            while True:
                begun = time.monotonic()
                limit.reschedule(asyncio.get_running_loop().time() + self.plan.patience)
                await client.operation()
                self.figures.taken.append(time.monotonic() - begun)
                if not self.next():
                    return

    def _failed(self, error: Exception) -> None:
        self.figures.errors[str(error) or type(error).__name__] += 1
