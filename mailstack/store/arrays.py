"""Rows out of parallel arrays."""

from __future__ import annotations

from array import array
from collections.abc import Sequence


def kept_runs(length: int, rows: Sequence[int]) -> list[slice]:
    """The runs that are left of so many rows without these (ascending, each once)."""
    runs: list[slice] = []
    start = 0
    for row in rows:
        if row > start:
            runs.append(slice(start, row))
        start = row + 1
    return [*runs, slice(start, length)]


def joined(column: array[int], runs: Sequence[slice]) -> array[int]:
    """A new column of these runs. Copies octets: no number is looked at."""
    made = column[:0]
    for run in runs:
        made += column[run]
    return made
