"""FILTERS (RFC 5466): FILTER, a search criterion that the server's annotations have under a name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailstack.errors import BadSyntax, Refused
from mailstack.imap import replies
from mailstack.imap.core.search import vocabulary
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature
from mailstack.imap.search_keys import SessionKey
from mailstack.imap.wire.cursor import Cursor, end, sp
from mailstack.imap.wire.search_grammar import criteria
from mailstack.imap.wire.values import SearchKey

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

PLACES = ("/private/filters/values/", "/shared/filters/values/")
"""Entries of the server's annotations that have filters; the first counts if both are there."""
# filter-name = 1*<any ATOM-CHAR except "/">  ; and no wildcard, as it is part of an entry's name
_NAME = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]/]+")


@dataclass(frozen=True, slots=True)
class Filter(SessionKey):
    """FILTER: the key that has this name."""

    name: str

    async def resolve(self, session: ImapSession) -> SearchKey:
        known = await session.store.annotations.of("")
        value = next((known[place + self.name.lower()] for place in PLACES if place + self.name.lower() in known), None)
        found = None if value is None else criterion(value)
        if found is None:
            raise self.endless()
        return found

    def endless(self) -> Exception:
        """As if there were none (§3.1)."""
        return replies.Declined(replies.no("there is no such filter", f"UNDEFINED-FILTER {self.name}"))


def criterion(value: bytes) -> SearchKey | None:
    """The key that a value stands for; None if it is not a full and correct one."""
    cur = Cursor(value)
    try:
        found = criteria(cur, vocabulary())
        end(cur)
    except (BadSyntax, Refused):
        return None
    return found


def filter_key(cur: Cursor) -> SearchKey:
    # search-key =/ "FILTER" SP filter-name
    sp(cur)
    return Filter(cur.match(_NAME, "the name of a filter")[0].decode("ascii"))


async def check(session: ImapSession, mailbox: str, values: Mapping[str, bytes | None]) -> None:
    """§3.2: a filter that is set is a full and correct search criterion. Raises: replies.Declined."""
    for entry, value in values.items():
        if not mailbox and value is not None and entry.startswith(PLACES) and criterion(value) is None:
            raise replies.Declined(replies.no(f"{entry}: not a search criterion", "CANNOT"))


FEATURE = Feature(
    capabilities=(Capability("FILTERS", AUTHENTICATED),),
    search_keys={b"FILTER": filter_key},
    annotation_checks=(check,),
)
