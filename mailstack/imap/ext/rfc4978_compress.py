"""COMPRESS=DEFLATE (RFC 4978): everything after the tagged OK is compressed, both ways, below TLS if there is any.

It is a command of the authenticated state, and STARTTLS one of before: compression is always inside TLS (§3).
A client sends nothing until it has seen the OK; what it has sent all the same is taken for compressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.wire.cursor import Cursor, atom

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession


def compress_arguments(cur: Cursor) -> None:
    # compress = "COMPRESS" SP algorithm ; algorithm = "DEFLATE"
    start = cur.position
    if atom(cur).upper() != b"DEFLATE":
        raise cur.expected("DEFLATE", start)


async def compress(session: ImapSession, _: None) -> Reply:
    if session.compressed:
        return replies.no("DEFLATE is active via COMPRESS", "COMPRESSIONACTIVE")
    session.compressed = True
    session.say(replies.ok("DEFLATE active").line(session.tag))
    session.connection.start_compression(session.framer.rest())
    return replies.SAID


FEATURE = Feature(
    commands=(command(b"COMPRESS", AUTHENTICATED, compress_arguments, compress),),
    capabilities=(Capability("COMPRESS=DEFLATE", AUTHENTICATED),),
)
