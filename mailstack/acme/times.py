"""When a certificate is renewed, and when after a failure it is tried again. Pure: times are seconds since the epoch,
`chance` is a random number from 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass

BACKOFF_FIRST, BACKOFF_MOST = 5 * 60.0, 24 * 3600.0
"""Seconds before the second attempt, and the most between two; each time twice as many."""
JITTER = 0.25
"""The part by which a pause may be shorter or longer, so that not all servers come back at once."""
RETRY_AFTER_MOST = 7 * 24 * 3600.0
"""Seconds for which an authority can tell us to wait."""
ASK_AGAIN, ASK_LEAST, ASK_MOST = 6 * 3600.0, 60.0, 24 * 3600.0
"""Seconds between two questions for the window, unless the authority says, and what it may say (RFC 9773 §4.3.2)."""


@dataclass(frozen=True, slots=True)
class Window:
    """When the authority wants a certificate to be renewed (RFC 9773 §4.2)."""

    start: float
    end: float

    def some_time(self, chance: float) -> float:
        """A time in it; all are as likely."""
        return self.start + chance * max(0.0, self.end - self.start)


def renewal_time(not_before: float, not_after: float, part: float) -> float:
    """When this part of a certificate's life is over."""
    return not_before + part * (not_after - not_before)


def pause_after(failures: int, chance: float, retry_after: float | None = None) -> float:
    """Seconds to wait after so many failures in a row, at least those that the authority asked for."""
    usual = min(BACKOFF_MOST, BACKOFF_FIRST * 2.0 ** min(failures - 1, 30))
    pause = usual * (1 - JITTER + 2 * JITTER * chance)
    if retry_after is None:
        return pause
    return max(pause, min(retry_after, RETRY_AFTER_MOST) * (1 + JITTER * chance))


def ask_after(retry_after: float | None) -> float:
    """Seconds until the window is asked for again."""
    return ASK_AGAIN if retry_after is None else min(max(retry_after, ASK_LEAST), ASK_MOST)
