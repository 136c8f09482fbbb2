"""TOP: the header and some lines of a message (RFC 1939 §7)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mailstack.pop3.registry import AFTER, Extension, always, command
from mailstack.pop3.sending import send_part
from mailstack.pop3.wire.arguments import two_numbers
from mailstack.ports import Octets

if TYPE_CHECKING:
    from mailstack.pop3.session import Pop3Session

WINDOW = 64 * 1024
"""Octets whose lines are counted at once."""


async def top(session: Pop3Session, asked: tuple[int, int]) -> None:
    """TOP."""
    wanted, lines = asked
    await send_part(session, wanted, partial(top_end, lines=lines))


def top_end(octets: Octets, lines: int) -> int:
    """Where the header, the blank line and so many lines of the body end."""
    if octets[0:2] == b"\r\n":
        position = 2
    else:
        blank = octets.find(b"\r\n\r\n")
        if blank < 0:
            return len(octets)
        position = blank + 4
    # Whole windows are counted over: somebody may ask for a million lines.
    while lines:
        within = octets.count(b"\n", position, position + WINDOW)
        if position + WINDOW >= len(octets) or within >= lines:
            break
        lines -= within
        position += WINDOW
    for _ in range(lines):
        end = octets.find(b"\n", position)
        if end < 0:
            return len(octets)
        position = end + 1
    return position


TOP = Extension(always("TOP"), commands=(command("TOP", AFTER, two_numbers, top),))
