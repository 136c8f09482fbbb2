"""CAPA, and the capabilities that are no more than a word (RFC 2449 §5, §6.4, §6.6, §6.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.pop3 import replies
from mailstack.pop3.registry import ALWAYS, Extension, always, command
from mailstack.pop3.wire.arguments import nothing

if TYPE_CHECKING:
    from mailstack.pop3.session import Pop3Session


async def capa(session: Pop3Session, _: None) -> None:
    """CAPA."""
    session.say(replies.multi_line("capability list follows", "".join(f"{line}\r\n" for line in session.capabilities)))


PIPELINING = Extension(always("PIPELINING"))
RESP_CODES = Extension(always("RESP-CODES"))
IMPLEMENTATION = Extension(always("IMPLEMENTATION mailstack"))
CAPA = Extension(commands=(command("CAPA", ALWAYS, nothing, capa),))
