"""Annotations of an account's mailboxes and of the server: implements `ports.Annotations` on files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from mailstack.errors import Problem, Refused
from mailstack.store.maildir import account as account_files
from mailstack.store.maildir import attributes, layout
from mailstack.store.maildir.attributes import SERVER, AttributeFile
from mailstack.store.maildir.layout import INBOX
from mailstack.store.maildir.uidlist import FILE as UIDLIST
from mailstack.store.maildir.uidlist import UidList

if TYPE_CHECKING:
    from mailstack.store.api import StoredAccount

SPECIAL_USE = "/private/specialuse"
"""RFC 6154 §4: the entry that is the mailbox's special use."""
SERVER_ID = "server"
"""In the place of a mailbox id, in the file of what all users share."""


class StoredAnnotations:
    """Those of one account; what is shared by all users of the server is in the store's own file."""

    def __init__(self, account: StoredAccount) -> None:
        self._account = account
        self._own = AttributeFile(account.path / attributes.FILE)

    async def of(self, mailbox: str) -> Mapping[str, bytes]:
        mailbox_id = await self._id(mailbox or INBOX)
        return await self._account.in_lane(partial(self._of, mailbox, mailbox_id))

    def _of(self, mailbox: str, mailbox_id: str) -> dict[str, bytes]:
        found = attributes.of_mailbox(self._own.read(), mailbox_id)
        if not mailbox:
            server = attributes.of_mailbox(self._account.store.attributes.read(), SERVER_ID)
            return {name: value for name, value in server.items() if name.startswith("/shared/")} | _servers(found)
        found = {name: value for name, value in found.items() if SERVER not in name}
        use = account_files.special_uses(self._account.path).get(layout.normalise(mailbox))
        return found if use is None else {**found, SPECIAL_USE: use.encode()}

    async def change(self, mailbox: str, changes: Mapping[str, bytes | None]) -> None:
        mailbox_id = await self._id(mailbox or INBOX)
        if not mailbox:
            await self._account.in_lane(partial(self._change_server, mailbox_id, dict(changes)))
        else:
            await self._account.in_lane(partial(self._change, mailbox, mailbox_id, dict(changes)))

    def _change(self, mailbox: str, mailbox_id: str, changes: dict[str, bytes | None]) -> None:
        special_use = SPECIAL_USE in changes
        use = changes.pop(SPECIAL_USE, None)
        self._own.change(partial(attributes.set_entries, mailbox_id=mailbox_id, changes=changes))
        if special_use:
            account_files.set_special_use(
                self._account.path, layout.normalise(mailbox), use.decode("ascii") if use else ""
            )

    def _change_server(self, inbox_id: str, changes: dict[str, bytes | None]) -> None:
        shared = {name: value for name, value in changes.items() if name.startswith("/shared/")}
        private = {name: value for name, value in changes.items() if name not in shared}
        if private and shared:
            raise Refused(Problem.CANNOT, "private and shared entries of the server in one command")
        if shared:
            self._account.store.attributes.change(partial(attributes.set_entries, mailbox_id=SERVER_ID, changes=shared))
        else:
            self._own.change(partial(attributes.set_entries, mailbox_id=inbox_id, changes=private, prefix=SERVER))

    async def of_another(self, mailbox_id: str) -> Mapping[str, bytes]:
        return await self._account.in_lane(lambda: attributes.of_mailbox(self._own.read(), mailbox_id))

    async def change_another(self, mailbox_id: str, changes: Mapping[str, bytes | None]) -> None:
        change = partial(attributes.set_entries, mailbox_id=mailbox_id, changes=changes)
        await self._account.in_lane(partial(self._own.change, change))

    async def copy_from_inbox(self, new: str) -> None:
        """INBOX was renamed: its annotations are the new mailbox's, too (RFC 5464 §4.1)."""
        entries = {name: value for name, value in (await self.of(INBOX)).items() if name != SPECIAL_USE}
        if entries:
            await self.change(new, entries)

    def dropped(self, mailbox_id: str) -> None:
        """In the lane: the mailbox is deleted."""
        if attributes.of_mailbox(self._own.read(), mailbox_id):
            self._own.change(partial(attributes.drop_mailbox, mailbox_id=mailbox_id))

    async def _id(self, mailbox: str) -> str:
        """The mailbox's id, without opening it where that can be. Raises: Refused(NO_SUCH_MAILBOX)."""
        peeked = await self._account.run(partial(self.peek, mailbox))
        return peeked or await self._account.mailbox_id(mailbox)

    def peek(self, mailbox: str) -> str:
        """The id in the uidlist; "" if there is none. Raises: Refused(NO_SUCH_MAILBOX), OSError."""
        place = layout.folder(self._account.path, mailbox)
        if not place.exists:
            if place.name == INBOX:
                return ""
            raise Refused(Problem.NO_SUCH_MAILBOX, mailbox)
        found = UidList(place.path / UIDLIST).peek()
        return found[0] if found else ""


def _servers(found: Mapping[str, bytes]) -> dict[str, bytes]:
    """The server's entries among those of INBOX, under their own names."""
    return {
        name.replace(SERVER, "", 1): value for name, value in found.items() if name.startswith(f"/private/{SERVER}")
    }
