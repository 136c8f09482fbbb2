"""I18NLEVEL=2 (RFC 5255 §4.4): SEARCH, SORT and THREAD compare text as i;unicode-casemap does, in US-ASCII and UTF-8,
or as the client asks for by COMPARATOR. `imap/comparator.py` has what comes of it.

The default comparator takes some texts for the same that i;unicode-casemap does not (`search_content.fold`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.comparator import Comparator
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.wire.cursor import Cursor, astring, sp
from mailstack.mail.collation import COLLATIONS, DEFAULT

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

MAX_ORDERS = 50
"""Comparators that one command asks for; ours."""
MAX_ORDER = 254
"""Octets of one, without its sign (RFC 4790 §3.2)."""
# collation-order = ["+" / "-"] collation-wild ; collation-wild = ("*" / (ALPHA ["*"])) *(collation-char ["*"])
_ORDER = re.compile(rb"[+-]?(?:\*|[A-Za-z]\*?)(?:[A-Za-z0-9;=.-]\*?)*")


def orders(cur: Cursor) -> tuple[str, ...]:
    # comparator-cmd = "COMPARATOR" *(SP comp-order-quoted)
    found: list[str] = []
    while not cur.at_end:
        if found:
            sp(cur)
        start = cur.position
        order = _order(cur)
        if not _ORDER.fullmatch(order) or len(order.lstrip(b"+-")) > MAX_ORDER:
            raise cur.expected('a collation as "i;octet" or "i;*"', start)
        found.append(order.decode("ascii"))
        if len(found) > MAX_ORDERS:
            raise cur.expected(f"at most {MAX_ORDERS} collations", start)
    return tuple(found)


def _order(cur: Cursor) -> bytes:
    # comp-order-quoted = astring ; "*" is no ASTRING-CHAR, but clients that mean it may say it so
    found = _ORDER.match(cur.octets, cur.position)
    if found is not None and cur.octets[found.end() : found.end() + 1] in (b"", b" "):
        cur.position = found.end()
        return found[0]
    return astring(cur)


def matching(asked: tuple[str, ...]) -> Iterator[Comparator]:
    """What is asked for and is there: of the first argument first, the widely useful first."""
    for order in asked:
        wild = order.lstrip("+-").lower()
        pattern = re.compile(".*".join(map(re.escape, wild.split("*"))))
        for name, collation in COLLATIONS.items():
            if pattern.fullmatch(name) or (wild == "default" and collation is DEFAULT):
                yield Comparator(collation, order.startswith("-"))


async def comparator(session: ImapSession, asked: tuple[str, ...]) -> Reply:
    names: dict[str, None] = {}
    if asked:
        found = list(matching(asked))
        if not found:
            return replies.no("no such comparator", "BADCOMPARATOR")
        session.comparator = found[0]
        names = dict.fromkeys(each.collation.name for each in found)
    # comparator-data = "COMPARATOR" SP comp-sel-quoted [SP "(" comp-id-quoted *(SP comp-id-quoted) ")"]
    others = f" ({' '.join(names)})" if len(names) > 1 else ""
    session.say(f"* COMPARATOR {session.comparator.name}{others}\r\n".encode())
    return replies.ok("COMPARATOR completed")


FEATURE = Feature(
    commands=(command(b"COMPARATOR", AUTHENTICATED, orders, comparator),),
    capabilities=(Capability("I18NLEVEL=2"),),
)
