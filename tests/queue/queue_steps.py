"""Counts the steps in which the queue changes what is on the disk, and lets one of them go wrong.

A step is a system call that changes files, or a commit of the database, which is one step: SQLite does it wholly or
not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mailstack.queue.database import QueueDatabase


class Crash(BaseException):
    """The process ends here."""


@dataclass
class Steps:
    """`fail_at`: the number of the step that raises `error` instead of being done. After a Crash nothing is done."""

    root: Path
    fail_at: int = -1
    error: BaseException | None = None
    done: list[str] = field(default_factory=list)
    dead: bool = False

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("open", "write", "sendfile", "fsync", "rename", "unlink"):
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name)))
        commit = QueueDatabase.transaction

        def transaction(database: QueueDatabase, work: Callable[[], None]) -> None:
            self._step("commit")
            commit(database, work)

        monkeypatch.setattr(QueueDatabase, "transaction", transaction)

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            if name == "open" and not arguments[1] & os.O_CREAT:
                return real(*arguments, **more)
            label = f"{name} {self._shown(arguments[0])}"
            if name == "rename":
                label += f" {self._shown(arguments[1])}"
            self._step(label)
            return real(*arguments, **more)

        return call

    def _step(self, label: str) -> None:
        if self.dead:
            raise Crash
        self.done.append(label)
        if len(self.done) - 1 == self.fail_at and self.error is not None:
            self.dead = isinstance(self.error, Crash)
            raise self.error

    def _shown(self, what: Any) -> str:
        path = Path(os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else what)
        if self.root not in path.parents:
            return "the directory" if path == self.root else path.name
        place = path.relative_to(self.root)
        return str(place.with_name("*" + place.suffix))
