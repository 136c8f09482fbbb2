"""LIST and LSUB, with selection and return options (RFC 9051 §6.3.9; RFC 5258, RFC 5819, RFC 6154)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mailstack.imap import replies
from mailstack.imap.core.mailboxes import find_status, status_items, status_response
from mailstack.imap.ext.rfc5464_metadata import entries
from mailstack.imap.ext.rfc8440_list_myrights import tell_rights
from mailstack.imap.ext.rfc9590_list_metadata import tell_metadata
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.wire import encode
from mailstack.imap.wire.cursor import Cursor, list_mailbox, mailbox, sp
from mailstack.ports import MailboxEntry

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

DELIMITER = "/"
MAX_PATTERN = 10_000
"""Characters of a pattern that are looked at; a name that is longer than them does not match."""
NAMES_A_TURN = 500
"""Names that are compared with a pattern before others have their turn."""
MAX_PATTERNS = 100
"""Patterns of one LIST."""
_WORD = re.compile(rb"[A-Za-z-]+")
SELECTIONS = frozenset({b"SUBSCRIBED", b"REMOTE", b"RECURSIVEMATCH", b"SPECIAL-USE"})
RETURNS = frozenset({b"SUBSCRIBED", b"CHILDREN", b"SPECIAL-USE", b"STATUS", b"METADATA", b"MYRIGHTS"})


@dataclass(frozen=True, slots=True)
class List:
    """LIST's arguments. `extended`: options were given, so attributes of RFC 5258 may be shown."""

    reference: str
    patterns: tuple[str, ...]
    selections: frozenset[bytes] = frozenset()
    returns: frozenset[bytes] = frozenset()
    status: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()
    extended: bool = False


@dataclass(slots=True)
class Found:
    """One name that is listed."""

    name: str
    attributes: list[str] = field(default_factory=list)
    childinfo: bool = False
    selectable: bool = False


def list_arguments(cur: Cursor) -> List:
    # list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]
    selections, extended = frozenset[bytes](), False
    if cur.peek() == b"(":
        selections, extended = _options(cur, SELECTIONS)[0], True
        sp(cur)
    reference = mailbox(cur)
    sp(cur)
    if cur.skip(b"("):
        patterns, extended = [list_mailbox(cur)], True
        while cur.skip(b" "):
            patterns.append(list_mailbox(cur))
            if len(patterns) > MAX_PATTERNS:
                raise cur.expected("fewer patterns")
        cur.expect(b")")
    else:
        patterns = [list_mailbox(cur)]
    returns, details = frozenset[bytes](), dict[bytes, tuple[str, ...]]()
    if cur.skip(b" RETURN "):
        (returns, details), extended = _options(cur, RETURNS), True
    if b"RECURSIVEMATCH" in selections and b"SUBSCRIBED" not in selections:
        raise cur.expected("SUBSCRIBED beside RECURSIVEMATCH")
    status, metadata = details.get(b"STATUS", ()), details.get(b"METADATA", ())
    return List(reference, tuple(patterns), selections, returns, status, metadata, extended)


DETAILS = {b"STATUS": status_items, b"METADATA": entries}
"""Options that have arguments, and their rules."""


def _options(cur: Cursor, known: frozenset[bytes]) -> tuple[frozenset[bytes], dict[bytes, tuple[str, ...]]]:
    cur.expect(b"(")
    options: set[bytes] = set()
    details: dict[bytes, tuple[str, ...]] = {}
    while not cur.skip(b")"):
        start = cur.position
        word = cur.match(_WORD, "a LIST option")[0].upper()
        if word not in known:
            raise cur.expected("a LIST option: " + ", ".join(sorted(name.decode() for name in known)), start)
        options.add(word)
        if word in DETAILS:
            sp(cur)
            details[word] = DETAILS[word](cur)
        cur.skip(b" ")
    return frozenset(options), details


def lsub_arguments(cur: Cursor) -> tuple[str, str]:
    # lsub = "LSUB" SP mailbox SP list-mailbox   ; RFC 3501
    reference = mailbox(cur)
    sp(cur)
    return reference, list_mailbox(cur)


class Pattern:
    """A name with "*" and "%" (RFC 9051 §6.3.9). Matching takes some steps for each character of the name, whatever
    the wildcards: all positions of the pattern that are possible so far are the bits of one number."""

    def __init__(self, reference: str, pattern: str) -> None:
        joined = reference + pattern
        if joined[:5].upper() == "INBOX" and joined[5:6] in ("", DELIMITER, "*", "%"):
            joined = "INBOX" + joined[5:]  # in any case of letters (RFC 9051 §5.1)
        tokens = re.sub(r"[*%]*\*[*%]*", "*", re.sub("%+", "%", joined))
        self._literals = sum(token not in "*%" for token in tokens)
        self._end = 1 << len(tokens)
        self._at: dict[str, int] = {}
        for position, token in enumerate(tokens[:MAX_PATTERN]):
            self._at[token] = self._at.get(token, 0) | 1 << position
        self._any = self._at.pop("*", 0)
        self._wild = self._any | self._at.pop("%", 0)

    def matches(self, name: str) -> bool:
        if self._literals > len(name):
            return False
        at, wild, anything = self._at, self._wild, self._any
        reach = 1 | (wild & 1) << 1
        for char in name:
            reach = (reach & at.get(char, 0)) << 1 | (reach & (anything if char == DELIMITER else wild))
            if not reach:
                return False
            reach |= (reach & wild) << 1  # a wildcard may stand for nothing; two never stand together
        return bool(reach & self._end)


