"""INBOX as a POP3 session sees it (RFC 1939 §4, §5)."""

from __future__ import annotations

from collections.abc import Sequence

from mailstack.errors import Problem, Refused
from mailstack.ports import Change, Mailbox

AHEAD_OCTETS = 64 * 1024
"""Octets of messages that are read before the client asks for them, and kept until it does."""
AHEAD_MESSAGES = 32
"""The same, messages."""


class Maildrop:
    """INBOX as it was at login: message numbers do not change while the session lasts."""

    def __init__(self) -> None:
        self.mailbox: Mailbox | None = None
        self.uids: Sequence[int] = ()
        self.deleted: set[int] = set()
        self.ahead: dict[int, bytes] = {}
        """Replies to RETR by UID, of messages that the client is about to ask for."""
        self._next = 1

    def changed(self, change: Change) -> None:
        """What others do meanwhile is seen at the next login; a message that is gone is refused
        when it is asked for."""

    def open(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.uids = tuple(mailbox.uids)

    @property
    def opened(self) -> Mailbox:
        """The mailbox; there is one in TRANSACTION."""
        assert self.mailbox is not None
        return self.mailbox

    def uid(self, number: int) -> int:
        """Raises: Refused(NO_SUCH_MESSAGE) for a number out of range or a message marked deleted."""
        if not 1 <= number <= len(self.uids):
            raise Refused(Problem.NO_SUCH_MESSAGE, f"{number} of {len(self.uids)}")
        uid = self.uids[number - 1]
        if uid in self.deleted:
            raise Refused(Problem.NO_SUCH_MESSAGE, f"{number} is marked deleted")
        return uid

    def asked_for(self, number: int) -> list[int]:
        """UIDs, ascending, of what to read for a RETR: this message, and the small ones behind it when the client
        takes them in their order. What was read ahead before is forgotten. Raises: Refused(NO_SUCH_MESSAGE)."""
        uids = [self.uid(number)]
        in_order, self._next = number == self._next, number + 1
        self.ahead.clear()
        room = AHEAD_OCTETS - self.size(uids[0])
        if in_order:
            for uid in self.uids[number : number + AHEAD_MESSAGES - 1]:
                room -= self.size(uid)
                if room < 0:
                    break
                if uid not in self.deleted:
                    uids.append(uid)
        return uids

    def read_ahead(self, number: int) -> bytes | None:
        """The reply to RETR if it is here, and its message still in the mailbox.
        Raises: Refused(NO_SUCH_MESSAGE)."""
        uid = self.uid(number)
        reply = self.ahead.pop(uid, None)
        if reply is None or self.opened.size(uid) is None:
            return None
        self._next = number + 1
        return reply

    def present(self) -> list[tuple[int, int]]:
        """(message number, UID) of all that are not marked deleted."""
        return [(number, uid) for number, uid in enumerate(self.uids, 1) if uid not in self.deleted]

    def size(self, uid: int) -> int:
        """Octets; 0 for a message that is gone."""
        return self.opened.size(uid) or 0

    def close(self) -> None:
        mailbox, self.mailbox = self.mailbox, None
        if mailbox is not None:
            mailbox.close(self)
