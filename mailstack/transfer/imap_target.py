"""Another IMAP server as a target. What was sent is remembered in the account's `State`."""

from __future__ import annotations

import time
from collections import Counter

from mailstack.store.maildir import layout
from mailstack.transfer.imap_client import Client, Listed, raw_name
from mailstack.transfer.maildir_names import flag_words
from mailstack.transfer.outgoing import Exported, Outgoing, slices
from mailstack.transfer.state import Moving, State, content_digest, message_digest
from mailstack.transfer.values import INBOX, Origin

TOGETHER = 50
"""Messages that are noted as about to be sent together; each is one APPEND."""
TOGETHER_OCTETS = 8 * 1024 * 1024


class ImapTarget:
    """A `Target`. Mailboxes are found by special use (RFC 6154), else by name; missing ones are made."""

    def __init__(self, client: Client, state: State) -> None:
        self._client = client
        self._state = state
        self._listed = client.mailboxes()
        self._delimiter, self._prefix = client.delimiter()

    def box(self, mailbox: Exported) -> ImapBox:
        raw = self._raw(mailbox)
        return ImapBox(self._client, self._state, mailbox, raw)

    def _raw(self, mailbox: Exported) -> str:
        for listed in self._listed:
            if mailbox.special_use and listed.folder.special_use == mailbox.special_use and listed.selectable:
                return listed.raw
        for listed in self._listed:
            if listed.selectable and _same(listed, mailbox):
                return listed.raw
        raw = raw_name(mailbox.name, self._delimiter, self._prefix)
        self._client.create(raw)
        return raw

    def close(self, *, whole: bool) -> None:
        self._client.close()
        self._state.close()


def _same(listed: Listed, mailbox: Exported) -> bool:
    name = listed.folder.name
    return name == mailbox.name or (mailbox.name == INBOX and layout.normalise(name or "-") == INBOX)


class ImapBox:
    """One mailbox there."""

    def __init__(self, client: Client, state: State, mailbox: Exported, raw: str) -> None:
        self._client = client
        self._state = state
        self._raw = raw
        address = str(client.address)
        self._origin = state.place("sent", address, raw, mailbox.mailbox_id, mailbox.uid_validity)
        self._place = state.place("to", address, raw, mailbox.mailbox_id)
        self._validity = mailbox.uid_validity
        self._waiting: list[tuple[Moving, Outgoing]] = []
        self._octets = 0
        self.refused: list[tuple[int, str]] = []
        self._recover()
        self._known = state.uids(self._origin)

    def _recover(self) -> None:
        """See which messages the last run sent before it was stopped."""
        uid_next, intended = self._state.intended(self._place)
        if not intended:
            return
        count, _ = self._client.select(self._raw)
        there: Counter[bytes] = Counter()
        for uid in (uid for uid in self._client.uids(count, 20_000) if uid >= uid_next):
            for found in self._client.fetch([uid], "BODY.PEEK[]") or ():
                there[content_digest((found.octets or b"",))] += 1
        sent = []
        for each in intended:
            if there[each.content]:
                there[each.content] -= 1
                sent.append(each)
        self._state.done(self._place, sent)

    def known(self, uid: int) -> bool:
        return uid in self._known

    def put(self, message: Outgoing) -> None:
        content = content_digest(slices(message.octets))
        digest = message_digest(content, message.date)
        self._waiting.append(
            (
                Moving(content, digest, self._origin, Origin(self._validity, message.uid)),
                message,
            )
        )
        self._octets += len(message.octets)
        if len(self._waiting) >= TOGETHER or self._octets >= TOGETHER_OCTETS:
            self._send()

    def _send(self) -> None:
        waiting, self._waiting, self._octets = self._waiting, [], 0
        if not waiting:
            return
        self._state.intend(
            self._place,
            self._client.uid_next(self._raw),
            [moving for moving, _ in waiting],
        )
        sent: list[Moving] = []
        for moving, message in waiting:
            words, date = flag_words(message.flags), _date_time(message.date)
            reason = self._client.append(self._raw, words, date, message.octets[:])
            if reason:
                self.refused.append((message.uid, reason))
            else:
                sent.append(moving)
        self._state.done(self._place, sent)

    def end(self) -> None:
        self._send()

    def close(self) -> None:
        """What still waits was not noted."""


def _date_time(date: int) -> str:
    # date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE  ; RFC 9051 §9
    parts = time.gmtime(date)
    month = time.asctime(parts).split()[1]
    return f'"{parts.tm_mday:2d}-{month}-{parts.tm_year:04d} {time.strftime("%H:%M:%S", parts)} +0000"'
