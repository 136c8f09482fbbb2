"""WITHIN (RFC 5032): OLDER and YOUNGER, by internal date and the time of the server."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mailstack.imap.registry import Capability, Feature
from mailstack.imap.search_keys import ColumnKey, Rows
from mailstack.imap.wire.cursor import Cursor, sp

_INTERVAL = re.compile(rb"0*[1-9]\d{0,18}")


@dataclass(frozen=True, slots=True)
class Older(ColumnKey):
    """OLDER: so many seconds ago or before."""

    measures = True
    interval: int

    def decide(self, rows: Rows) -> Iterable[bool]:
        return map((int(rows.now) - self.interval).__ge__, rows.columns.dates)


@dataclass(frozen=True, slots=True)
class Younger(ColumnKey):
    """YOUNGER: so many seconds ago or after."""

    measures = True
    interval: int

    def decide(self, rows: Rows) -> Iterable[bool]:
        return map((int(rows.now) - self.interval).__le__, rows.columns.dates)


def interval(cur: Cursor) -> int:
    # search-key =/ ( "OLDER" / "YOUNGER" ) SP nz-number
    sp(cur)
    return int(cur.match(_INTERVAL, "a number of seconds, at least 1")[0])


FEATURE = Feature(
    capabilities=(Capability("WITHIN"),),
    search_keys={b"OLDER": lambda cur: Older(interval(cur)), b"YOUNGER": lambda cur: Younger(interval(cur))},
)
