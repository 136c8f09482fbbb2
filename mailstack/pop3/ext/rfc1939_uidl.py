"""UIDL: ids of messages that stay (RFC 1939 §7)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mailstack.pop3.core import listing
from mailstack.pop3.registry import AFTER, Extension, always, command
from mailstack.pop3.wire.arguments import optional_number

if TYPE_CHECKING:
    from mailstack.pop3.session import Pop3Session


async def uidl(session: Pop3Session, wanted: int | None) -> None:
    """UIDL."""
    await listing(session, wanted, partial(unique_id, session))


def unique_id(session: Pop3Session, uid: int) -> str:
    """IMAP's UID and UIDVALIDITY, in the form of Dovecot's default (`%08Xu%08Xv`), so that a client
    that was served by Dovecot from this Maildir fetches nothing again."""
    return f"{uid:08x}{session.maildrop.opened.uid_validity:08x}"


UIDL = Extension(always("UIDL"), commands=(command("UIDL", AFTER, optional_number, uidl),))
