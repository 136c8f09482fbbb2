"""Messages of an open mailbox in the order of sort criteria, and what they are compared by.

The order of a whole mailbox is remembered: a message's place in it does not change. New messages are put where they
belong by halving, and expunged ones are passed over until there are many."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mailstack.imap.sort_keys import (
    CC,
    DISPLAY_FROM,
    DISPLAY_TO,
    EMPTY,
    FROM,
    NO_DATE,
    SUBJECT,
    TO,
    date_of,
    item,
    record,
    text_of,
)  # fmt: skip
from mailstack.imap.sorting import Column, Values, compare, missing_from, order, ordered_subset
from mailstack.imap.wire.values import Criteria, SortKey
from mailstack.mail.collation import DEFAULT
from mailstack.ports import Mailbox

if TYPE_CHECKING:
    from mailstack.imap.memory import Memory
    from mailstack.imap.session import ImapSession

RECORDS_AT_ONCE = 512
"""Messages whose records are made, or found in the index, in one visit to a worker."""
FEW = 4
"""The part of a mailbox below which, as "one in", a search's result is sorted by itself."""
MAX_INSERTED = 256
"""New messages that are put into a remembered order; with more it is made anew."""

_TEXTS = {
    SortKey.CC: CC, SortKey.DISPLAYFROM: DISPLAY_FROM, SortKey.DISPLAYTO: DISPLAY_TO, SortKey.FROM: FROM,
    SortKey.SUBJECT: SUBJECT, SortKey.TO: TO,
}  # fmt: skip


@dataclass(slots=True)
class Known:
    """A remembered order. `uids` ascend, and are those of `ordered`."""

    uids: array[int]
    ordered: array[int]


def memory_key(session: ImapSession, *what: object) -> tuple[object, ...]:
    """The key of what is remembered of the selected mailbox."""
    mailbox = session.view.mailbox
    return session.account, mailbox.mailbox_id, mailbox.uid_validity, *what


async def in_order(session: ImapSession, found: Sequence[int], criteria: Criteria) -> Sequence[int]:
    """Messages (UIDs ascending) in the order of the criteria."""
    mailbox, key = session.view.mailbox, memory_key(session, criteria)
    if len(found) < 2:
        return found
    orders = Orders(mailbox, criteria, session.resources.memory, key)
    if not orders.remembered and len(found) * FEW < len(mailbox.uids):
        return await orders.sort(found)
    return orders.pick(await orders.current(), found)


