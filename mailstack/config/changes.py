"""What of a changed configuration a running server can take up, and what waits for a restart. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from mailstack.config.acme import Acme
from mailstack.config.sections import Config, Listener

AT_START_ONLY = ("data", "user", "group", "accounts", "metrics")
"""Keys and sections that are used once: files that are open, ports, the identity of the process."""

ACME_AT_START_ONLY = ("challenge", "address", "port")
"""Keys of [acme] that say which socket is bound."""


@dataclass(frozen=True, slots=True)
class Changes:
    """`usable` is the configuration to run on from now; `taken` and `waiting` name the keys that
    differ from the one before, as "limits.connections"."""

    usable: Config
    taken: tuple[str, ...]
    waiting: tuple[str, ...]


def changes(running: Config, wanted: Config) -> Changes:
    """Compare the configuration in use with the one in the file."""
    kept = {key: getattr(running, key) for key in AT_START_ONLY}
    listeners = tuple(_changed(listener, wanted.listeners) for listener in running.listeners)
    usable = replace(wanted, **kept, listeners=listeners)
    usable = replace(usable, acme=_acme(running.acme, wanted.acme))
    if not (running.tls.certificates or running.acme.is_on):  # the listeners were made without TLS
        usable = replace(usable, tls=running.tls)
    return Changes(usable, tuple(_differences(running, usable)), tuple(_differences(usable, wanted)))


def _acme(running: Acme, wanted: Acme) -> Acme:
    """[acme] as it can be now: where the authority's questions are answered stays, and so whether they are."""
    if running.is_on is not wanted.is_on:
        return running
    kept = {key: getattr(running, key) for key in ACME_AT_START_ONLY} if running.is_on else {}
    return replace(wanted, **kept)


def _changed(listener: Listener, wanted: tuple[Listener, ...]) -> Listener:
    """The listener as it is wanted now, if its port is; a port that is not wanted any more stays
    open until the restart."""
    for other in wanted:
        if _place(other) == _place(listener):
            return other
    return listener


def _place(listener: Listener) -> tuple[object, ...]:
    return (listener.service, listener.address, listener.port, listener.socket, listener.unix)


def _differences(one: Any, other: Any, prefix: str = "") -> Iterator[str]:
    for field in fields(one):
        first, second = getattr(one, field.name), getattr(other, field.name)
        if first == second:
            continue
        if is_dataclass(first) and is_dataclass(second):
            yield from _differences(first, second, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"
