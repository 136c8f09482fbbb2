"""What NOTIFY tells (RFC 5465): the mailboxes that a session watches, and the responses that come of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailstack.errors import Problem, Refused, SessionEnded
from mailstack.imap import replies
from mailstack.imap.core import fetch
from mailstack.imap.core.mailboxes import status_response
from mailstack.imap.ext.rfc5258_list import attributes_of, response
from mailstack.imap.fetch import plan
from mailstack.imap.registry import State
from mailstack.imap.view import View
from mailstack.imap.wire import encode
from mailstack.imap.wire.values import FetchAtt, FetchItem
from mailstack.mailboxes import (
    AccountEvent,
    Added,
    Annotated,
    Change,
    Expunged,
    FlagsChanged,
    MailboxGone,
    NameGone,
    NameMade,
    RightsChanged,
    SubscriptionChanged,
)
from mailstack.ports import Mailbox, MailboxEntry, MailboxStatus

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

MAX_WATCHED = 200
"""Mailboxes besides the selected one whose messages a session watches; each of them is open."""
MAX_WATCHED_MESSAGES = 1_000_000
"""Messages in all of them, about 110 octets of memory each if nobody else has them open."""
MAX_WAITING = 1000
"""Events of names and annotations that wait to be told."""
DELIMITER = "/"
EVENTS = {
    name.upper(): name
    for name in (
        "MessageNew", "MessageExpunge", "FlagChange", "MailboxName", "SubscriptionChange", "MailboxMetadataChange",
        "ServerMetadataChange",
    )
}  # fmt: skip
"""The events that there are, by name in upper case."""
KNOWN_ITEMS = frozenset({"MESSAGES", "UIDNEXT", "UIDVALIDITY", "HIGHESTMODSEQ"})
"""STATUS items that an open mailbox knows without looking at its messages."""
MESSAGE_EVENTS = frozenset({"MESSAGENEW", "MESSAGEEXPUNGE", "FLAGCHANGE"})


class Overflow(Exception):
    """The client asked to be told of more than a session is."""


@dataclass(frozen=True, slots=True)
class Group:
    """An event group: the events that are told of some mailboxes, by names in upper case; `items` are what is told of
    a new message.
    Looking whether it covers a mailbox costs the same however many names it has."""

    filter: str
    names: frozenset[str]
    events: frozenset[str]
    items: tuple[FetchItem, ...] = ()

    def covers(self, name: str, subscribed: Collection[str], others: str) -> bool:
        """Whether the group is about the mailbox of this name. The names of other users' begin with `others`."""
        match self.filter:
            case "PERSONAL" | "INBOXES":  # §6.3: any may be delivered to
                return not others or not name.startswith(others)
            case "SUBSCRIBED":
                return name in subscribed
            case "SUBTREE":
                levels = name.split(DELIMITER)
                return any(DELIMITER.join(levels[:depth]) in self.names for depth in range(1, len(levels) + 1))
            case "MAILBOXES":
                return name in self.names
        return False


def normal(name: str) -> str:
    """A mailbox's name as it is listed: INBOX is so in any case of letters."""
    first, delimiter, rest = name.partition(DELIMITER)
    return "INBOX" + delimiter + rest if first.upper() == "INBOX" else name


class Watched:
    """Implements `ports.MailboxListener`: a mailbox that is watched and need not be selected."""

    def __init__(self, notifier: Notifier, events: frozenset[str]) -> None:
        self.events = events
        self.mailbox: Mailbox | None = None
        self.gone = False
        self.messages_changed = False
        self.flags_changed = False
        self._notifier = notifier

    def changed(self, change: Change) -> None:
        match change:
            case Added() | Expunged():
                self.messages_changed = True
            case FlagsChanged():
                self.flags_changed = True
            case MailboxGone():
                self.gone = True
        self._notifier.wake()

    def close(self) -> None:
        mailbox, self.mailbox = self.mailbox, None
        if mailbox is not None:
            mailbox.close(self)


