"""Orders of messages (RFC 5256 §3, SORT). Pure: it knows neither sessions nor the store.

Long lists are sorted in runs which are then merged, since one call of `list.sort` gives no other thread its turn."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

from mailstack.imap.wire.values import Criteria

RUN = 4096
"""Messages that are sorted in one go."""


Column = Sequence[int] | Sequence[bytes]
"""What a criterion compares, by row."""


def order(columns: Sequence[Column], criteria: Criteria) -> list[int]:
    """The rows in the order of `criteria`, each of which has its column; equal rows stay in their order."""
    rows = list(range(len(columns[0])))
    for column, criterion in zip(reversed(columns), reversed(criteria), strict=True):
        rows = in_runs(rows, column.__getitem__, reverse=criterion.reverse)
    return rows


def in_runs(rows: Sequence[int], key: Callable[[int], Any], *, reverse: bool = False) -> list[int]:
    """As `sorted`, in pieces: merging two runs is what `list.sort` is best at."""
    runs = [sorted(rows[start : start + RUN], key=key, reverse=reverse) for start in range(0, len(rows), RUN)]
    while len(runs) > 1:
        merged = [
            sorted(one + other, key=key, reverse=reverse) for one, other in zip(runs[::2], runs[1::2], strict=False)
        ]
        runs = merged + runs[2 * len(merged) :]
    return runs[0] if runs else []


Values = tuple[int | bytes, ...]
"""What one message has for each criterion."""


def compare(one: Values, other: Values, criteria: Criteria) -> int:
    """Below 0 if a message of the values `one` stands before one of the values `other`, 0 if the criteria do not tell,
    else above 0."""
    for a, b, criterion in zip(one, other, criteria, strict=True):
        if a != b:
            return 1 if (a > b) is not criterion.reverse else -1  # type: ignore[operator]  # both of one column
    return 0


def ordered_subset(ordered: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Those of `ordered` that are among `wanted`."""
    if len(wanted) * 2 < len(ordered):
        known = frozenset(wanted)
        return [uid for uid in ordered if uid in known]
    missing = frozenset(ordered).difference(wanted)
    return [uid for uid in ordered if uid not in missing] if missing else list(ordered)


def missing_from(known: Sequence[int], uids: Sequence[int]) -> list[int]:
    """Those of `uids` that are not among `known`; both ascend."""
    if not len(known):
        return list(uids)
    later = bisect_left(uids, known[-1] + 1)
    if later <= len(known) and known[:later] == uids[:later]:  # the usual case: new ones at the end
        return list(uids[later:])
    among = frozenset(known)
    return [uid for uid in uids if uid not in among]
