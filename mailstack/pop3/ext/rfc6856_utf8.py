"""UTF8: the client takes messages with UTF-8 in their header (RFC 6856 §2).

What becomes of such a message without it is `Pop3Settings.utf8_headers`. §2.1 wants it refused, or another message
sent instead of it; the default sends it as it is all the same: hardly any client knows UTF8, mail with 8-bit octets in
its header is as old as mail, and a client that is refused one message often fetches none of those behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.pop3 import replies
from mailstack.pop3.ext import rfc1939_user
from mailstack.pop3.registry import BEFORE, Extension, command
from mailstack.pop3.wire.arguments import nothing

if TYPE_CHECKING:
    from mailstack.pop3.session import Pop3Session


def capability(session: Pop3Session) -> str:
    """USER says that user names and passwords may be in UTF-8 (§2.2)."""
    return "UTF8 USER" if rfc1939_user.is_offered(session) else "UTF8"


async def utf8(session: Pop3Session, _: None) -> None:
    """UTF8."""
    session.utf8 = True
    session.say(replies.ok("UTF-8 from now on"))


UTF8 = Extension(capability, commands=(command("UTF8", BEFORE, nothing, utf8),))