class Notifier:
    """One session's."""

    def __init__(self, session: ImapSession, groups: Sequence[Group]) -> None:
        selected = [group for group in groups if group.filter.startswith("SELECTED")]
        self._selected = selected[0] if selected else Group("SELECTED", frozenset(), frozenset())
        self._others = [group for group in groups if group not in selected]
        self.delayed = self._selected.filter == "SELECTED-DELAYED"
        """Whether the client is told of expunged messages in commands alone that may tell of them."""
        self._session = session
        self._watched: dict[str, Watched] = {}
        self._denied: set[str] = set()
        self._waiting: list[AccountEvent] = []
        self._listed: Sequence[MailboxEntry] = ()
        self._subscribed: Collection[str] = ()
        self._known: set[str] = set()
        """Names that were there at first or that the client was told of since, and that are not told to be gone."""
        self._stale = False
        """Whether the mailboxes that are watched may be others now."""
        self._overflown = False
        self._telling = False
        self._stop = session.store.access.listen(self._heard)

    async def start(self, *, status: bool) -> None:
        """Look at what is to be watched, and with `status` tell how it is now. Raises: Overflow."""
        if self._session.state is State.SELECTED:
            self.begin(self._session.view)
        opened = await self._resolve()
        self._known = {entry.name for entry in self._listed}
        if status:
            for name in opened:
                await self._tell_status(name, self._watched[name], everything=True)

    def begin(self, view: View) -> None:
        """A mailbox is selected."""
        view.tells_flags = "FLAGCHANGE" in self._selected.events

    def wake(self) -> None:
        """Something is to be told."""
        self._session.wake()

    def close(self) -> None:
        """Nothing is watched any more."""
        self._stop()
        for watched in self._watched.values():
            watched.close()
        self._watched.clear()
        if self._session.state is State.SELECTED:
            self._session.view.tells_flags = True

    def _heard(self, event: AccountEvent) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._overflown = True
        else:
            self._waiting.append(event)
        self.wake()

    # --- telling

    async def tell(self, *, allow_expunge: bool, with_items: bool = True) -> None:
        """Say everything that happened meanwhile. Without `with_items`, new messages in the selected mailbox may be
        the client's own."""
        if self._telling:
            return
        self._telling = True
        try:
            await self._tell_selected(allow_expunge=allow_expunge, with_items=with_items)
            await self._tell_events()
            if self._stale or any(watched.gone for watched in self._watched.values()):
                for name in await self._resolve():
                    await self._tell_status(name, self._watched[name], everything=True)
            for name, watched in list(self._watched.items()):
                await self._tell_status(name, watched)
            if self._overflown:
                raise Overflow
        except Overflow:
            self._give_up("too much to be told of")
        except Refused as refused:
            self._session.log.warning("NOTIFY ended", reason=str(refused))
            self._give_up("it cannot be looked at now")
        except SessionEnded:
            raise
        except Exception:
            self._session.log.failure("NOTIFY failed")
            self._session.resources.counters.count("internal_errors", "imap")
            self._give_up("an internal error, it has been logged")
        finally:
            self._telling = False

    def _give_up(self, why: str) -> None:
        """RFC 5465 §5.8."""
        self._session.say(replies.ok(f"no more notifications: {why}", "NOTIFICATIONOVERFLOW").line(b"*"))
        self._session.stop_notifying()

    async def _tell_selected(self, *, allow_expunge: bool, with_items: bool) -> None:
        session = self._session
        if session.state is State.SELECTED:
            await session.still_open()
        if session.state is not State.SELECTED:
            return
        view = session.view
        if not self._selected.events:
            for line in view.flush_flags(rev2=session.rev2, condstore=session.condstore):
                session.say(line)
            return
        last = view.uids[-1] if len(view.uids) else 0
        await session.flush(allow_expunge=allow_expunge)
        new = view.uids[bisect_right(view.uids, last) :]
        if len(new) and with_items and self._selected.items:
            items = (FetchAtt.UID, *self._selected.items)
            await fetch.respond(session, plan(items, utf8=session.utf8, uid_only=session.uid_only), new)

    async def _tell_status(self, name: str, watched: Watched, *, everything: bool = False) -> None:
        """STATUS of a mailbox in which something happened (§5.1 to §5.3); not of the selected one."""
        session, mailbox = self._session, watched.mailbox
        messages, flags = watched.messages_changed, watched.flags_changed and "FLAGCHANGE" in watched.events
        watched.messages_changed = watched.flags_changed = False
        selected = session.state is State.SELECTED and session.view.mailbox.name == name
        if mailbox is None or selected or not (messages or flags or everything):
            return
        items = ["MESSAGES", "UIDNEXT", "UIDVALIDITY"] if messages or everything else ["UIDVALIDITY"]
        items += ["UNSEEN"] if "FLAGCHANGE" in watched.events else []
        items += ["HIGHESTMODSEQ"] if session.condstore else []  # RFC 5465 §5.1
        try:
            found = await self._status(name, mailbox, items)
        except Refused:
            watched.gone = True  # or it may not be read any more
            return
        await session.say_much(status_response(session, name, tuple(items), found))

    async def _status(self, name: str, mailbox: Mailbox, items: Sequence[str]) -> MailboxStatus:
        """What STATUS says of an open mailbox; its messages are looked through only if an item needs that."""
        if not KNOWN_ITEMS.issuperset(items):
            return await self._session.store.status(name, size=False)
        await mailbox.refresh()
        return MailboxStatus(
            messages=len(mailbox.uids), recent=0, unseen=0, deleted=0, size=0, uid_next=mailbox.uid_next,
            uid_validity=mailbox.uid_validity, mailbox_id=mailbox.mailbox_id, highest_modseq=mailbox.highest_modseq,
        )  # fmt: skip

    # --- names, subscriptions, annotations

    async def _tell_events(self) -> None:
        if not self._waiting:
            return
        events, self._waiting = self._waiting, []
        await self._list_all()
        now = {entry.name for entry in self._listed}
        for event in events:
            await self._tell_event(event, now)
            if event.name in now:
                self._known.add(event.name)
            else:
                self._known.discard(event.name)
        self._stale = not all(isinstance(event, Annotated) for event in events)

    async def _list_all(self) -> None:
        store = self._session.store
        self._listed, self._subscribed = await store.mailboxes(), await store.subscriptions()

    async def _tell_event(self, event: AccountEvent, now: Collection[str]) -> None:
        name, known = event.name, self._known
        match event:
            case NameMade(_, old) if name in now:
                if self._wants(name, "MAILBOXNAME"):
                    await self._tell_name(name, old if old in known else "")
                if old:  # its inferiors have gone with it, and that is not told (§5.4)
                    moved = {each for each in known if each == old or each.startswith(old + DELIMITER)}
                    known -= moved
                    known |= {name + each[len(old) :] for each in moved}
                self._parent_of(name, told=bool(old))
            case NameGone() if name in known:
                if self._wants(name, "MAILBOXNAME"):
                    await self._tell_name(name)
                self._parent_of(name, told=False)
            case RightsChanged() if (name in known) != (name in now) and self._wants(name, "MAILBOXNAME"):
                await self._tell_name(name)
            case SubscriptionChanged() if self._wants(name, "SUBSCRIPTIONCHANGE"):
                await self._tell_name(name)
            case Annotated(_, entries) if entries and self._wants_annotation(name, now):
                shown = encode.mailbox(name, utf8=self._session.utf8) if name else b'""'
                listed = b" ".join(encode.astring(entry.encode()) for entry in entries)
                await self._session.say_much(b"* METADATA %s %s\r\n" % (shown, listed))

    def _parent_of(self, name: str, *, told: bool) -> None:
        """A mailbox's direct parent is affected when it is made or deleted (§5.4)."""
        parent = name.rpartition(DELIMITER)[0]
        if parent and not told and self._wants(parent, "MAILBOXNAME"):
            self._session.say(self._list(parent))

    async def _tell_name(self, name: str, old: str = "") -> None:
        line = self._list(name)
        if old:
            line = line[:-2] + b' ("OLDNAME" (%s))\r\n' % encode.mailbox(old, utf8=self._session.utf8)
        await self._session.say_much(line)

    def _list(self, name: str) -> bytes:
        return response(self._session, b"LIST", attributes_of(self._listed, self._subscribed, name), name)

    def _wants(self, name: str, event: str) -> bool:
        return event in self._events(name)

    def _wants_annotation(self, name: str, now: Collection[str]) -> bool:
        if not name:
            return any("SERVERMETADATACHANGE" in group.events for group in self._others)
        return name in now and self._wants(name, "MAILBOXMETADATACHANGE")

    def _events(self, name: str) -> frozenset[str]:
        others = self._session.store.access.other_users
        covering = (group.events for group in self._others if group.covers(name, self._subscribed, others))
        return frozenset[str]().union(*covering)

    # --- what is watched

    async def _resolve(self) -> list[str]:
        """Open what is to be watched now, close what is not; the names that are new. Raises: Overflow, Refused."""
        self._stale = False
        await self._list_all()
        wanted = {entry.name: self._events(entry.name) & MESSAGE_EVENTS for entry in self._listed if entry.selectable}
        wanted = {name: events for name, events in wanted.items() if events}
        if len(wanted) > MAX_WATCHED:
            raise Overflow
        for name, watched in list(self._watched.items()):
            if watched.gone or wanted.get(name) != watched.events:
                watched.close()
                del self._watched[name]
        opened = []
        for name, events in wanted.items():
            if name not in self._watched and await self._open(name, events):
                opened.append(name)
        if sum(len(w.mailbox.uids) for w in self._watched.values() if w.mailbox is not None) > MAX_WATCHED_MESSAGES:
            raise Overflow
        return opened

    async def _open(self, name: str, events: frozenset[str]) -> bool:
        watched = Watched(self, events)
        try:
            watched.mailbox = await self._session.store.open(name, watched)
        except Refused as refused:
            if refused.problem is Problem.NOT_PERMITTED:
                if name not in self._denied:  # §3.1: it may be listed, and not be read
                    self._session.say(response(self._session, b"LIST", ["\\NoAccess"], name))
                self._denied.add(name)
            elif refused.problem is not Problem.NO_SUCH_MAILBOX:
                raise
            return False
        self._denied.discard(name)
        self._watched[name] = watched
        return True
