"""The octets that an IMAP URL names (RFC 5092 §6), for CATENATE and URLFETCH."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from mailstack.errors import Problem, Refused
from mailstack.imap.fetch import Slice, located
from mailstack.imap.wire.url import ImapUrl
from mailstack.ports import MEMORY_LIMIT, AccountStore, Change, Mailbox


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
