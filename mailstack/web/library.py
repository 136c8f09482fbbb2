"""Messages found and read for the API, in the store's workers. What headers say is remembered, within bounds."""

from __future__ import annotations

import heapq
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from mailstack.mail.lines import with_crlf
from mailstack.ports import AccountName
from mailstack.store.account_directory import accounts
from mailstack.store.api import Store
from mailstack.store.maildir import listing
from mailstack.store.maildir.listing import Listed
from mailstack.store.spool import refusal
from mailstack.web.content import Content, Summary, summary
from mailstack.web.filters import Filter

T = TypeVar("T")

MAX_SUMMARIES = 10_000
"""Headers that are remembered, about 1 kB each."""
MAX_HOMES = 50_000
"""Ids of which the account is remembered."""
LARGE = 64 * 1024
"""Octets of a message from which on it is taken apart in a worker: a fraction of a millisecond."""
BEGINNING = 64 * 1024
"""Octets of a file that are read for its header; more if it is longer."""


@dataclass(frozen=True, slots=True)
class Found:
    """A message and what its header says."""

    account: AccountName
    listed: Listed
    summary: Summary


@dataclass(frozen=True, slots=True)
class Read:
    """A message with all of it."""

    found: Found
    content: Content


class Library:
    """All accounts' messages as they are on disk now. Coroutines raise Refused."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._summaries: OrderedDict[str, Summary] = OrderedDict()
        self._homes: OrderedDict[str, AccountName] = OrderedDict()
        self._lock = threading.Lock()

    async def search(self, wanted: Filter, most: int) -> tuple[list[Found], bool]:
        """The newest first, and whether there are more than so many."""
        return await self._run(partial(self._search, wanted, most))

    async def look(self, account: AccountName, wanted: Sequence[Filter], message: Listed) -> list[Found | None]:
        """One message, for each filter that it matches."""
        return await self._run(partial(self._look, account, wanted, message))

    async def find(self, message_id: str) -> Found | None:
        """By the API's id."""
        return await self._run(partial(self._find, message_id))

    async def read(self, message_id: str) -> Read | None:
        """The same with its content."""
        return await self._run(partial(self._read, message_id))

    async def read_all(self, found: Iterable[Found]) -> list[Read]:
        """Those that are still there."""
        return await self._run(lambda: [read for each in found if (read := self._content(each)) is not None])

    async def made(self, read: Read, fn: Callable[[], T]) -> T:
        """What the pure `fn` makes of a message; of a large one where it keeps nobody waiting."""
        return await self._run(fn) if len(read.content.octets) > LARGE else fn()

    async def counted(self, account: AccountName | None) -> list[tuple[AccountName, str, int, int]]:
        """Account, mailbox, messages and unseen ones, of all mailboxes."""

        def work() -> list[tuple[AccountName, str, int, int]]:
            return [
                (name, *row) for name in self._accounts(account) for row in listing.counted(self._store.path_of(name))
            ]

        return await self._run(work)

    async def accounts(self) -> list[AccountName]:
        """Those that are there."""
        return await self._run(partial(self._accounts, None))

    def chosen(self, wanted: Filter, account: AccountName, messages: list[Listed]) -> list[Listed]:
        """Those of an account's messages that are meant. In a worker."""
        return [each for each in messages if wanted.may_be(account, each) and self._matches(wanted, account, each)]

    # --- in a worker

    def _accounts(self, account: AccountName | None) -> list[AccountName]:
        return accounts(self._store.mail_path) if account is None else [account]

    def _search(self, wanted: Filter, most: int) -> tuple[list[Found], bool]:
        candidates = [
            (each.order, account, each)
            for account in self._accounts(wanted.account)
            for each in listing.listed(self._store.path_of(account), wanted.mailbox)
            if wanted.may_be(account, each)
        ]
        if wanted.reads or len(candidates) < 2 * most:
            candidates.sort(reverse=True)
        else:
            candidates = heapq.nlargest(most + 1, candidates)
        found: list[Found] = []
        for _, account, each in candidates:
            match = self._matches(wanted, account, each)
            if match is not None:
                if len(found) == most:
                    return found, True
                found.append(match)
        return found, False

    def _look(self, account: AccountName, wanted: Sequence[Filter], message: Listed) -> list[Found | None]:
        return [self._matches(each, account, message) for each in wanted]

    def _matches(self, wanted: Filter, account: AccountName, message: Listed) -> Found | None:
        said = self._summary(account, message)
        if said is None:
            return None

        def texts() -> tuple[str, str]:
            octets = self._octets(account, message)
            return ("", "") if octets is None else Content.of(octets).texts()

        return Found(account, message, said) if wanted.matches(said, texts) else None

    def _summary(self, account: AccountName, message: Listed) -> Summary | None:
        known = self._summaries.get(message.id)
        if known is None:
            octets = self._octets(account, message, BEGINNING)
            if octets is None:
                return None
            if len(octets) >= BEGINNING and b"\r\n\r\n" not in octets:
                octets = self._octets(account, message) or octets
            known = summary(octets)
            with self._lock:
                _remember(self._summaries, message.id, known, MAX_SUMMARIES)
                _remember(self._homes, message.id, account, MAX_HOMES)
        return known

    def _octets(self, account: AccountName, message: Listed, most: int = -1) -> bytes | None:
        """None if it has gone. One that was renamed since is looked for."""
        octets = listing.read(message, most)
        if octets is None:
            again = self._again(account, message.id)
            octets = None if again is None else listing.read(again, most)
        return octets if octets is None or message.has_crlf else with_crlf(octets)

    def _again(self, account: AccountName, message_id: str) -> Listed | None:
        return next((each for each in listing.listed(self._store.path_of(account)) if each.id == message_id), None)

    def _find(self, message_id: str) -> Found | None:
        home = self._homes.get(message_id)
        places = ([home] if home is not None else []) + [name for name in self._accounts(None) if name != home]
        for account in places:
            message = self._again(account, message_id)
            if message is not None:
                said = self._summary(account, message)
                return None if said is None else Found(account, message, said)
        return None

    def _read(self, message_id: str) -> Read | None:
        found = self._find(message_id)
        return None if found is None else self._content(found)

    def _content(self, found: Found) -> Read | None:
        octets = self._octets(found.account, found.listed)
        return None if octets is None else Read(found, Content.of(octets))

    async def _run(self, fn: Callable[[], T]) -> T:
        try:
            return await self._store.workers.run(fn)
        except OSError as error:
            raise refusal(error) from error


def _remember(among: OrderedDict[str, T], key: str, value: T, most: int) -> None:
    among[key] = value
    if len(among) > most:
        among.popitem(last=False)
