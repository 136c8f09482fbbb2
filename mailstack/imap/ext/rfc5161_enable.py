"""ENABLE (RFC 5161; RFC 9051 §6.3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.wire.cursor import Cursor, atom

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

ENABLABLE = {"IMAP4REV2": "IMAP4rev2"}
"""What a client may enable, in upper case, and as it is written."""


def enable_arguments(cur: Cursor) -> list[str]:
    # enable = "ENABLE" 1*(SP capability)
    names = [atom(cur).decode().upper()]
    while cur.skip(b" "):
        names.append(atom(cur).decode().upper())
    return names


async def enable(session: ImapSession, names: list[str]) -> Reply:
    new = [name for name in dict.fromkeys(names) if name in ENABLABLE and name not in session.enabled]
    session.enabled.update(new)
    session.say("".join(["* ENABLED", *(f" {ENABLABLE[name]}" for name in new), "\r\n"]).encode())
    return replies.ok("ENABLE completed")


FEATURE = Feature(
    commands=(command(b"ENABLE", AUTHENTICATED, enable_arguments, enable),),
    capabilities=(Capability("ENABLE"),),
)
