"""A log that remembers."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line. `level` is "event", "warning" or "failure"; `error` is the exception of a failure."""

    level: str
    what: str
    fields: dict[str, object]
    error: BaseException | None = None


@dataclass(slots=True)
class RecordingLog:
    """Implements `ports.Log`; logs made by `bind` write into the same `lines`."""

    lines: list[LogLine] = field(default_factory=list)
    bound: dict[str, object] = field(default_factory=dict)

    def event(self, what: str, /, **fields: object) -> None:
        self._add("event", what, fields)

    def warning(self, what: str, /, **fields: object) -> None:
        self._add("warning", what, fields)

    def failure(self, what: str, /, **fields: object) -> None:
        self._add("failure", what, fields)

    def bind(self, **fields: object) -> RecordingLog:
        return RecordingLog(self.lines, {**self.bound, **fields})

    def _add(self, level: str, what: str, fields: dict[str, object]) -> None:
        error = sys.exc_info()[1] if level == "failure" else None
        self.lines.append(LogLine(level, what, {**self.bound, **fields}, error))

    def whats(self, level: str | None = None) -> list[str]:
        """What was logged, in order; of one level if given."""
        return [line.what for line in self.lines if level is None or line.level == level]

    @property
    def failures(self) -> list[LogLine]:
        """Bugs. Most tests want this to be empty."""
        return [line for line in self.lines if line.level == "failure"]
