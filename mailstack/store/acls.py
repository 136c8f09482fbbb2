"""Access control lists of all accounts' mailboxes, and who shares something with whom: implements `sharing.Acls`.

Which accounts share something with a user is in `shared-mailboxes` in the data directory, so that nobody looks through
all accounts for that: Dovecot's `acl_shared_dict = file:…`, in the form of `dovecot-attributes`, with keys

    shared/shared-boxes/user/<who may>/<owner>
    shared/shared-boxes/anyone/<owner>
    shared/shared-boxes/group/<group>/<owner>

It can be made again of the `dovecot-acl` files (`gather`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from mailstack.acl import ANYONE, AUTHENTICATED, GROUP, Acl, Entry, Rights, effective
from mailstack.errors import Problem, Refused
from mailstack.ports import AccountName
from mailstack.store.api import Store
from mailstack.store.maildir import acl_file, layout
from mailstack.store.maildir.attributes import AttributeFile, Entries
from mailstack.store.maildir.locks import dotlock
from mailstack.store.spool import refusal

T = TypeVar("T")

FILE = "shared-mailboxes"
MAX_ENTRIES = 1000
"""Entries of one mailbox's list."""
_START = "shared/shared-boxes/"


class StoredAcls:
    """Those of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._file = AttributeFile(store.mail_path.parent / FILE)
        self._known: tuple[Mapping[bytes, bytes], dict[str, list[AccountName]]] = ({}, {})
        """The file, and what it comes to: kind and identifier → owners."""

    async def owners(self, user: AccountName) -> Sequence[AccountName]:
        return await self._run(partial(self._owners, user))

    def _owners(self, user: AccountName) -> list[AccountName]:
        read = self._file.read()
        known, sharing = self._known
        if read is not known:
            sharing = _by_identifier(read)
            self._known = read, sharing
        return sorted({*sharing.get(f"user/{user}", ()), *sharing.get("anyone", ())} - {user})

    async def acl(self, owner: AccountName, mailbox: str) -> Acl:
        return await self._run(partial(self._acl, owner, mailbox))

    def _acl(self, owner: AccountName, mailbox: str) -> Acl:
        return acl_file.read(self._folder(owner, mailbox))[0]

    async def visible(self, owner: AccountName, user: AccountName) -> Mapping[str, Rights]:
        return await self._run(partial(self._visible, owner, user))

    def _visible(self, owner: AccountName, user: AccountName) -> dict[str, Rights]:
        found: dict[str, Rights] = {}
        for name, acl in self._lists(owner):
            if rights := effective(acl, user):
                found[name] = rights
        return found

    async def change(self, owner: AccountName, mailbox: str, change: Callable[[Acl], Acl]) -> None:
        account = await self._store.account(owner)
        await account.in_lane(partial(self._change, owner, mailbox, change))

    def _change(self, owner: AccountName, mailbox: str, change: Callable[[Acl], Acl]) -> None:
        folder = self._folder(owner, mailbox)
        with dotlock(folder / acl_file.FILE):
            before, others = acl_file.read(folder)
            after = change(before)
            if len(after) > MAX_ENTRIES:
                raise Refused(Problem.LIMIT, f"more than {MAX_ENTRIES} entries in the list of {mailbox}")
            if after != before:
                acl_file.write(folder, after, others)
        self._gather(owner)

    async def moved(self, owner: AccountName) -> None:
        account = await self._store.account(owner)
        if self._file.path.exists():
            await account.in_lane(partial(self._gather, owner))

    def _gather(self, owner: AccountName) -> None:
        gather(self._file, owner, self._store.path_of(owner))

    def _lists(self, owner: AccountName) -> list[tuple[str, Acl]]:
        return lists(self._store.path_of(owner))

    def _folder(self, owner: AccountName, mailbox: str) -> Path:
        place = layout.folder(self._store.path_of(owner), mailbox)
        if not place.exists:
            raise Refused(Problem.NO_SUCH_MAILBOX, mailbox)
        return place.path

    async def _run(self, fn: Callable[[], T]) -> T:
        try:
            return await self._store.workers.run(fn)
        except OSError as error:
            raise refusal(error) from error


def gather(file: AttributeFile, owner: AccountName, account: Path) -> None:
    """Bring what `owner`, whose directory is `account`, shares up to date in the file. Raises: OSError, Refused."""
    end = f"/{owner}".encode()
    wanted = {_key(entry, owner) for _, acl in lists(account) for entry in acl if _gives(entry, owner)}
    (account / acl_file.LISTING).unlink(missing_ok=True)

    def update(entries: Entries) -> None:
        for key in [key for key in entries if key.endswith(end) and key not in wanted]:
            del entries[key]
        entries.update(dict.fromkeys(wanted, b"1"))

    if wanted or any(key.endswith(end) for key in file.read()):
        file.change(update)


def lists(account: Path) -> list[tuple[str, Acl]]:
    """The mailboxes of an account's directory that have a list. Raises: OSError."""
    if not account.is_dir():
        return []
    return [(place.name, acl) for place in layout.folders(account) if (acl := acl_file.read(place.path)[0])]


def _gives(entry: Entry, owner: AccountName) -> bool:
    return bool(entry.rights) and not entry.negative and entry.identifier != owner


def _key(entry: Entry, owner: AccountName) -> bytes:
    name = entry.identifier
    if name in (ANYONE, AUTHENTICATED):
        return f"{_START}anyone/{owner}".encode()
    if name.startswith(GROUP):
        return f"{_START}group/{name.removeprefix(GROUP)}/{owner}".encode()
    return f"{_START}user/{name}/{owner}".encode()


def _by_identifier(entries: Mapping[bytes, bytes]) -> dict[str, list[AccountName]]:
    found: dict[str, list[AccountName]] = {}
    for key in entries:
        kind, _, owner = key.decode("utf-8", "replace").removeprefix(_START).rpartition("/")
        found.setdefault(kind, []).append(AccountName(owner))
    return found
