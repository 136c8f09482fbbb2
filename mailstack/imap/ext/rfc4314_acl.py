"""ACL and RIGHTS=texk: SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS (RFC 4314). What the rights allow is
checked where the mailboxes are, behind `ports.AccountStore`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailstack.acl import RIGHTS, Rights, parse_rights, shown
from mailstack.imap import replies
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.wire import encode
from mailstack.imap.wire.cursor import Cursor, mailbox, sp, text

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession


@dataclass(frozen=True, slots=True)
class SetAcl:
    """`sign` is "+", "-", or "" for rights that replace."""

    mailbox: str
    identifier: str
    sign: str
    rights: Rights

    def applied(self, before: Rights) -> Rights:
        """The rights that an identifier with those of `before` has then."""
        return {"+": before | self.rights, "-": before - self.rights}.get(self.sign, self.rights)


def mailbox_and_identifier(cur: Cursor) -> tuple[str, str]:
    # mailbox SP identifier ; identifier = astring
    name = mailbox(cur)
    sp(cur)
    return name, text(cur)


def setacl_arguments(cur: Cursor) -> SetAcl:
    # setacl = "SETACL" SP mailbox SP identifier SP mod-rights
    name, identifier = mailbox_and_identifier(cur)
    sp(cur)
    start = cur.position
    letters = text(cur)
    sign = letters[:1] if letters[:1] in ("+", "-") else ""
    try:
        return SetAcl(name, identifier, sign, parse_rights(letters.removeprefix(sign)))
    except ValueError as unknown:
        raise cur.expected(f"rights of {RIGHTS}cd, not {unknown},", start) from None


async def setacl(session: ImapSession, asked: SetAcl) -> Reply:
    await session.store.access.change(asked.mailbox, asked.identifier, asked.applied)
    session.log.event(
        "access changed", by=session.account, mailbox=asked.mailbox, identifier=asked.identifier,
        rights=asked.sign + shown(asked.rights),
    )  # fmt: skip
    return replies.ok("SETACL completed")


async def deleteacl(session: ImapSession, asked: tuple[str, str]) -> Reply:
    name, identifier = asked
    await session.store.access.change(name, identifier, lambda _: None)
    session.log.event("access changed", by=session.account, mailbox=name, identifier=identifier, rights=None)
    return replies.ok("DELETEACL completed")


async def getacl(session: ImapSession, name: str) -> Reply:
    acl = await session.store.access.acl(name)
    pairs = b"".join(
        b" %s %s" % (encode.astring(entry.shown_identifier.encode(), utf8=session.utf8), _letters(entry.rights))
        for entry in acl
    )
    session.say(b"* ACL %s%s\r\n" % (encode.mailbox(name, utf8=session.utf8), pairs))
    return replies.ok("GETACL completed")


async def listrights(session: ImapSession, asked: tuple[str, str]) -> Reply:
    name, identifier = asked
    always, possible = await session.store.access.grantable(name, identifier)
    groups = b"".join(b" %s" % right.encode() for right in shown(possible))
    who = encode.astring(identifier.encode(), utf8=session.utf8)
    shown_name = encode.mailbox(name, utf8=session.utf8)
    session.say(b"* LISTRIGHTS %s %s %s%s\r\n" % (shown_name, who, _letters(always), groups))
    return replies.ok("LISTRIGHTS completed")


async def myrights(session: ImapSession, name: str) -> Reply:
    session.say(myrights_response(session, name, await session.store.access.rights(name)))
    return replies.ok("MYRIGHTS completed")


def myrights_response(session: ImapSession, name: str, rights: Rights) -> bytes:
    """MYRIGHTS (RFC 4314 §3.8)."""
    return b"* MYRIGHTS %s %s\r\n" % (encode.mailbox(name, utf8=session.utf8), _letters(rights))


def _letters(rights: Rights) -> bytes:
    return encode.astring(shown(rights).encode())


FEATURE = Feature(
    commands=(
        command(b"SETACL", AUTHENTICATED, setacl_arguments, setacl),
        command(b"DELETEACL", AUTHENTICATED, mailbox_and_identifier, deleteacl),
        command(b"GETACL", AUTHENTICATED, mailbox, getacl),
        command(b"LISTRIGHTS", AUTHENTICATED, mailbox_and_identifier, listrights),
        command(b"MYRIGHTS", AUTHENTICATED, mailbox, myrights),
    ),
    capabilities=(Capability("ACL", AUTHENTICATED), Capability("RIGHTS=texk", AUTHENTICATED)),
)
