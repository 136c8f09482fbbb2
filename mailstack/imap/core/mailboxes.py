"""SELECT, EXAMINE, CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, STATUS (RFC 9051 §6.3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mailstack.acl import WRITES
from mailstack.errors import Problem, Refused
from mailstack.imap import replies
from mailstack.imap.ext.rfc9585_inprogress import working
from mailstack.imap.foreseen import foreseen
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature, Modifiers, StatusItem, command, modifiers
from mailstack.imap.replies import Reply
from mailstack.imap.view import View, all_flags, permanent_flags
from mailstack.imap.wire import encode
from mailstack.imap.wire.cursor import Cursor, atom, mailbox, sp
from mailstack.mail.special_use import SPECIAL_USES
from mailstack.ports import Flag, MailboxStatus

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

COLUMNS_AT_ONCE = 1000
"""Messages whose flags are looked at in one piece."""
NEEDS_SIZES = frozenset({"SIZE", "DELETED-STORAGE"})
"""STATUS items for which messages have to be measured."""
DELIMITER = "/"


@dataclass(frozen=True, slots=True)
class Create:
    name: str
    special_use: str


@dataclass(frozen=True, slots=True)
class Select:
    name: str
    parameters: Modifiers


def create_arguments(cur: Cursor) -> Create:
    # create = "CREATE" SP mailbox [create-params]   ; RFC 6154 §3: "(USE (\\Drafts))"
    name = mailbox(cur)
    special_use = ""
    if cur.skip(b" (USE ("):
        start = cur.position
        cur.expect(b"\\")
        attribute = atom(cur)
        if attribute.upper() not in SPECIAL_USES:
            raise cur.expected("a special-use attribute", start)
        special_use = "\\" + attribute.decode().capitalize()
        cur.expect(b"))")
    return Create(name, special_use)


def two_mailboxes(cur: Cursor) -> tuple[str, str]:
    first = mailbox(cur)
    sp(cur)
    return first, mailbox(cur)


def status_arguments(cur: Cursor) -> tuple[str, tuple[str, ...]]:
    # status = "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")"
    name = mailbox(cur)
    sp(cur)
    return name, status_items(cur)


def status_items(cur: Cursor) -> tuple[str, ...]:
    from mailstack.imap.features import STATUS_ITEMS

    cur.expect(b"(")
    items: list[str] = []
    while True:
        start = cur.position
        word = atom(cur).decode().upper()
        if word not in STATUS_ITEMS:
            raise cur.expected("a status item: " + ", ".join(STATUS_ITEMS), start)
        items.append(word)
        if cur.skip(b")"):
            return tuple(items)
        sp(cur)


def select_arguments(cur: Cursor) -> Select:
    # select = "SELECT" SP mailbox [select-params]   ; RFC 4466 §6: SP "(" select-param *(SP select-param) ")"
    from mailstack.imap.features import SELECT_PARAMETERS

    name = mailbox(cur)
    return Select(name, modifiers(cur, SELECT_PARAMETERS, "a select parameter") if cur.skip(b" (") else {})


async def select(session: ImapSession, asked: Select, *, read_only: bool) -> Reply:
    from mailstack.imap.features import SELECT_PARAMETERS

    parameters = [(SELECT_PARAMETERS[name], value) for name, value in asked.parameters.items()]
    for row, value in parameters:
        row.begin(session, value)
    await open_mailbox(session, asked.name, read_only=read_only)
    for row, value in parameters:
        if row.act is not None:
            await row.act(session, value)
    command_name = "EXAMINE" if read_only else "SELECT"
    return replies.ok(f"{command_name} completed", "READ-ONLY" if session.view.read_only else "READ-WRITE")


async def open_mailbox(session: ImapSession, name: str, *, read_only: bool) -> None:
    """Close what was selected, and say what every SELECT says. Raises: Refused."""
    was_selected = session.state.name == "SELECTED"
    session.deselect()
    if was_selected:
        session.say(replies.ok("the mailbox that was selected is closed", "CLOSED").line(b"*"))
    view = View(session.wake, read_only=read_only, uid_only=session.uid_only)
    with working(session):
        opened = await session.store.open(name, view)
    view.read_only = read_only or not opened.rights & WRITES
    view.begin(opened)
    opened.foresee(foreseen(utf8=session.utf8))
    session.select(view)
    session.say(b"* %d EXISTS\r\n" % len(view.uids))
    if not session.rev2:
        session.say(b"* %d RECENT\r\n" % len(view.recent))
        unseen = 0 if view.uid_only else first_unseen(view)
        if unseen:
            session.say(replies.ok("first unseen message", f"UNSEEN {unseen}").line(b"*"))
    session.say(b"* FLAGS %s\r\n" % all_flags(opened))
    session.say(replies.ok("flags that can be set", permanent_flags(view)).line(b"*"))
    session.say(replies.ok("UIDs are valid", f"UIDVALIDITY {opened.uid_validity}").line(b"*"))
    session.say(replies.ok("the next UID", f"UIDNEXT {opened.uid_next}").line(b"*"))
    session.say(replies.ok("the highest mod-sequence", f"HIGHESTMODSEQ {opened.highest_modseq}").line(b"*"))
    session.say(replies.ok("the mailbox's id", f"MAILBOXID ({opened.mailbox_id})").line(b"*"))
    session.say(replies.ok("how URLs may be authorised", "URLMECH INTERNAL").line(b"*"))  # RFC 4467 §8
    if session.rev2:
        session.say(b'* LIST () "/" %s\r\n' % encode.mailbox(opened.name, utf8=True))


def first_unseen(view: View) -> int:
    """The first unseen message's number, 0 if there is none (RFC 3501 §7.1)."""
    seen = int(Flag.SEEN)
    for start in range(0, len(view.uids), COLUMNS_AT_ONCE):
        flags = view.mailbox.columns(view.uids[start : start + COLUMNS_AT_ONCE]).flags
        for seq, bits in enumerate(flags, start + 1):
            if not bits & seen:
                return seq
    return 0


