"""SAVEDATE (RFC 8514): when a message came into the mailbox where it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from mailstack.imap.registry import Capability, Feature, FetchWord
from mailstack.imap.search_keys import SessionKey
from mailstack.imap.wire import encode
from mailstack.imap.wire.cursor import Cursor, date_, sp
from mailstack.imap.wire.values import All, ColumnItem, DateOrder, InUids, SearchKey

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession
    from mailstack.ports import Columns, Mailbox

AT_ONCE = 5000
"""Messages that are looked at before others have their turn."""
_DAY = 86400


async def save_dates(mailbox: Mailbox, found: Columns) -> Iterable[bytes]:
    # msg-att-static =/ "SAVEDATE" SP (date-time / nil)
    dates = map(mailbox.save_date, found.uids)
    return [b"NIL" if when is None else encode.date_time(when) for when in dates]


SAVE_DATE = ColumnItem("SAVEDATE", save_dates)


@dataclass(frozen=True, slots=True)
class SavedDay(SessionKey):
    """SAVEDBEFORE, SAVEDON, SAVEDSINCE; where the save date is not known, the internal date counts (§4.3)."""

    order: DateOrder
    day: date

    async def resolve(self, session: ImapSession) -> SearchKey:
        mailbox, uids = session.view.mailbox, session.view.uids[:]
        begin = int(datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC).timestamp())
        low = begin if self.order is not DateOrder.BEFORE else -(1 << 62)
        high = 1 << 62 if self.order is DateOrder.SINCE else begin if self.order is DateOrder.BEFORE else begin + _DAY
        chosen: list[int] = []
        for start in range(0, len(uids), AT_ONCE):
            piece = uids[start : start + AT_ONCE]
            dates = dict(zip(piece, map(mailbox.save_date, piece), strict=True))
            unknown = [uid for uid, when in dates.items() if when is None]
            await mailbox.measure(unknown)
            found = mailbox.columns(unknown)
            dates.update(zip(found.uids, found.dates, strict=True))
            chosen += [uid for uid, when in dates.items() if when is not None and low <= when < high]
            await session.connection.drain()
        return InUids(tuple(encode.runs(chosen)))


def saved(order: DateOrder) -> Callable[[Cursor], SearchKey]:
    # search-key =/ "SAVEDBEFORE" SP date / "SAVEDON" SP date / "SAVEDSINCE" SP date / "SAVEDATESUPPORTED"
    def rule(cur: Cursor) -> SearchKey:
        sp(cur)
        return SavedDay(order, date_(cur))

    return rule


FEATURE = Feature(
    capabilities=(Capability("SAVEDATE"),),
    fetch_items=(FetchWord(b"SAVEDATE", lambda _: SAVE_DATE),),
    search_keys={
        b"SAVEDBEFORE": saved(DateOrder.BEFORE),
        b"SAVEDON": saved(DateOrder.ON),
        b"SAVEDSINCE": saved(DateOrder.SINCE),
        b"SAVEDATESUPPORTED": lambda _: All(),
    },
)
