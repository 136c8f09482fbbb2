"""Orders of messages (RFC 5256 §3, SORT). Pure: it knows neither sessions nor the store.

Long lists are sorted in parts, since one call of `list.sort` gives no other thread its turn."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from mailstack.imap.wire.values import Criteria

PART = 1024
"""Messages, about, that are sorted in one go."""
SAMPLED = 16
"""One of how many messages is looked at to find parts."""


Column = Sequence[int] | Sequence[bytes]
"""What a criterion compares, by row."""


def order(columns: Sequence[Column], criteria: Criteria) -> list[int]:
    """The rows in the order of `criteria`, each of which has its column; equal rows stay in their order."""
    rows = list(range(len(columns[0])))
    for column, criterion in zip(reversed(columns), reversed(criteria), strict=True):
        rows = in_parts(rows, column.__getitem__, reverse=criterion.reverse)
    return rows


def in_parts(rows: Sequence[int], key: Callable[[int], Any], *, reverse: bool = False) -> list[int]:
    """As `sorted`. A sample of the keys tells where parts end; equal ones are in one part, in their order."""
    if len(rows) <= 2 * PART:
        return sorted(rows, key=key, reverse=reverse)
    sample = sorted(map(key, rows[::SAMPLED]))
    ends = sample[:: PART // SAMPLED]
    parts: list[list[int]] = [[] for _ in range(len(ends) + 1)]
    for row in rows:
        parts[bisect_right(ends, key(row))].append(row)
    if reverse:
        parts.reverse()
    return [row for part in parts for row in sorted(part, key=key, reverse=reverse)]


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
