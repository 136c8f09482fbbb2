"""NOTIFY: the client is told of changes in any mailbox, whether a command runs or not (RFC 5465).

A mailbox whose messages are watched is open, with a listener of its own, so that the client hears of what other
processes and programs do, too. Of names, subscriptions and annotations it hears what other sessions of this process
do. AnnotationChange is not there, as ANNOTATE is not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.notifier import EVENTS, MESSAGE_EVENTS, Group, Notifier, Overflow, normal
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.wire.cursor import Cursor, mailbox, parenthesized, sp
from mailstack.imap.wire.fetch_grammar import fetch_att
from mailstack.imap.wire.values import FetchItem

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

MAX_GROUPS = 100
"""Event groups of one NOTIFY."""
MAX_NAMES = 1000
"""Mailboxes that one event group names."""
MAX_ITEMS = 50
"""Data items of MessageNew."""
_WORD = re.compile(rb"[A-Za-z-]+")
SELECTED_FILTERS = frozenset({"SELECTED", "SELECTED-DELAYED"})
NAMING_FILTERS = frozenset({"SUBTREE", "MAILBOXES"})
FILTERS = SELECTED_FILTERS | NAMING_FILTERS | {"INBOXES", "PERSONAL", "SUBSCRIBED"}


@dataclass(frozen=True, slots=True)
class Notify:
    """NOTIFY's arguments; no groups for NONE. `unknown` are events that there are not."""

    status: bool = False
    groups: tuple[Group, ...] = ()
    unknown: tuple[str, ...] = ()


def notify_arguments(cur: Cursor) -> Notify:
    # notify = "NOTIFY" SP ("SET" [SP "STATUS"] SP event-group *(SP event-group) / "NONE")
    if cur.skip(b"NONE"):
        return Notify()
    cur.expect(b"SET")
    status = cur.skip(b" STATUS")
    groups: list[Group] = []
    unknown: list[str] = []
    while not groups or cur.peek() == b" ":
        sp(cur)
        start = cur.position
        groups.append(event_group(cur, unknown))
        if sum(group.filter in SELECTED_FILTERS for group in groups) > 1:
            raise cur.expected("SELECTED or SELECTED-DELAYED once", start)
        if len(groups) > MAX_GROUPS:
            raise cur.expected(f"at most {MAX_GROUPS} event groups", start)
    return Notify(status, tuple(groups), tuple(unknown))


def event_group(cur: Cursor, unknown: list[str]) -> Group:
    # event-group = "(" filter-mailboxes SP events ")"
    cur.expect(b"(")
    start = cur.position
    which = cur.match(_WORD, "a mailbox filter")[0].decode().upper()
    if which not in FILTERS:
        raise cur.expected("a mailbox filter: " + ", ".join(sorted(FILTERS)), start)
    names: tuple[str, ...] = ()
    if which in NAMING_FILTERS:
        sp(cur)
        names = one_or_more_mailbox(cur)
    sp(cur)
    start = cur.position
    found, items = events(cur, unknown, selected=which in SELECTED_FILTERS)
    cur.expect(b")")
    pair = {"MESSAGENEW", "MESSAGEEXPUNGE"}
    if (found & (pair | {"FLAGCHANGE"})) and not found >= pair:
        raise cur.expected("MessageNew with MessageExpunge", start)
    if which in SELECTED_FILTERS and not found <= MESSAGE_EVENTS:
        raise cur.expected("events of messages alone for the selected mailbox", start)
    return Group(which, frozenset(map(normal, names)), found, items)


def one_or_more_mailbox(cur: Cursor) -> tuple[str, ...]:
    # one-or-more-mailbox = mailbox / "(" mailbox *(SP mailbox) ")"
    return parenthesized(cur, mailbox, MAX_NAMES, "mailboxes") if cur.peek() == b"(" else (mailbox(cur),)


def events(cur: Cursor, unknown: list[str], *, selected: bool) -> tuple[frozenset[str], tuple[FetchItem, ...]]:
    # events = "(" event *(SP event) ")" / "NONE"
    if cur.skip(b"NONE"):
        return frozenset(), ()
    cur.expect(b"(")
    found: set[str] = set()
    items: tuple[FetchItem, ...] = ()
    while True:
        word = cur.match(_WORD, "an event")[0].decode()
        if word.upper() in EVENTS:
            found.add(word.upper())
        else:
            unknown.append(word)
        if word.upper() == "MESSAGENEW" and cur.peek(2) == b" (":
            if not selected:
                raise cur.expected("data items with the selected mailbox alone")
            items = message_items(cur)
        if cur.skip(b")"):
            return frozenset(found), items
        sp(cur)


def message_items(cur: Cursor) -> tuple[FetchItem, ...]:
    # SP "(" fetch-att *(SP fetch-att) ")"
    from mailstack.imap.features import FETCH_ITEMS

    rules = {name: row.rule for name, row in FETCH_ITEMS.items()}
    cur.expect(b" (")
    items = [fetch_att(cur, rules)]
    while cur.skip(b" "):
        items.append(fetch_att(cur, rules))
        if len(items) > MAX_ITEMS:
            raise cur.expected(f"at most {MAX_ITEMS} data items")
    cur.expect(b")")
    return tuple(items)


async def notify(session: ImapSession, asked: Notify) -> Reply:
    if asked.unknown:
        return replies.no("events that there are not", f"BADEVENT ({' '.join(EVENTS.values())})")
    if session.notifier is None:
        await session.flush(allow_expunge=True)  # what came before belongs to what was asked before
    else:
        await session.notifier.tell(allow_expunge=True)
    session.stop_notifying()
    if not asked.groups:
        return replies.ok("NOTIFY completed")
    notifier = Notifier(session, asked.groups)
    try:
        await notifier.start(status=asked.status)
    except Overflow:
        notifier.close()
        return replies.no("too much to be told of", "NOTIFICATIONOVERFLOW")
    session.notifier = notifier
    return replies.ok("NOTIFY completed")


FEATURE = Feature(
    commands=(command(b"NOTIFY", AUTHENTICATED, notify_arguments, notify),),
    capabilities=(Capability("NOTIFY", AUTHENTICATED),),
)
