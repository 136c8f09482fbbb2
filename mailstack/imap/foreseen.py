"""What clients ask for of the messages of a mailbox that they have opened: what FETCH shows of each in a list, and what
SEARCH, SORT and THREAD compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from mailstack.imap import sort_keys, summary
from mailstack.imap.fetch_kept import kept
from mailstack.imap.wire.values import FetchAtt
from mailstack.ports import Octets


@cache
def foreseen(*, utf8: bool) -> Mapping[str, Callable[[Octets], bytes]]:
    """What makes it, by the name under which it is kept (`ports.Mailbox.foresee`)."""
    shown = kept((FetchAtt.ENVELOPE, FetchAtt.BODYSTRUCTURE), utf8=utf8)
    return {summary.ITEM: summary.summarize, sort_keys.ITEM: sort_keys.record, **dict(shown)}
