"""The commands of POP3, a row each (RFC 1939 §5–§7, RFC 2449, RFC 2595 §4, RFC 5034)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from mailstack.auth import login, mechanisms, sasl
from mailstack.auth.login import Attempt, Cancelled
from mailstack.errors import BadSyntax, Problem, Refused
from mailstack.pop3 import replies
from mailstack.pop3.session import Pop3Session, State
from mailstack.pop3.wire.framing import DotStuffing, stuffed
from mailstack.ports import MEMORY_LIMIT, Octets

MAX_ARGUMENT = 1024
"""Characters of a user name or password."""
WINDOW = 64 * 1024
"""Octets whose lines TOP counts at once."""

BEFORE = frozenset({State.AUTHORIZATION})
AFTER = frozenset({State.TRANSACTION})
ALWAYS = BEFORE | AFTER


@dataclass(frozen=True, slots=True)
class Row:
    """One command: when it is legal, what its argument is, and what it does."""

    keyword: str
    states: frozenset[State]
    argument: Callable[[str], Any]
    act: Callable[[Pop3Session, Any], Awaitable[None]]


# --- arguments


def nothing(text: str) -> None:
    if text.strip():
        raise BadSyntax("no argument")


def anything(text: str) -> str:
    if not text or len(text) > MAX_ARGUMENT:
        raise BadSyntax(f"an argument of 1 to {MAX_ARGUMENT} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadSyntax("text in UTF-8") from None
    return text


def number(text: str) -> int:
    digits = text.strip()
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 10):
        raise BadSyntax("a message number")
    return int(digits)


def optional_number(text: str) -> int | None:
    return number(text) if text.strip() else None


def two_numbers(text: str) -> tuple[int, int]:
    words = text.split()
    if len(words) != 2:
        raise BadSyntax("a message number and a number of lines")
    return number(words[0]), number(words[1])


def mechanism_and_response(text: str) -> tuple[str, bytes | None]:
    words = text.split()
    if len(words) > 2:
        raise BadSyntax("a mechanism and an initial response")
    name = words[0].upper() if words else ""
    return name, words[1].encode("utf-8", "surrogateescape") if len(words) == 2 else None


# --- AUTHORIZATION


async def capa(session: Pop3Session, _: None) -> None:
    lines = ["TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "EXPIRE NEVER", "IMPLEMENTATION mailstack"]
    if may_log_in(session) or session.state is State.TRANSACTION:
        lines += login_lines(session)
    if session.settings.tls_available and session.connection.tls is None and session.state is State.AUTHORIZATION:
        lines.append("STLS")
    session.say(replies.ok("capability list follows") + "".join(f"{line}\r\n" for line in lines).encode() + b".\r\n")


def login_lines(session: Pop3Session) -> list[str]:
    """How one may log in."""
    enabled, accounts = session.settings.mechanisms, session.resources.accounts
    lines = ["USER"] if mechanisms.takes_passwords(enabled, accounts) else []
    names = [mechanism.name for mechanism in mechanisms.offered(enabled, accounts, session.connection)]
    return [*lines, " ".join(["SASL", *names])] if names else lines


def may_log_in(session: Pop3Session) -> bool:
    return session.settings.allow_plaintext_auth or session.connection.tls is not None


def demand_tls(session: Pop3Session) -> bool:
    """Say so, when a password would come in plain text."""
    if may_log_in(session):
        return False
    session.say(replies.err("use STLS first: no password without TLS", "SYS/PERM"))
    return True


async def user(session: Pop3Session, name: str) -> None:
    if demand_tls(session):
        return
    if not mechanisms.takes_passwords(session.settings.mechanisms, session.resources.accounts):
        session.say(replies.err("USER is not offered here: see SASL in CAPA", "SYS/PERM"))
        return
    session.user = name
    session.say(replies.ok("send PASS"))


async def password(session: Pop3Session, text: str) -> None:
    if demand_tls(session):
        return
    if not session.user:
        session.say(replies.err("USER first"))
        return
    name, session.user = session.user, ""
    attempt = Attempt("USER", session.connection.peer)
    credentials = sasl.Credentials(name, sasl.Secret(text))
    await session.log_in(login.password(credentials, session.resources.accounts, attempt), attempt)


async def auth(session: Pop3Session, asked: tuple[str, bytes | None]) -> None:
    name, initial = asked
    enabled, accounts, connection = session.settings.mechanisms, session.resources.accounts, session.connection
    if not name:
        among = mechanisms.offered(enabled, accounts, connection) if may_log_in(session) else ()
        names = "".join(f"{mechanism.name}\r\n" for mechanism in among)
        session.say(replies.ok("mechanisms follow") + names.encode() + b".\r\n")
        return
    if name in mechanisms.NAMES and demand_tls(session):
        return
    exchange = login.begin(name, enabled, accounts, connection)
    if exchange is None:
        session.say(replies.err(f"no mechanism {name[:20]!a}"))
        return

    async def ask(challenge: bytes) -> bytes:
        session.say(b"+ %s\r\n" % challenge)
        return await session.line()

    attempt = Attempt(name, connection.peer)
    try:
        await session.log_in(login.converse(exchange, initial, ask, accounts, connection, attempt), attempt)
    except Cancelled:
        session.say(replies.err("authentication cancelled"))


async def stls(session: Pop3Session, _: None) -> None:
    if not session.settings.tls_available or session.connection.tls is not None:
        session.say(replies.err("TLS is not available here" if session.connection.tls is None else "TLS is active"))
        return
    session.say(replies.ok("begin TLS"))
    await session.start_tls()


async def quit_(session: Pop3Session, _: None) -> None:
    """UPDATE (RFC 1939 §6): only here are messages removed."""
    deleted = session.maildrop.deleted
    session.state = State.ENDED
    if deleted:
        try:
            await session.maildrop.opened.expunge(sorted(deleted), session.maildrop)
        except Refused as refused:
            session.log.warning("deletion failed", reason=str(refused))
            session.say(replies.err("some deleted messages were not removed", "SYS/TEMP"))
            return
    session.say(replies.ok(f"{len(deleted)} messages removed" if deleted else "bye"))


# --- TRANSACTION


async def stat(session: Pop3Session, _: None) -> None:
    present = session.maildrop.present()
    session.say(replies.ok(f"{len(present)} {sum(session.maildrop.size(uid) for _, uid in present)}"))


async def list_(session: Pop3Session, wanted: int | None) -> None:
    drop = session.maildrop
    await listing(session, wanted, lambda uid: str(drop.size(uid)))


async def uidl(session: Pop3Session, wanted: int | None) -> None:
    await listing(session, wanted, partial(unique_id, session))


def unique_id(session: Pop3Session, uid: int) -> str:
    """IMAP's UID and UIDVALIDITY, in the form of Dovecot's default (`%08Xu%08Xv`), so that a client
    that was served by Dovecot from this Maildir fetches nothing again."""
    return f"{uid:08x}{session.maildrop.opened.uid_validity:08x}"


async def listing(session: Pop3Session, wanted: int | None, text: Callable[[int], str]) -> None:
    """LIST and UIDL: one line, or all of them."""
    if wanted is not None:
        session.say(replies.ok(f"{wanted} {text(session.maildrop.uid(wanted))}"))
        return
    lines = [f"{number} {text(uid)}\r\n" for number, uid in session.maildrop.present()]
    session.say(replies.ok(f"{len(lines)} messages") + "".join(lines).encode() + b".\r\n")


async def retr(session: Pop3Session, wanted: int) -> None:
    await send(session, session.maildrop.uid(wanted), len)


async def top(session: Pop3Session, asked: tuple[int, int]) -> None:
    wanted, lines = asked
    await send(session, session.maildrop.uid(wanted), partial(top_end, lines=lines))


async def send(session: Pop3Session, uid: int, end: Callable[[Octets], int]) -> None:
    """The message up to where `end` says; in pieces, if that is much."""
    mailbox = session.maildrop.opened
    (reply,) = await mailbox.examine([uid], partial(beginning, end=end))
    if reply is None:
        raise Refused(Problem.NO_SUCH_MESSAGE, f"UID {uid} was removed meanwhile")
    if isinstance(reply, bytes):
        session.say(reply)
        return
    session.say(replies.ok(f"{reply} octets"))
    stuffing, position = DotStuffing(), 0
    while position < reply:
        piece = await mailbox.read(uid, position, min(position + MEMORY_LIMIT, reply))
        if not piece:
            # The response is under way; cutting it is the only way to say that it is not whole.
            session.log.warning("message vanished while it was sent", uid=uid)
            session.state = State.ENDED
            return
        position += len(piece)
        session.say(stuffing.stuff(piece))
        await session.connection.drain()
    session.say(stuffing.end())


def beginning(octets: Octets, end: Callable[[Octets], int]) -> bytes | int:
    """In a worker: the whole reply if it is small, the size of a large one."""
    size = end(octets)
    if size > MEMORY_LIMIT:
        return size
    return replies.ok(f"{size} octets") + stuffed(octets[0:size])


def top_end(octets: Octets, lines: int) -> int:
    """Where the header, the blank line and so many lines of the body end."""
    if octets[0:2] == b"\r\n":
        position = 2
    else:
        blank = octets.find(b"\r\n\r\n")
        if blank < 0:
            return len(octets)
        position = blank + 4
    # Whole windows are counted over: somebody may ask for a million lines.
    while lines:
        within = octets.count(b"\n", position, position + WINDOW)
        if position + WINDOW >= len(octets) or within >= lines:
            break
        lines -= within
        position += WINDOW
    for _ in range(lines):
        end = octets.find(b"\n", position)
        if end < 0:
            return len(octets)
        position = end + 1
    return position


async def dele(session: Pop3Session, wanted: int) -> None:
    session.maildrop.deleted.add(session.maildrop.uid(wanted))
    session.say(replies.ok("marked; it is removed at QUIT"))


async def rset(session: Pop3Session, _: None) -> None:
    session.maildrop.deleted.clear()
    session.say(replies.ok("no message is marked"))


async def noop(session: Pop3Session, _: None) -> None:
    session.say(replies.ok(""))


TABLE: dict[str, Row] = {
    row.keyword: row
    for row in (
        Row("CAPA", ALWAYS, nothing, capa),
        Row("USER", BEFORE, anything, user),
        Row("PASS", BEFORE, anything, password),
        Row("AUTH", BEFORE, mechanism_and_response, auth),
        Row("STLS", BEFORE, nothing, stls),
        Row("QUIT", ALWAYS, nothing, quit_),
        Row("STAT", AFTER, nothing, stat),
        Row("LIST", AFTER, optional_number, list_),
        Row("UIDL", AFTER, optional_number, uidl),
        Row("RETR", AFTER, number, retr),
        Row("TOP", AFTER, two_numbers, top),
        Row("DELE", AFTER, number, dele),
        Row("RSET", AFTER, nothing, rset),
        Row("NOOP", AFTER, nothing, noop),
    )
}