async def create(session: ImapSession, asked: Create) -> Reply:
    name = asked.name.rstrip(DELIMITER)
    if name.upper() == "INBOX":
        raise Refused(Problem.MAILBOX_EXISTS, name)
    mailbox_id = await session.store.create(name, asked.special_use)
    return replies.ok("CREATE completed", f"MAILBOXID ({mailbox_id})")


async def delete(session: ImapSession, name: str) -> Reply:
    await session.store.delete(name)
    return replies.ok("DELETE completed")


async def rename(session: ImapSession, names: tuple[str, str]) -> Reply:
    old, new = names
    await session.store.rename(old, new.rstrip(DELIMITER))
    return replies.ok("RENAME completed")


async def subscribe(session: ImapSession, name: str) -> Reply:
    await session.store.subscribe(name)
    return replies.ok("SUBSCRIBE completed")


async def unsubscribe(session: ImapSession, name: str) -> Reply:
    await session.store.unsubscribe(name)
    return replies.ok("UNSUBSCRIBE completed")


async def status(session: ImapSession, asked: tuple[str, tuple[str, ...]]) -> Reply:
    name, items = asked
    session.say(status_response(session, name, items, await find_status(session, name, items)))
    return replies.ok("STATUS completed")


async def find_status(session: ImapSession, name: str, items: tuple[str, ...]) -> MailboxStatus:
    """What STATUS with these items has to know. Raises: Refused."""
    with working(session):
        return await session.store.status(name, size=not NEEDS_SIZES.isdisjoint(items))


def status_response(session: ImapSession, name: str, items: tuple[str, ...], found: MailboxStatus) -> bytes:
    """One STATUS response."""
    from mailstack.imap.features import STATUS_ITEMS

    shown = " ".join(f"{item} {STATUS_ITEMS[item].value(session, found)}" for item in items)
    return b"* STATUS %s (%s)\r\n" % (encode.mailbox(name, utf8=session.utf8), shown.encode())


def append_limit(session: ImapSession, _: MailboxStatus) -> str:
    """RFC 7889 §3.2: the same for every mailbox."""
    return str(session.settings.max_message_size)


FEATURE = Feature(
    commands=(
        command(b"SELECT", AUTHENTICATED, select_arguments, partial(select, read_only=False)),
        command(b"EXAMINE", AUTHENTICATED, select_arguments, partial(select, read_only=True)),
        command(b"CREATE", AUTHENTICATED, create_arguments, create),
        command(b"DELETE", AUTHENTICATED, mailbox, delete),
        command(b"RENAME", AUTHENTICATED, two_mailboxes, rename),
        command(b"SUBSCRIBE", AUTHENTICATED, mailbox, subscribe),
        command(b"UNSUBSCRIBE", AUTHENTICATED, mailbox, unsubscribe),
        command(b"STATUS", AUTHENTICATED, status_arguments, status),
    ),
    capabilities=(
        Capability("CREATE-SPECIAL-USE", AUTHENTICATED),
        Capability("STATUS=SIZE", AUTHENTICATED),
    ),
    status_items=(
        StatusItem("MESSAGES", lambda _, found: str(found.messages)),
        StatusItem("RECENT", lambda _, found: str(found.recent)),
        StatusItem("UIDNEXT", lambda _, found: str(found.uid_next)),
        StatusItem("UIDVALIDITY", lambda _, found: str(found.uid_validity)),
        StatusItem("UNSEEN", lambda _, found: str(found.unseen)),
        StatusItem("DELETED", lambda _, found: str(found.deleted)),
        StatusItem("SIZE", lambda _, found: str(found.size)),
        StatusItem("MAILBOXID", lambda _, found: f"({found.mailbox_id})"),
        StatusItem("APPENDLIMIT", append_limit),
    ),
)
