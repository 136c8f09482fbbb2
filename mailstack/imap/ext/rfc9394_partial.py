"""PARTIAL (RFC 9394): some of a search's results, and some of the messages of a UID FETCH.

As RFC 5267 §4.4 has it, and from the end as well."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mailstack.errors import BadSyntax
from mailstack.imap.core.search import Result, ResultPart, numbered
from mailstack.imap.registry import Capability, Feature, FetchModifier, FetchRequest, Modifiers
from mailstack.imap.wire import encode
from mailstack.imap.wire.cursor import Cursor, sp

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

_RANGE = re.compile(rb"(-?)([1-9]\d{0,9}):(-?)([1-9]\d{0,9})")


@dataclass(frozen=True, slots=True)
class Partial(ResultPart):
    """Results `low` to `high`, counted from 1, or with `last` from the end. `octets` are the range as it was given."""

    octets: bytes
    low: int
    high: int
    last: bool

    def of(self, uids: Sequence[int]) -> Sequence[int]:
        if not self.last:
            return uids[self.low - 1 : self.high]
        count = len(uids)
        return uids[max(count - self.high, 0) : max(count - self.low + 1, 0)]


def partial_range(cur: Cursor) -> Partial:
    # modifier-partial = "PARTIAL" SP partial-range
    # partial-range = nz-number ":" nz-number / MINUS nz-number ":" MINUS nz-number
    sp(cur)
    start = cur.position
    found = cur.match(_RANGE, "a range as 1:100 or -1:-100")
    if found[1] != found[3]:
        raise cur.expected("a range with both ends counted from the same side", start)
    one, other = int(found[2]), int(found[4])
    return Partial(found[0], min(one, other), max(one, other), bool(found[1]))


def partial_data(session: ImapSession, result: Result) -> bytes:
    # ret-data-partial = "PARTIAL" SP "(" partial-range SP ( sequence-set / "NIL" ) ")"
    wanted = (result.returns or {}).get(b"PARTIAL")
    if not isinstance(wanted, Partial):
        return b""
    numbers = wanted.of(numbered(session, result))
    return b"PARTIAL (%b %b)" % (wanted.octets, encode.ordered_set(numbers) or b"NIL")


async def fetch_some(session: ImapSession, asked: FetchRequest, modifiers: Modifiers) -> FetchRequest:
    """RFC 9394 §3.3: before what other modifiers choose."""
    if not asked.by_uid:
        raise BadSyntax("UID FETCH, for the modifier PARTIAL")
    wanted: Partial = modifiers[b"PARTIAL"]
    return replace(asked, uids=wanted.of(asked.uids))


FEATURE = Feature(
    capabilities=(Capability("PARTIAL"),),
    search_returns={b"PARTIAL": partial_range},
    search_data=(partial_data,),
    fetch_modifiers=(FetchModifier(b"PARTIAL", partial_range, fetch_some),),
)
