"""The APPENDs to one mailbox. Those that come while others are being written wait together, and are written together
when it is their turn: one lock, one record of their UIDs, two syncs for all of them beside those of the files."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from mailstack.errors import Refused
from mailstack.store.maildir import counted
from mailstack.store.maildir.change import Incoming, Placed
from mailstack.store.spool import refusal

if TYPE_CHECKING:
    from mailstack.store.api import StoredAccount
    from mailstack.store.mailbox import OpenMailbox

TOGETHER = 64
"""Commands that are written together at most."""

Command = Sequence[Incoming]


class _Batch:
    """Commands that wait for the lane. They come in the reactor's thread, and are taken in a worker."""

    def __init__(self, first: Command) -> None:
        self._lock = threading.Lock()
        self._commands: list[Command] | None = [first]
        self.others: list[Deferred[list[int]]] = []
        """Who waits for the second command and those behind it."""

    def join(self, command: Command) -> Deferred[list[int]] | None:
        """Wait with the others; None if they have gone, or there is no room."""
        with self._lock:
            if self._commands is None or len(self._commands) >= TOGETHER:
                return None
            self._commands.append(command)
            self.others.append(Deferred())
            return self.others[-1]

    def take(self) -> list[Command]:
        """It begins; nobody joins them any more."""
        with self._lock:
            commands, self._commands = self._commands, None
            return commands or []


class Appends:
    """Used in the reactor's thread."""

    def __init__(self, account: StoredAccount, mailbox: OpenMailbox) -> None:
        self._account = account
        self._mailbox = mailbox
        self._waiting: _Batch | None = None

    async def append(self, command: Command) -> list[int]:
        """Store the messages of one command, all or none; their UIDs. Raises: Refused."""
        joined = self._waiting.join(command) if self._waiting is not None else None
        if joined is not None:
            return await joined
        batch = self._waiting = _Batch(command)
        store, files = self._account.store, self._mailbox.files

        def work() -> list[Placed | OSError | Refused]:
            return counted.append_several(files, batch.take(), store.names)

        try:
            outcomes = await self._account.in_lane(work)
        except BaseException as error:
            batch.take()  # nobody is to wait for what is over
            for waiting in batch.others:
                waiting.errback(error)
            raise
        settled = [self._settled(outcome) for outcome in outcomes]
        for waiting, outcome in zip(batch.others, settled[1:], strict=True):
            if isinstance(outcome, Refused):
                waiting.errback(outcome)
            else:
                waiting.callback(outcome)
        if isinstance(settled[0], Refused):
            raise settled[0]
        return settled[0]

    def _settled(self, outcome: Placed | OSError | Refused) -> list[int] | Refused:
        """Tell the sessions of the mailbox what came."""
        if isinstance(outcome, OSError):
            return refusal(outcome)
        if isinstance(outcome, Refused):
            return outcome
        try:
            if outcome.found or outcome.found.error is not None:
                self._mailbox.take(outcome.found)
        except Refused as refused:
            return refused
        return outcome.uids
