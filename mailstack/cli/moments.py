"""Times for people."""

from __future__ import annotations

from datetime import datetime


def moment(seconds: float) -> str:
    """A time since the epoch as the clock on this machine's wall shows it; "now" for one that is long past."""
    if seconds < 86400:
        return "now"
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def span(seconds: float) -> str:
    """About how long."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"