class Orders:
    """One order of one mailbox."""

    def __init__(self, mailbox: Mailbox, criteria: Criteria, memory: Memory, key: tuple[object, ...]) -> None:
        self._mailbox = mailbox
        self._criteria = criteria
        self._memory = memory
        self._key = key

    @property
    def remembered(self) -> bool:
        return self._memory.get(self._key) is not None

    async def sort(self, uids: Sequence[int]) -> list[int]:
        """These messages (UIDs ascending) in order."""
        columns = await columns_of(self._mailbox, uids, self._criteria)
        rows = await self._mailbox.compute(partial(order, columns, self._criteria))
        return [uids[row] for row in rows]

    async def current(self) -> Known:
        """The order of the whole mailbox, with some more of messages that are gone, perhaps."""
        known: Known | None = self._memory.get(self._key)
        now = array("I", self._mailbox.uids)
        if known is not None:
            new = missing_from(known.uids, now)
            if not new and len(known.uids) <= 2 * len(now):
                return known
            ordered = await self._inserted(known, new, now) if len(new) <= MAX_INSERTED else None
        else:
            ordered = None
        if ordered is None:
            ordered = await self.sort(now)
        made = Known(now, array("I", ordered))
        self._memory.put(self._key, made, 8 * len(now))
        return made

    def pick(self, known: Known, found: Sequence[int]) -> Sequence[int]:
        """Those that were found, in order."""
        if len(found) == len(known.uids) and array("I", found) == known.uids:
            return known.ordered
        return ordered_subset(known.ordered, found)

    async def _inserted(self, known: Known, new: list[int], now: array[int]) -> list[int] | None:
        """The remembered order with new messages where they belong; None if one to compare with is gone."""
        kept = frozenset(now)
        ordered = [uid for uid in known.ordered if uid in kept]
        places = await self._places(ordered, new)
        if places is None:
            return None
        mutual = {uid: rank for rank, uid in enumerate(await self.sort(new))}
        made: list[int] = []
        done = 0
        for place, _, uid in sorted((place, mutual[uid], uid) for place, uid in zip(places, new, strict=True)):
            made += ordered[done:place]
            made.append(uid)
            done = place
        return made + ordered[done:]

    async def _places(self, ordered: Sequence[int], new: Sequence[int]) -> list[int] | None:
        """Where in `ordered` each new message belongs. All of them are halved at the same time, so that there are few
        visits to a worker."""
        values = await self._values(new)
        low, high = [0] * len(new), [len(ordered)] * len(new)
        while open_rows := [row for row in range(len(new)) if low[row] < high[row]]:
            middle = {row: ordered[(low[row] + high[row]) // 2] for row in open_rows}
            probed = sorted({*middle.values()})
            others = await self._values(probed)
            if len(self._mailbox.columns(probed).uids) != len(probed):
                return None
            for row, uid in middle.items():
                sign = compare(values[new[row]], others[uid], self._criteria) or new[row] - uid
                if sign < 0:
                    high[row] = (low[row] + high[row]) // 2
                else:
                    low[row] = (low[row] + high[row]) // 2 + 1
        return low

    async def _values(self, uids: Sequence[int]) -> dict[int, Values]:
        columns = await columns_of(self._mailbox, uids, self._criteria)
        return dict(zip(uids, zip(*columns, strict=True), strict=True))


# --- what is compared -----------------------------------------------------------------------


async def columns_of(mailbox: Mailbox, uids: Sequence[int], criteria: Criteria) -> list[Column]:
    """What each criterion compares of these messages (UIDs ascending); of one that is gone, nothing in particular."""
    columns: dict[SortKey, list[Any]] = {criterion.key: [] for criterion in criteria}
    made_from = [(columns[key], _maker(key)) for key in columns if key not in (SortKey.ARRIVAL, SortKey.SIZE)]
    if made_from:
        async for made in records(mailbox, uids, _collation(criteria)):
            for column, maker in made_from:
                column.extend(map(maker, made))
    if SortKey.DATE in columns:
        await fill_dates(mailbox, uids, columns[SortKey.DATE])
    if SortKey.ARRIVAL in columns:
        columns[SortKey.ARRIVAL] += await internal_dates(mailbox, uids)
    if SortKey.SIZE in columns:
        await mailbox.measure(uids, dates=False)
        found = mailbox.columns(uids)
        columns[SortKey.SIZE] += _aligned(uids, found.uids, found.sizes)
    return [columns[criterion.key] for criterion in criteria]


def _collation(criteria: Criteria) -> str:
    """By which texts are compared: one for all criteria that have any."""
    return next((criterion.collation for criterion in criteria if criterion.key in _TEXTS), DEFAULT.name)


def _maker(key: SortKey) -> Callable[[bytes], int | bytes]:
    return date_of if key is SortKey.DATE else partial(text_of, number=_TEXTS[key])


async def records(mailbox: Mailbox, uids: Sequence[int], collation: str) -> AsyncIterator[list[bytes]]:
    """The records of these messages (UIDs ascending), some at a time; `EMPTY` for one that is gone."""
    name, make = item(collation), partial(record, collation=collation)
    for start in range(0, len(uids), RECORDS_AT_ONCE):
        made = await mailbox.derive(uids[start : start + RECORDS_AT_ONCE], name, make)
        yield [EMPTY if value is None else value for value in made]


async def fill_dates(mailbox: Mailbox, uids: Sequence[int], dates: list[int]) -> None:
    """Where there is no sent date, the internal date counts (RFC 5256 §2.2)."""
    rows = [row for row, date in enumerate(dates) if date == NO_DATE]
    if rows:
        for row, date in zip(rows, await internal_dates(mailbox, [uids[row] for row in rows]), strict=True):
            dates[row] = date


async def internal_dates(mailbox: Mailbox, uids: Sequence[int]) -> Sequence[int]:
    """Internal dates of these messages (UIDs ascending), in seconds since the epoch; 0 for one that is gone."""
    await mailbox.measure(uids)
    found = mailbox.columns(uids)
    return _aligned(uids, found.uids, found.dates)


def _aligned(uids: Sequence[int], known: Sequence[int], values: Sequence[int]) -> Sequence[int]:
    if len(known) == len(uids):
        return values
    by_uid = dict(zip(known, values, strict=True))
    return [by_uid.get(uid, 0) for uid in uids]
