"""ENABLE (RFC 5161; RFC 9051 §6.3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.wire.cursor import Cursor, atom

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession


def enable_arguments(cur: Cursor) -> list[str]:
    # enable = "ENABLE" 1*(SP capability)
    names = [atom(cur).decode().upper()]
    while cur.skip(b" "):
        names.append(atom(cur).decode().upper())
    return names


async def enable(session: ImapSession, names: list[str]) -> Reply:
    from mailstack.imap.features import ENABLES

    new = [ENABLES[name] for name in dict.fromkeys(names) if name in ENABLES and name not in session.enabled]
    for row in new:
        session.enabled.add(row.name.upper())
        if row.act is not None:
            row.act(session)
    session.say("".join(["* ENABLED", *(f" {row.name}" for row in new), "\r\n"]).encode())
    return replies.ok("ENABLE completed")


FEATURE = Feature(
    commands=(command(b"ENABLE", AUTHENTICATED, enable_arguments, enable),),
    capabilities=(Capability("ENABLE"),),
)
