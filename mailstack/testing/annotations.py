"""Annotations in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mailstack.errors import Problem, Refused

if TYPE_CHECKING:
    from mailstack.testing.store import MemoryAccountStore

SPECIAL_USE = "/private/specialuse"
MAX_ENTRIES = 100


class MemoryAnnotations:
    """Implements `ports.Annotations`. `server` is what all accounts share."""

    def __init__(self, account: MemoryAccountStore, server: dict[str, bytes]) -> None:
        self._account = account
        self._server = server
        self._private: dict[str, bytes] = {}
        self._mailboxes: dict[str, dict[str, bytes]] = {}

    async def of(self, mailbox: str) -> Mapping[str, bytes]:
        if not mailbox:
            return {**self._server, **self._private}
        box = self._account.find(mailbox)
        use = {SPECIAL_USE: box.special_use.encode()} if box.special_use else {}
        return {**self._mailboxes.get(box.mailbox_id, {}), **use}

    async def change(self, mailbox: str, changes: Mapping[str, bytes | None]) -> None:
        if not mailbox:
            for name, value in changes.items():
                _set(self._server if name.startswith("/shared/") else self._private, name, value)
            return
        box = self._account.find(mailbox)
        after = dict(self._mailboxes.get(box.mailbox_id, {}))
        for name, value in changes.items():
            if name != SPECIAL_USE:
                _set(after, name, value)
        if len(after) > MAX_ENTRIES:
            raise Refused(Problem.TOO_MANY_ANNOTATIONS, mailbox)
        self._mailboxes[box.mailbox_id] = after
        if SPECIAL_USE in changes:
            use = (changes[SPECIAL_USE] or b"").decode()
            for other in self._account.boxes.values():
                if use and other.special_use == use:
                    other.special_use = ""
            box.special_use = use

    async def of_another(self, mailbox_id: str) -> Mapping[str, bytes]:
        return dict(self._mailboxes.get(mailbox_id, {}))

    async def change_another(self, mailbox_id: str, changes: Mapping[str, bytes | None]) -> None:
        for name, value in changes.items():
            _set(self._mailboxes.setdefault(mailbox_id, {}), name, value)

    def copy(self, old_id: str, new_id: str) -> None:
        """INBOX was renamed: its annotations are the new mailbox's, too."""
        self._mailboxes[new_id] = dict(self._mailboxes.get(old_id, {}))


def _set(entries: dict[str, bytes], name: str, value: bytes | None) -> None:
    if value is None:
        entries.pop(name, None)
    else:
        entries[name] = value
