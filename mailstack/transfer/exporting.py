"""From an account to a target: messages by ascending UID, those that are there passed over."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from mailstack.errors import Refused
from mailstack.ports import FIRST_KEYWORD, Flag, Flags, Mailbox, MailboxEntry
from mailstack.store.api import StoredAccount
from mailstack.transfer.inline import Silent
from mailstack.transfer.outgoing import Box, Exported, Occupied, Outgoing, Target
from mailstack.transfer.report import Report
from mailstack.transfer.values import Trouble, Unusable

AT_ONCE = 50
"""Messages that are read in one visit to the store, as long as they are small."""
SMALL = 256 * 1024
_HOPELESS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EPIPE, errno.EIO, errno.EROFS})


class Exporter:
    """One run. `only`: names of mailboxes; none means all."""

    def __init__(
        self,
        account: StoredAccount,
        target: Target,
        only: Sequence[str],
        report: Report,
    ) -> None:
        self._account = account
        self._target = target
        self._only = only
        self._report = report
        self._silent = Silent()

    async def run(self) -> None:
        """Raises: Unusable, when the run cannot go on; OSError of the target."""
        entries = [entry for entry in await self._account.mailboxes() if entry.selectable]
        for name in self._only:
            if name not in {entry.name for entry in entries}:
                raise Unusable(f"there is no mailbox {name}")
        subscribed = set(await self._account.subscriptions())
        chosen = [entry for entry in entries if not self._only or entry.name in self._only]
        opened: list[tuple[MailboxEntry, Mailbox]] = []
        try:
            for entry in chosen:
                opened.append((entry, await self._account.open(entry.name, self._silent)))
                self._report.total += len(opened[-1][1].uids)
                self._report.of(entry.name)
            for entry, mailbox in opened:
                await self._mailbox(entry, mailbox, subscribed=entry.name in subscribed)
        except Refused as refused:
            raise Unusable(str(refused)) from refused
        finally:
            for _, mailbox in opened:
                mailbox.close(self._silent)

    async def _mailbox(self, entry: MailboxEntry, mailbox: Mailbox, *, subscribed: bool) -> None:
        exported = Exported(
            entry.name,
            mailbox.mailbox_id,
            mailbox.uid_validity,
            entry.special_use,
            subscribed,
        )
        try:
            box = self._target.box(exported)
        except Occupied as error:
            self._report.trouble(Trouble(entry.name, str(error), weight=len(mailbox.uids)), entry.name)
            return
        try:
            await self._messages(entry.name, mailbox, box)
            box.end()
            self._refused(entry.name, box)
        finally:
            box.close()

    async def _messages(self, name: str, mailbox: Mailbox, box: Box) -> None:
        uids = list(mailbox.uids)
        wanted = [uid for uid in uids if not box.known(uid)]
        self._report.of(name).known += len(uids) - len(wanted)
        self._report.weight += len(uids) - len(wanted)
        await mailbox.measure(wanted)
        for group in _groups(wanted, mailbox):
            found = await mailbox.examine(group, lambda octets: octets)
            for uid, octets in zip(group, found, strict=True):
                bits, date = mailbox.flags(uid), mailbox.internal_date(uid)
                if octets is not None and bits is not None and date is not None:  # else it was expunged meanwhile
                    self._put(
                        name,
                        box,
                        Outgoing(uid, _flags(mailbox, bits), int(date), octets),
                    )
                self._refused(name, box)
                self._report.weight += 1
                self._report.advanced()

    def _refused(self, name: str, box: Box) -> None:
        for uid, reason in box.refused:
            self._report.of(name).moved -= 1
            self._report.trouble(Trouble(f"{name} UID {uid}", reason), name)
        box.refused.clear()

    def _put(self, name: str, box: Box, message: Outgoing) -> None:
        try:
            box.put(message)
        except OSError as error:
            if error.errno in _HOPELESS:
                raise
            self._report.trouble(Trouble(f"{name} UID {message.uid}", error.strerror or str(error)), name)
            return
        count = self._report.of(name)
        count.moved += 1
        count.octets += len(message.octets)


def _groups(uids: Sequence[int], mailbox: Mailbox) -> list[list[int]]:
    """Small messages together, a large one alone."""
    groups: list[list[int]] = [[]]
    for uid in uids:
        is_small = (mailbox.size(uid) or 0) <= SMALL
        if not is_small or len(groups[-1]) >= AT_ONCE:
            groups.append([])
        groups[-1].append(uid)
        if not is_small:
            groups.append([])
    return [group for group in groups if group]


def _flags(mailbox: Mailbox, bits: int) -> Flags:
    known = mailbox.keywords
    keywords = {name for number, name in enumerate(known) if name and bits >> (FIRST_KEYWORD + number) & 1}
    return Flags(Flag(bits & ((1 << (FIRST_KEYWORD - 1)) - 1)), frozenset(keywords))
