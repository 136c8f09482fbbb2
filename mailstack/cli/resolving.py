"""A command that asks DNS, in a reactor that runs for as long."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mailstack.config.sections import Dns
    from mailstack.dns.resolver import DnsResolver


def with_resolver(settings: Dns, ask: Callable[[DnsResolver], Coroutine[Any, Any, Any]]) -> Any:
    """What `ask` comes to. Raises: what it raises; click.Abort at Ctrl-C. Once in a process."""
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from mailstack.dns.exchange import ReactorExchange
    from mailstack.dns.resolver import DnsResolver
    from mailstack.observe.log import FORMATS, Level, StructuredLog, Target
    from mailstack.observe.metrics import Counts

    running: Any = reactor
    log = StructuredLog(Target(sys.stderr, FORMATS["text"], Level.ERROR))
    resolver = DnsResolver(settings, running, ReactorExchange(running), log, Counts())
    results: list[Any] = []
    interrupted: list[bool] = []

    def end(result: Any) -> None:
        results.append(result)
        if not interrupted:
            running.stop()

    def stopping() -> None:
        if not results:
            interrupted.append(True)
            resolver.close()

    def begin() -> None:
        Deferred.fromCoroutine(ask(resolver)).addBoth(end)

    running.callWhenRunning(begin)
    running.addSystemEventTrigger("before", "shutdown", stopping)
    running.run()
    if interrupted:  # Ctrl-C
        raise click.Abort
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]
