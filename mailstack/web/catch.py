"""What comes, as it comes: how each message came, and who waits for one. In the reactor's thread."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from mailstack.arrivals import Arrival
from mailstack.errors import Refused
from mailstack.ports import AccountName
from mailstack.store.api import Store
from mailstack.store.maildir import listing
from mailstack.store.maildir.listing import Listed

if TYPE_CHECKING:  # the catch is there from the start, the others when somebody asks for them
    from mailstack.web.filters import Filter
    from mailstack.web.library import Found, Library

MAX_ARRIVALS = 2000
"""Transactions that are remembered, some kB each."""
MAX_WAITERS = 5000


class Waiter:
    """One who waits until so many messages that he wants are there. `done` fires with True when they are, with False
    when there is nothing more to wait for."""

    def __init__(self, library: Library, wanted: Filter, count: int) -> None:
        self.library = library
        self.wanted = wanted
        self.count = count
        self.found: dict[str, Found] = {}
        self.done: Deferred[bool] = Deferred()

    def take(self, found: Found) -> None:
        """One of those that he wants; the same one may come twice."""
        self.found[found.listed.id] = found
        if len(self.found) >= self.count:
            self.end(True)

    def end(self, enough: bool) -> None:
        """Idempotent."""
        if not self.done.called:
            self.done.callback(enough)


class Catch:
    """Implements `arrivals.Witness`."""

    def __init__(self, store: Store, reactor: Any) -> None:
        self._store = store
        self._reactor = reactor
        self._arrivals: OrderedDict[str, Arrival] = OrderedDict()
        self._waiters: dict[Waiter, None] = {}

    def arrived(self, account: AccountName, mailbox: str, name: str, arrival: Arrival | None) -> None:
        if arrival is not None:
            self._arrivals[listing.id_of(name)] = arrival
            if len(self._arrivals) > MAX_ARRIVALS:
                self._arrivals.popitem(last=False)
        if not self._waiters:
            return
        message = listing.delivered(self._store.path_of(account), mailbox, name)
        asking = [waiter for waiter in self._waiters if waiter.wanted.may_be(account, message)]
        if asking:
            Deferred.fromCoroutine(self._offer(asking, account, message))

    async def _offer(self, asking: list[Waiter], account: AccountName, message: Listed) -> None:
        try:
            answers = await asking[0].library.look(account, [waiter.wanted for waiter in asking], message)
        except Refused as refused:
            self._store.log.warning("message not shown to who waits", account=account, reason=str(refused))
            return
        except Exception:
            self._store.log.failure("message not shown to who waits", account=account)
            return
        for waiter, found in zip(asking, answers, strict=True):
            if found is not None:
                waiter.take(found)

    def arrival(self, message_id: str) -> Arrival | None:
        """How a message came, if that is remembered."""
        return self._arrivals.get(message_id)

    def messages_of(self, transaction: str) -> list[str]:
        """Ids of the copies that a transaction has brought, as far as they are remembered."""
        return [message_id for message_id, arrival in self._arrivals.items() if arrival.id == transaction]

    def forget(self) -> None:
        """All that was remembered."""
        self._arrivals.clear()

    @property
    def is_full(self) -> bool:
        """Whether nobody else can wait."""
        return len(self._waiters) >= MAX_WAITERS

    async def wait(self, waiter: Waiter, timeout: float) -> bool:
        """Whether there was enough in time. What is there already counts."""
        self._waiters[waiter] = None
        timer = self._reactor.callLater(timeout, waiter.end, False)
        try:
            there, _ = await waiter.library.search(waiter.wanted, waiter.count)
            for found in there:
                waiter.take(found)
            return await waiter.done
        finally:
            del self._waiters[waiter]
            if timer.active():
                timer.cancel()

    def close(self) -> None:
        """Nobody need wait any more."""
        for waiter in list(self._waiters):
            waiter.end(False)
