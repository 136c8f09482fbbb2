"""Blocking work for coroutines, whichever loop runs them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Run it in a thread of asyncio, trio or Twisted. Raises: RuntimeError where none of them runs."""
    asyncio: Any = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        return await asyncio.to_thread(work)  # type: ignore[no-any-return]
    trio: Any = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True)  # type: ignore[no-any-return]
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    if reactor is not None and reactor.running:
        from twisted.internet.threads import deferToThread

        return await deferToThread(work)
    raise RuntimeError("neither asyncio nor trio nor Twisted runs here: call wait_for, which is no coroutine")
