"""Annotations of mailboxes that may be others': what is shared is the owner's, what is private the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mailstack.errors import Problem, Refused

if TYPE_CHECKING:
    from mailstack.store.sharing import Place, SharingAccount

SHARED = "/shared/"
ANNOTATES = frozenset("rswip")
"""With the right "l", one of these is needed (RFC 5464 §3.3)."""
SPECIAL_USE = "/private/specialuse"


class SharedAnnotations:
    """Implements `ports.Annotations`."""

    def __init__(self, account: SharingAccount) -> None:
        self._account = account

    async def of(self, mailbox: str) -> Mapping[str, bytes]:
        place = await self._place(mailbox)
        found = await place.account.annotations.of(place.name)
        if place.own:
            return found
        mailbox_id = (await place.account.status(place.name, size=False)).mailbox_id
        private = await self._account.own.annotations.of_another(mailbox_id)
        return {**{name: value for name, value in found.items() if name.startswith(SHARED)}, **private}

    async def of_another(self, mailbox_id: str) -> Mapping[str, bytes]:
        return await self._account.own.annotations.of_another(mailbox_id)

    async def change(self, mailbox: str, changes: Mapping[str, bytes | None]) -> None:
        place = await self._place(mailbox)
        if place.own:
            await place.account.annotations.change(place.name, changes)
            self._account.annotated(place, changes, private=False)
            return
        shared = {name: value for name, value in changes.items() if name.startswith(SHARED)}
        private = {name: value for name, value in changes.items() if name not in shared}
        if SPECIAL_USE in private or (shared and private):
            raise Refused(Problem.CANNOT, "private and shared entries of another's mailbox in one command")
        if shared:
            await place.account.annotations.change(place.name, shared)
            self._account.annotated(place, shared, private=False)
        else:
            mailbox_id = (await place.account.status(place.name, size=False)).mailbox_id
            await self._account.own.annotations.change_another(mailbox_id, private)
            self._account.annotated(place, private, private=True)

    async def change_another(self, mailbox_id: str, changes: Mapping[str, bytes | None]) -> None:
        await self._account.own.annotations.change_another(mailbox_id, changes)

    async def _place(self, mailbox: str) -> Place:
        place = await self._account.place(mailbox, "l")
        if not place.rights & ANNOTATES:
            raise Refused(Problem.NOT_PERMITTED, f"annotations of {mailbox}")
        return place
