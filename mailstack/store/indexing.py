"""Filling accounts' indexes ahead of the first client: without a reactor, everything in the caller's thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailstack.ports import AccountName, Change, Log, Octets
from mailstack.store.api import Store
from mailstack.store.mailbox import WORTH_KEEPING
from mailstack.store.workers import InlineWorkers

AT_ONCE = 50
"""Messages that are read between two reports."""

Deriver = tuple[str, Callable[[Octets], bytes]]
"""A name, and what makes of a message what is kept under it: the arguments of `Mailbox.derive`."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """One mailbox. `derived`: messages of which something is kept now."""

    mailbox: str
    messages: int
    derived: int


class _Reader:
    """Has a mailbox open, and needs no news of it."""

    def changed(self, change: Change) -> None:
        """Nothing to do."""


async def build(
    data: Path,
    name: str,
    log: Log,
    derivers: Sequence[Deriver],
    progress: Callable[[str, int], None],
    tell: Callable[[Indexed], None],
) -> None:
    """Open every mailbox of an account, measure its messages, derive what is to be derived, and keep all of it
    in the index. New mail is taken in, as a client's opening does. Raises: Refused."""
    store = Store(data, InlineWorkers(), log)
    try:
        account = await store.account(AccountName(name))
        for entry in await account.mailboxes():
            if entry.selectable:
                reader = _Reader()
                mailbox = await account.open(entry.name, reader)
                uids = list(mailbox.uids)
                await mailbox.measure(uids)
                wanted = uids if derivers and len(uids) >= WORTH_KEEPING else []
                for start in range(0, len(wanted), AT_ONCE):
                    await mailbox.derive_each(wanted[start : start + AT_ONCE], derivers)
                    progress(f"{name} {entry.name}", start)
                mailbox.close(reader)
                tell(Indexed(entry.name, len(uids), len(wanted)))
    finally:
        await store.close()
