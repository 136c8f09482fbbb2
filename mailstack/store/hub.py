"""Which mailboxes are open in this process, and which were a moment ago."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mailstack.ports import AccountName

if TYPE_CHECKING:
    from mailstack.store.mailbox import OpenMailbox

MAX_REMEMBERED = 64
"""Closed mailboxes that are kept, so that the next SELECT need not read them anew."""
MAX_REMEMBERED_MESSAGES = 500_000
"""Messages in all remembered mailboxes but the last, about 110 octets of memory each."""

Key = tuple[AccountName, str]


class Hub:
    """All of it in the reactor's thread."""

    def __init__(self, dropped: Callable[[OpenMailbox], None]) -> None:
        self.dropped = dropped
        """Called with a mailbox that is not remembered any more."""
        self._open: dict[Key, OpenMailbox] = {}
        self._remembered: OrderedDict[Key, OpenMailbox] = OrderedDict()

    def find(self, account: AccountName, name: str) -> OpenMailbox | None:
        """The mailbox, if it is open or remembered."""
        key = (account, name)
        return self._open.get(key) or self._remembered.get(key)

    def watched(self, account: AccountName, name: str) -> OpenMailbox | None:
        """The mailbox, if some session has it open."""
        return self._open.get((account, name))

    def opened(self, account: AccountName, mailbox: OpenMailbox) -> None:
        """A session has it open now."""
        key = (account, mailbox.name)
        self._remembered.pop(key, None)
        self._open[key] = mailbox

    def closed(self, account: AccountName, mailbox: OpenMailbox) -> None:
        """No session has it open any more."""
        key = (account, mailbox.name)
        if self._open.get(key) is mailbox:
            del self._open[key]
            if mailbox.gone:
                mailbox.forget()
            else:
                self.remember(account, mailbox)

    def remember(self, account: AccountName, mailbox: OpenMailbox) -> None:
        """Keep it for a while, though nobody has it open."""
        key = (account, mailbox.name)
        self._remembered[key] = mailbox
        self._remembered.move_to_end(key)
        while len(self._remembered) > 1 and self._too_much():
            self.dropped(self._remembered.popitem(last=False)[1])

    def drop(self, account: AccountName, name: str) -> OpenMailbox | None:
        """The name means something else from now on; returns what was open under it."""
        key = (account, name)
        remembered = self._remembered.pop(key, None)
        opened = self._open.pop(key, None)
        for mailbox in (remembered, opened):
            if mailbox is not None:
                mailbox.forget()
        return opened

    def all(self) -> Iterator[OpenMailbox]:
        """Every mailbox that is open or remembered."""
        return iter([*self._open.values(), *self._remembered.values()])

    def _too_much(self) -> bool:
        if len(self._remembered) > MAX_REMEMBERED:
            return True
        return sum(len(mailbox.uids) for mailbox in self._remembered.values()) > MAX_REMEMBERED_MESSAGES
