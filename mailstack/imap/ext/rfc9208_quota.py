"""QUOTA, QUOTASET and the resources STORAGE and MESSAGE (RFC 9208).

Each account is one quota root, named as the account, for all of its mailboxes. One's own root may be looked
at, and that of a mailbox of another user by who may read it; administrators may look at any and set it. OVERQUOTA is in
`replies.py`, the STATUS items DELETED and DELETED-STORAGE (in octets, §4.1.4) in `core/mailboxes.py`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mailstack.errors import Problem, Refused
from mailstack.imap import replies
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature, StatusItem, command
from mailstack.imap.replies import Reply
from mailstack.imap.wire import encode
from mailstack.imap.wire.cursor import Cursor, mailbox, number, sp, text
from mailstack.ports import AccountName
from mailstack.quota import Quota, QuotaLimit

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

STORAGE_UNIT = 1024
"""Octets of one unit of STORAGE (RFC 9208 §5.1)."""
MAX_LIMIT = 2**63 - 1
"""The highest limit, in octets or messages: number64 (RFC 9051 §9)."""
RESOURCES = ("STORAGE", "MESSAGE")
_RESOURCE = re.compile(rb"[A-Za-z-]+")

SetQuota = tuple[str, dict[str, int]]


def setquota_arguments(cur: Cursor) -> SetQuota:
    # setquota = "SETQUOTA" SP quota-root-name SP "(" [setquota-resource *(SP setquota-resource)] ")"
    root = text(cur)
    sp(cur)
    cur.expect(b"(")
    limits: dict[str, int] = {}
    while not cur.skip(b")"):
        if limits:
            sp(cur)
        start = cur.position
        # setquota-resource = resource-name SP number64
        resource = cur.match(_RESOURCE, "a quota resource")[0].decode().upper()
        if resource not in RESOURCES or resource in limits:
            raise cur.expected("a quota resource, once: " + ", ".join(RESOURCES), start)
        sp(cur)
        limits[resource] = number(cur)
    return root, limits


async def getquota(session: ImapSession, root: str) -> Reply:
    session.say(response(root, await session.resources.store.quota(_permitted(session, root))))
    return replies.ok("GETQUOTA completed")


async def getquotaroot(session: ImapSession, name: str) -> Reply:
    root = await session.store.access.owner(name)
    quota = await session.resources.store.quota(root)
    shown = encode.mailbox(name, utf8=session.utf8)
    session.say(b"* QUOTAROOT %s %s\r\n" % (shown, encode.astring(root.encode())))
    session.say(response(root, quota))
    return replies.ok("GETQUOTAROOT completed")


async def setquota(session: ImapSession, asked: SetQuota) -> Reply:
    root, limits = asked
    if not session.administers:
        raise Refused(Problem.NOT_PERMITTED, "not an administrator")
    quota = await session.resources.store.set_quota(_permitted(session, root), limit_of(limits))
    session.log.event(
        "quota set", by=session.account, of=root, octets=quota.limit.octets, messages=quota.limit.messages
    )
    session.say(response(root, quota))
    return replies.ok("SETQUOTA completed")


def _permitted(session: ImapSession, root: str) -> AccountName:
    """The account of a root that the user may look at. Who may not is not told whether it is there."""
    account = AccountName(root.lower())
    if account != session.account and not session.administers:
        raise Refused(Problem.NOT_PERMITTED, f"quota of {root}")
    return account


def limit_of(limits: dict[str, int]) -> QuotaLimit:
    """What SETQUOTA's resources come to; what it does not name is not limited. 0 would be no limit here, and is
    "any usage is prohibited" there (RFC 9208 §3.1.2): one octet is room for no message.
    Raises: Refused(CANNOT) for what cannot be kept."""
    octets = limits["STORAGE"] * STORAGE_UNIT or 1 if "STORAGE" in limits else 0
    messages = limits.get("MESSAGE", 0)
    if "MESSAGE" in limits and not messages:
        raise Refused(Problem.CANNOT, "a limit of no message")
    if max(octets, messages) > MAX_LIMIT:
        raise Refused(Problem.CANNOT, "a limit above any")
    return QuotaLimit(octets, messages)


def response(root: str, quota: Quota) -> bytes:
    """QUOTA (RFC 9208 §4.2.1): what is limited, STORAGE in whole units; "()" when nothing is."""
    parts = []
    if quota.limit.octets:
        parts.append(b"STORAGE %d %d" % (-(-quota.octets // STORAGE_UNIT), quota.limit.octets // STORAGE_UNIT))
    if quota.limit.messages:
        parts.append(b"MESSAGE %d %d" % (quota.messages, quota.limit.messages))
    return b"* QUOTA %s (%s)\r\n" % (encode.astring(root.encode()), b" ".join(parts))


FEATURE = Feature(
    commands=(
        command(b"GETQUOTA", AUTHENTICATED, text, getquota),
        command(b"GETQUOTAROOT", AUTHENTICATED, mailbox, getquotaroot),
        command(b"SETQUOTA", AUTHENTICATED, setquota_arguments, setquota),
    ),
    capabilities=(
        Capability("QUOTA", AUTHENTICATED),
        Capability("QUOTASET", AUTHENTICATED),
        Capability("QUOTA=RES-STORAGE", AUTHENTICATED),
        Capability("QUOTA=RES-MESSAGE", AUTHENTICATED),
    ),
    status_items=(StatusItem("DELETED-STORAGE", lambda _, found: str(found.deleted_size)),),
)
