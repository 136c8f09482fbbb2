"""`[log]`, `[journal]` and `[metrics]`: what can be seen of a running server."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class LogFormat(Enum):
    """Lines for people, or JSON objects for programs."""

    TEXT = "text"
    JSON = "json"


class LogLevel(Enum):
    """The least important lines that are still written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Log:
    """`[log]`."""

    format: LogFormat = LogFormat.TEXT
    level: LogLevel = LogLevel.INFO
    file: Path | None = None
    """None is the standard error stream, which systemd's journal reads."""


@dataclass(frozen=True, slots=True)
class Journal:
    """`[journal]`: what happened to each message, for `mailstack log trace`."""

    events: int = 1_000_000
    """That are kept, of some 250 octets each; then the oldest go. 0: none are taken down."""
    days: int = 30
    """For which they are kept; 0: any."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """`[metrics]`: the page at /metrics that a Prometheus server reads."""

    address: str = "127.0.0.1"
    port: int | None = None
    """None: no such page. 0 lets the kernel choose."""
