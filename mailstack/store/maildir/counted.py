"""Changes of `change`, with the books of the account's quota kept. Used in the account's lane."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from itertools import chain, islice

from mailstack.errors import Problem, Refused
from mailstack.ports import ALL_FLAGS
from mailstack.store.maildir import change
from mailstack.store.maildir.change import Incoming, Placed
from mailstack.store.maildir.differences import Differences
from mailstack.store.maildir.folder import Booking, FolderFiles
from mailstack.store.maildir.maildirsize import file_octets
from mailstack.store.maildir.names import UniqueNames


def append(target: FolderFiles, messages: Sequence[Incoming], unique: UniqueNames) -> Placed:
    """As `change.append`. Raises: Refused(OVER_QUOTA) too."""
    ledger = _ledger(target)
    if ledger is None:
        return change.append(target, messages, unique)
    octets = sum(message.blob.size for message in messages)
    with ledger.booked(octets, len(messages)):
        placed = change.append(target, messages, unique)
    if not placed.uids:
        ledger.add(-octets, -len(messages))
    return placed


def append_several(
    target: FolderFiles, commands: Sequence[Sequence[Incoming]], unique: UniqueNames
) -> list[Placed | OSError | Refused]:
    """As `append` for each of the commands; all of them together if that is possible, and one by one if not, so that
    what keeps one from being stored keeps no other. What is new is told with the first of those that were."""
    if len(commands) > 1:
        with suppress(OSError, Refused):  # which of them that is about is seen below
            return _parted(append(target, list(chain(*commands)), unique), commands)
    outcomes: list[Placed | OSError | Refused] = []
    for command in commands:
        try:
            outcomes.append(append(target, command, unique))
        except (OSError, Refused) as error:
            outcomes.append(error)
    return outcomes


def _parted(placed: Placed, commands: Sequence[Sequence[Incoming]]) -> list[Placed | OSError | Refused]:
    """To each command its own UIDs. An error that came with them is one of the mailbox, and so of all of them."""
    uids, found = iter(placed.uids), placed.found
    parts: list[Placed | OSError | Refused] = []
    for command in commands:
        parts.append(Placed([], list(islice(uids, len(command))), found))
        found = Differences(error=placed.found.error)
    return parts


def replace(
    source: FolderFiles, uid: int, target: FolderFiles, message: Incoming, unique: UniqueNames
) -> tuple[Placed, Differences]:
    """As `change.append` of one message, and then `change.expunge` of another, which need not have room beside it.
    Raises: Refused(NO_SUCH_MESSAGE | OVER_QUOTA) too."""
    sizes = _sizes(source, [uid])
    if not sizes:
        raise Refused(Problem.NO_SUCH_MESSAGE, f"UID {uid} is gone")
    ledger = _ledger(target)
    if ledger is None:
        placed = change.append(target, [message], unique)
    else:
        more = message.blob.size - sizes[uid]
        with ledger.booked(more, 0, enforce=more > 0):
            placed = change.append(target, [message], unique)
        if placed.uids:
            ledger.add(sizes[uid], 1)  # until that is gone, which the books hear of then
        else:
            ledger.add(-more, 0)
    return placed, expunge(source, [uid])


def copy(
    source: FolderFiles, uids: Sequence[int], target: FolderFiles, unique: UniqueNames, *, moving: bool = False,
    keep: int = ALL_FLAGS,
) -> Placed:  # fmt: skip
    """As `change.copy`. Raises: Refused(OVER_QUOTA) too, unless the sources are to go."""
    ledger = _ledger(target)
    if ledger is None:
        return change.copy(source, uids, target, unique, keep)
    sizes = _sizes(source, uids)
    if moving:
        placed = change.copy(source, uids, target, unique, keep)
        ledger.add(*_total(sizes, placed.sources))
        return placed
    octets, count = _total(sizes, sizes)
    with ledger.booked(octets, count):
        placed = change.copy(source, uids, target, unique, keep)
    really, copied = _total(sizes, placed.sources)
    ledger.add(really - octets, copied - count)
    return placed


def expunge(files: FolderFiles, uids: Collection[int]) -> Differences:
    """As `change.expunge`."""
    ledger = _ledger(files)
    if ledger is None:
        return change.expunge(files, uids)
    sizes = _sizes(files, uids)
    done = change.expunge(files, uids)
    octets, count = _total(sizes, done.vanished)
    ledger.add(-octets, -count)
    return done


def _ledger(files: FolderFiles) -> Booking | None:
    return files.ledger if files.ledger is not None and files.ledger.limit else None


def _sizes(files: FolderFiles, uids: Collection[int]) -> dict[int, int]:
    """Octets of the files of these messages by UID, of those that are there."""
    found: dict[int, int] = {}
    for uid in uids:
        path = files.locate(uid)
        if path is not None:
            directory, name = os.path.split(path)
            found[uid] = file_octets(directory, name)
    return found


def _total(sizes: dict[int, int], uids: Collection[int]) -> tuple[int, int]:
    return sum(sizes.get(uid, 0) for uid in uids), len(uids)