async def list_(session: ImapSession, asked: List) -> Reply:
    if not asked.extended and asked.patterns == ("",):
        session.say(b'* LIST (\\Noselect) "/" ""\r\n')
        return replies.ok("LIST completed")
    mailboxes = await session.store.mailboxes()
    subscribed = set(await session.store.subscriptions())
    patterns = [Pattern(asked.reference, pattern) for pattern in asked.patterns]
    for found in await _choose(session, asked, mailboxes, subscribed, patterns):
        line = response(session, b"LIST", found.attributes, found.name)
        if found.childinfo:
            line = line[:-2] + b' ("CHILDINFO" ("SUBSCRIBED"))\r\n'
        await session.say_much(line)
        if b"MYRIGHTS" in asked.returns and found.selectable and not found.childinfo:
            await tell_rights(session, found.name)
        if asked.metadata and found.selectable:
            await tell_metadata(session, found.name, asked.metadata)
        if asked.status and found.selectable:
            status = await find_status(session, found.name, asked.status)
            await session.say_much(status_response(session, found.name, asked.status, status))
    return replies.ok("LIST completed")


async def _choose(
    session: ImapSession, asked: List, entries: Iterable[MailboxEntry], subscribed: set[str], patterns: list[Pattern]
) -> list[Found]:
    existing = {entry.name: entry for entry in entries}
    names = set(existing)
    if b"SUBSCRIBED" in asked.selections:
        names = subscribed | _ancestors(subscribed) if b"RECURSIVEMATCH" in asked.selections else set(subscribed)
    parents = _ancestors(existing)
    chosen: list[Found] = []
    turn = max(NAMES_A_TURN // max(len(patterns), 1), 1)
    for number, name in enumerate(sorted(names, key=lambda name: (name != "INBOX", name)), 1):
        if number % turn == 0:
            await session.connection.drain()
        if not any(pattern.matches(name) for pattern in patterns):
            continue
        entry = existing.get(name)
        if b"SPECIAL-USE" in asked.selections and not (entry and entry.special_use):
            continue
        found = Found(name, selectable=entry is not None and entry.selectable)
        found.attributes = _attributes(entry, name in parents)
        if name in subscribed and (b"SUBSCRIBED" in asked.selections | asked.returns):
            found.attributes.append("\\Subscribed")
        found.childinfo = b"RECURSIVEMATCH" in asked.selections and name not in subscribed
        chosen.append(found)
    return chosen


def attributes_of(entries: Iterable[MailboxEntry], subscribed: Collection[str], name: str) -> list[str]:
    """The attributes of one name, which may be that of no mailbox."""
    existing = {entry.name: entry for entry in entries}
    found = _attributes(existing.get(name), name in _ancestors(existing))
    return [*found, "\\Subscribed"] if name in subscribed else found


def _attributes(entry: MailboxEntry | None, has_children: bool) -> list[str]:
    attributes = ["\\HasChildren" if has_children else "\\HasNoChildren"]
    if entry is None:
        return ["\\NonExistent", *attributes]
    if not entry.selectable:
        attributes.insert(0, "\\Noselect")
    if entry.special_use:
        attributes.append(entry.special_use)
    return attributes


def _ancestors(names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        parts = name.split(DELIMITER)
        found.update(DELIMITER.join(parts[:depth]) for depth in range(1, len(parts)))
    return found


async def lsub(session: ImapSession, asked: tuple[str, str]) -> Reply:
    reference, wanted = asked
    pattern = Pattern(reference, wanted)
    subscribed = set(await session.store.subscriptions())
    for name in sorted(subscribed | _ancestors(subscribed)):
        if not pattern.matches(name):
            continue
        if name in subscribed:
            session.say(response(session, b"LSUB", [], name))
        elif wanted.endswith("%"):  # RFC 3501 §6.3.9
            session.say(response(session, b"LSUB", ["\\Noselect"], name))
    return replies.ok("LSUB completed")


def response(session: ImapSession, kind: bytes, attributes: list[str], name: str) -> bytes:
    """One LIST or LSUB response."""
    shown = encode.mailbox(name, utf8=session.utf8)
    return b'* %s (%s) "/" %s\r\n' % (kind, " ".join(attributes).encode(), shown)


FEATURE = Feature(
    commands=(
        command(b"LIST", AUTHENTICATED, list_arguments, list_),
        command(b"LSUB", AUTHENTICATED, lsub_arguments, lsub),
    ),
    capabilities=(
        Capability("CHILDREN"),
        Capability("LIST-EXTENDED"),
        Capability("LIST-STATUS"),
        Capability("SPECIAL-USE"),
    ),
)
