"""The octets that an IMAP URL names (RFC 5092 §6), for CATENATE, URLFETCH and BURL."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from functools import partial

from mailstack.errors import BadSyntax, Problem, Refused
from mailstack.imap.fetch import Slice, located
from mailstack.imap.wire.url import Access, ImapUrl, message_url
from mailstack.ports import MEMORY_LIMIT, AccountName, AccountStore, Change, Mailbox, MailStore

INTERNAL = "INTERNAL"
"""The mechanism by which URLs are authorised (RFC 4467 §2)."""


class _Reader:
    """A `ports.MailboxListener` that has no client to tell."""

    def changed(self, change: Change) -> None:
        """It reads one message, which stays as it is."""


class UrlContent:
    """A message, or a part of one: `size` octets. To be closed."""

    def __init__(self, mailbox: Mailbox, reader: _Reader, uid: int, found: bytes | Slice) -> None:
        self.mailbox = mailbox
        self.size = len(found) if isinstance(found, bytes) else found.end - found.start
        self._reader = reader
        self._uid = uid
        self._found = found

    async def pieces(self) -> AsyncIterator[bytes]:
        """The octets. Raises: Refused(NO_SUCH_MESSAGE) when somebody removes the message meanwhile."""
        if isinstance(self._found, bytes):
            yield self._found
            return
        for start in range(self._found.start, self._found.end, MEMORY_LIMIT):
            end = min(start + MEMORY_LIMIT, self._found.end)
            piece = await self.mailbox.read(self._uid, start, end)
            if piece is None or len(piece) != end - start:
                raise Refused(Problem.NO_SUCH_MESSAGE, "the message vanished while it was read")
            yield piece

    def close(self) -> None:
        self.mailbox.close(self._reader)


async def open_url(store: AccountStore, url: ImapUrl) -> UrlContent:
    """What a URL of a message names among the mailboxes of one account.

    Raises: Refused(NO_SUCH_MAILBOX | NO_SUCH_MESSAGE)."""
    reader = _Reader()
    mailbox = await store.open(url.mailbox, reader)
    try:
        if url.uid_validity not in (None, mailbox.uid_validity):
            raise Refused(Problem.NO_SUCH_MESSAGE, "another UIDVALIDITY")
        known = mailbox.flags(url.uid) is not None
        locate = partial(located, section=url.section, partial=url.partial)
        (found,) = await mailbox.examine([url.uid], locate) if known else [None]
        if found is None:
            raise Refused(Problem.NO_SUCH_MESSAGE, "no such message or part")
    except BaseException:
        mailbox.close(reader)
        raise
    return UrlContent(mailbox, reader, url.uid, found)


def token(key: bytes, mailbox_id: str, rump: bytes) -> bytes:
    """The verifier of INTERNAL, 64 hexadecimal digits."""
    return hmac.new(key, b"%b\0%b" % (mailbox_id.encode(), rump), hashlib.sha256).hexdigest().encode()


async def open_authorized(
    store: MailStore, octets: bytes, now: float, may_use: Callable[[Access], bool]
) -> UrlContent | None:
    """What a URL names, if it is good, and `may_use` says that this reader is whom it is for; None for whatever
    reason it is not: a stranger learns nothing of what is there. `now` in seconds since the epoch."""
    try:
        url = message_url(octets.decode("ascii"))
    except (BadSyntax, UnicodeDecodeError):
        return None
    access = url.access
    if access is None or access.mechanism != INTERNAL or not url.user or not may_use(access):
        return None
    if access.expire is not None and access.expire < now:
        return None
    owner = AccountName(url.user)
    try:
        key = await store.access_key(owner, url.mailbox)
        if key is None:
            return None
        content = await open_url(await store.account(owner), url)
    except Refused:
        return None
    if hmac.compare_digest(token(key, content.mailbox.mailbox_id, url.rump), access.token.lower()):
        return content
    content.close()
    return None
