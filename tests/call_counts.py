"""Counts calls: what a function costs in steps that are the same on every machine."""

from __future__ import annotations

import sys
from collections.abc import Callable


def calls(work: Callable[[], object]) -> int:
    """How many calls, of Python and of C, happen while `work` runs."""
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def assert_linear(work: Callable[[bytes], object], piece: bytes, size: int = 2000) -> None:
    """Twice as much of `piece` costs twice the calls, give or take a few. What regular expressions do
    inside one call is counted by `regex_steps`."""
    few = piece * (size // len(piece))
    once, twice = calls(lambda: work(few)), calls(lambda: work(few + few))
    assert twice <= 2.2 * once + 50, f"{once} calls, and {twice} for twice as much"
