"""The active comparator (RFC 5255 §4.2): by what a session's SEARCH, SORT and THREAD compare text."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mailstack.imap.search_content import Content
from mailstack.imap.search_keys import ContentKey, Message
from mailstack.imap.wire.values import And, BodyHas, Criteria, HeaderHas, SearchKey, SortKey, TextHas
from mailstack.mail.collation import COLLATIONS, DEFAULT, Collation

_DECIDED_OTHERWISE = frozenset({SortKey.ARRIVAL, SortKey.DATE, SortKey.SIZE})


@dataclass(frozen=True, slots=True)
class Collated(ContentKey):
    """A key that looks for text, by another collation than the default one."""

    key: HeaderHas | BodyHas | TextHas
    collation: str

    def matches(self, message: Message) -> bool:
        return Content(message.octets, COLLATIONS[self.collation].map).verdict(self.key) is True


@dataclass(frozen=True, slots=True)
class Comparator:
    """A collation, and whether what it orders stands the other way round (RFC 4790 §3.3)."""

    collation: Collation = DEFAULT
    inverted: bool = False

    @property
    def name(self) -> str:
        # collation-selected = ["+" / "-"] collation-id   ; RFC 4790 §3.3
        return "-" + self.collation.name if self.inverted else self.collation.name

    def criteria(self, asked: Criteria) -> Criteria:
        """Criteria that order text so."""
        return tuple(
            each if each.key in _DECIDED_OTHERWISE
            else replace(each, reverse=each.reverse is not self.inverted, collation=self.collation.name)
            for each in asked
        )  # fmt: skip

    def key(self, key: SearchKey) -> SearchKey:
        """A key, which is not made of others, that finds text so."""
        if self.collation is DEFAULT or not isinstance(key, HeaderHas | BodyHas | TextHas):
            return key
        found = Collated(key, self.collation.name)
        # What is the same in every octet, or but for the case of US-ASCII, is so for the default collation as well;
        # of this the store knows much. Marks may stand in another order there: text that has any is looked for alone.
        return And((key, found)) if key.text.isascii() else found
