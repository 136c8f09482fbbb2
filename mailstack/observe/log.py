"""The structured log: one line an event, as text for people or as JSON for programs.

2026-11-24T09:15:02.123Z info  mail accepted conn=k3f2-1a id=k3f2-1a.1 size=4120
{"time":"2026-11-24T09:15:02.123Z","level":"info","event":"mail accepted","conn":"k3f2-1a", …}
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Protocol

MAX_VALUE = 1000
"""Characters of one value: what a client sends must not fill the disk with log."""
TRACEBACK_LIMIT = 20_000
"""Characters of a value in JSON, where a traceback is one value."""
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_@:/+,*#%<>[]$")

Format = Callable[[str, str, str, Mapping[str, object]], str]


class LineStream(Protocol):
    """What a log needs of a text stream. Raises: OSError."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...

    def close(self) -> object: ...


class Level(IntEnum):
    """How much an operator wants to hear."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


@dataclass(slots=True)
class Target:
    """Where lines go, how they look, and which are written: one for the logs of a whole process, so
    that what is changed here holds for every connection at once."""

    stream: LineStream
    form: Format
    level: Level = Level.INFO
    lost: int = 0
    """Lines that could not be written, as on a full disk; told when one can be written again."""

    def write(self, line: str) -> None:
        """One line. That it cannot be written must not fail what it tells of."""
        try:
            self.stream.write(line + "\n")
            self.stream.flush()
        except OSError:
            self.lost += 1


class StructuredLog:
    """Implements `ports.Log` on a text stream. Thread-safe as far as one `write` call is."""

    __slots__ = ("_clock", "_fields", "_target")

    def __init__(
        self,
        target: Target,
        fields: Mapping[str, object] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._target = target
        self._fields = dict(fields or {})
        self._clock = clock

    def event(self, what: str, /, **fields: object) -> None:
        if self._target.level <= Level.INFO:
            self._write("info", what, fields)

    def warning(self, what: str, /, **fields: object) -> None:
        if self._target.level <= Level.WARNING:
            self._write("warn", what, fields)

    def failure(self, what: str, /, **fields: object) -> None:
        exc = sys.exception()
        if exc is not None:
            fields = {**fields, "error": f"{type(exc).__name__}: {exc}", "traceback": _where(exc)}
        self._write("error", what, fields)

    def bind(self, **fields: object) -> StructuredLog:
        return StructuredLog(self._target, {**self._fields, **fields}, self._clock)

    def _write(self, level: str, what: str, fields: Mapping[str, object]) -> None:
        target = self._target
        line = target.form(self._now(), level, what, {**self._fields, **fields} if self._fields else fields)
        if target.lost:
            target.lost, lost = 0, target.lost
            target.write(target.form(self._now(), "warn", "log lines lost", {"count": lost}))
        target.write(line)

    def _now(self) -> str:
        now = self._clock()
        second = int(now)
        return f"{_second_text(second)}.{int((now - second) * 1000):03d}Z"


@lru_cache(maxsize=2)
def _second_text(second: int) -> str:
    # Costs more than the rest of a line, and all lines of a second share it.
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def text_line(now: str, level: str, what: str, fields: Mapping[str, object]) -> str:
    """For people. A value that could be mistaken for more fields, or holds controls, is quoted."""
    parts = [f"{now} {level:<5} {what}"]
    parts += [
        f"{key}={_text_value(value)}" for key, value in fields.items() if value is not None and key != "traceback"
    ]
    if "traceback" in fields:
        parts.append("\n" + str(fields["traceback"]).rstrip())
    return " ".join(parts)


def json_line(now: str, level: str, what: str, fields: Mapping[str, object]) -> str:
    """For programs."""
    record: dict[str, object] = {"time": now, "level": level, "event": what}
    record.update({key: _json_value(value) for key, value in fields.items() if value is not None})
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


FORMATS: Mapping[str, Format] = {"text": text_line, "json": json_line}


def _text_value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    if text and len(text) <= MAX_VALUE and _PLAIN.issuperset(text):
        return text
    return json.dumps(_cut(text))


def _json_value(value: object) -> object:
    if isinstance(value, bool | int | float):
        return value
    text = str(value)
    return _cut(text, TRACEBACK_LIMIT)


def _cut(text: str, limit: int = MAX_VALUE) -> str:
    return text if len(text) <= limit else text[:limit] + f"… ({len(text)} characters)"


def _where(exc: BaseException) -> str:
    return "".join(traceback.format_exception(exc))
