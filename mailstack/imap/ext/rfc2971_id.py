"""ID (RFC 2971): who is at the other end, for the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.registry import ANY, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.wire.cursor import Cursor, sp, string

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

MAX_PAIRS = 30
"""RFC 2971 §3.3: field-value pairs."""
_LOGGED = ("name", "version", "os")


def id_arguments(cur: Cursor) -> dict[str, str]:
    # id = "ID" SP id-params-list ; "(" *(string SP nstring) ")" / NIL
    if cur.skip(b"NIL"):
        return {}
    cur.expect(b"(")
    found: dict[str, str] = {}
    while not cur.skip(b")"):
        name = string(cur).decode("utf-8", "replace").lower()
        sp(cur)
        value = "" if cur.skip(b"NIL") else string(cur).decode("utf-8", "replace")
        found[name[:30]] = value[:1024]
        if len(found) > MAX_PAIRS:
            raise cur.expected(f"at most {MAX_PAIRS} fields")
        cur.skip(b" ")
    return found


async def id_(session: ImapSession, fields: dict[str, str]) -> Reply:
    session.log.event("client", **{name: fields[name] for name in _LOGGED if name in fields})
    session.client_name = " ".join(fields[name] for name in ("name", "version") if name in fields)
    session.say(b'* ID ("name" "mailstack")\r\n')
    return replies.ok("ID completed")


FEATURE = Feature(commands=(command(b"ID", ANY, id_arguments, id_),), capabilities=(Capability("ID"),))
