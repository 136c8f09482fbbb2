"""What sessions may ask about mailboxes beside their messages: annotations, and who may do what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from mailstack.acl import Acl, Rights
from mailstack.mailboxes import AccountEvent, AccountName


class Annotations(Protocol):
    """Annotations (RFC 5464) of mailboxes, and with "" as the mailbox those of the server. Names of entries
    are in lower case, as "/private/comment". "/private/specialuse" is the special use (RFC 6154 §4)."""

    async def of(self, mailbox: str) -> Mapping[str, bytes]:
        """All entries. Raises: Refused(NO_SUCH_MAILBOX)."""

    async def change(self, mailbox: str, changes: Mapping[str, bytes | None]) -> None:
        """Set these entries, take away those that are None; all or none, durable on return.
        Raises: Refused(NO_SUCH_MAILBOX | TOO_MANY_ANNOTATIONS | CANNOT)."""

    async def of_another(self, mailbox_id: str) -> Mapping[str, bytes]:
        """The private entries that this account has for another one's mailbox."""

    async def change_another(self, mailbox_id: str, changes: Mapping[str, bytes | None]) -> None:
        """As `change`, for these."""


class Access(Protocol):
    """Who may do what with the mailboxes that a user sees (RFC 4314). A mailbox of which he may not know is
    NO_SUCH_MAILBOX everywhere."""

    @property
    def other_users(self) -> str:
        """What the names of other users' mailboxes begin with (RFC 2342), as "Other Users/"; "" if there are none."""

    def listen(self, heard: Callable[[AccountEvent], None]) -> Callable[[], None]:
        """Hear what others do to mailboxes that the user may see, in this process. Called in the reactor's thread; what
        it tells of another's mailbox is to be looked at with `rights` before it is told on. The result ends it."""

    async def owner(self, mailbox: str) -> AccountName:
        """Whose mailbox it is, or would be. Raises: Refused(NO_SUCH_MAILBOX | NOT_PERMITTED) if the user may not
        read another's."""

    async def rights(self, mailbox: str) -> Rights:
        """What the user may do. Raises: Refused(NO_SUCH_MAILBOX)."""

    async def acl(self, mailbox: str) -> Acl:
        """The list, with the owner's entry. Raises: Refused(NO_SUCH_MAILBOX | NOT_PERMITTED)."""

    async def grantable(self, mailbox: str, identifier: str) -> tuple[Rights, Rights]:
        """What an identifier always has, and what it may be given beside that. Raises: as `acl`;
        Refused(BAD_IDENTIFIER)."""

    async def change(self, mailbox: str, identifier: str, change: Callable[[Rights], Rights | None]) -> None:
        """Give an identifier, with "-" before it for a negative one, other rights than it has in the list; None for
        no entry. Durable on return. Raises: as `grantable`; Refused(CANNOT) for the owner's."""
