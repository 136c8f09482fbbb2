"""INBOX as a POP3 session sees it (RFC 1939 §4, §5)."""

from __future__ import annotations

from collections.abc import Sequence

from mailstack.errors import Problem, Refused
from mailstack.ports import Change, Mailbox


class Maildrop:
    """INBOX as it was at login: message numbers do not change while the session lasts."""

    def __init__(self) -> None:
        self.mailbox: Mailbox | None = None
        self.uids: Sequence[int] = ()
        self.deleted: set[int] = set()

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
