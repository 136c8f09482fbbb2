"""POP3 sessions over the fakes: what is sent, what is deleted and when, and who may log in."""

from __future__ import annotations

import base64
from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from mailstack.config.sections import Retention, Utf8Headers
from mailstack.errors import Problem, Refused
from mailstack.pop3.ext.rfc1939_top import top_end
from mailstack.pop3.logins import LoginTimes
from mailstack.pop3.maildrop import AHEAD_MESSAGES, AHEAD_OCTETS
from mailstack.pop3.registry import State
from mailstack.pop3.session import MAX_UNSENT, TABLE, Pop3Session
from mailstack.pop3.settings import Pop3Resources, Pop3Settings
from mailstack.ports import MEMORY_LIMIT, AccountName, AccountStore, MailboxListener
from mailstack.testing.accounts import MemoryAccounts
from mailstack.testing.clock import ManualClock
from mailstack.testing.connection import MemoryConnection
from mailstack.testing.counters import MemoryCounters
from mailstack.testing.log import RecordingLog
from mailstack.testing.store import MemoryMailbox, MemoryStore

ALICE, BOB = "alice@example.org", "bob@example.org"
PLAIN = base64.b64encode(f"\0{ALICE}\0secret".encode())


class World:
    """One account, and connections to it."""

    def __init__(self, *messages: bytes, **changes: object) -> None:
        self.store, self.log, self.counters = MemoryStore(), RecordingLog(), MemoryCounters()
        self.accounts = MemoryAccounts({ALICE: "secret", BOB: "secret"})
        self.clock, self.logins = ManualClock(), LoginTimes()
        self.settings = Pop3Settings("mx.example.org", **{"allow_plaintext_auth": True, **changes})  # type: ignore[arg-type]
        for message in messages:
            self.inbox.insert(message)

    @property
    def inbox(self) -> MemoryMailbox:
        return self.store.box(ALICE)

    def connect(self) -> Client:
        return Client(self)

    def log_in(self) -> Client:
        client = self.connect()
        assert client.say(b"USER %s\r\nPASS secret\r\n" % ALICE.encode()).count(b"+OK") == 2
        return client


class Client:
    """The client's end of one connection."""

    def __init__(self, world: World) -> None:
        self.connection = MemoryConnection()
        resources = Pop3Resources(world.store, world.accounts, world.log, world.counters, world.clock, world.logins)
        self.session = Pop3Session(self.connection, resources, world.settings)
        self.over: list[object] = []
        Deferred.fromCoroutine(self.session.run()).addBoth(self.over.append)
        assert self.connection.take().startswith(b"+OK")

    def say(self, octets: bytes) -> bytes:
        self.connection.feed(octets)
        return self.connection.take()

    def status(self, command: bytes) -> bytes:
        """The status indicator of one command."""
        return self.say(command + b"\r\n").split(b" ")[0].rstrip(b"\r\n")


# --- what is sent

LARGE = b"Subject: large\r\n\r\n" + b".dots\r\n" * 60_000


@pytest.mark.parametrize(
    "message", [b"", b"a", b"Subject: x\r\n\r\n.\r\n..\r\n", b"x\r\n" * 50_000, LARGE, LARGE + b"."]
)
def test_a_message_comes_as_it_is(message: bytes) -> None:
    status, _, body = World(message).log_in().say(b"RETR 1\r\n").partition(b"\r\n")
    assert status == b"+OK %d octets" % len(message)
    assert body.endswith(b"\r\n.\r\n") or body == b".\r\n"
    received = (b"\r\n" + body).replace(b"\r\n..", b"\r\n.")[2:-3]
    assert received == message or received == message + b"\r\n"


@pytest.mark.parametrize("extra", [-1, 0, 1, 2])
@pytest.mark.parametrize("line", [b"\r\n.", b"\r\n", b"."])
def test_a_dot_at_the_border_of_two_pieces(extra: int, line: bytes) -> None:
    head = b"x" * (MEMORY_LIMIT - len(line) + extra)
    message = head + line + b"." * 5 + b"\r\n" + b"y" * MEMORY_LIMIT + b"\r\n"
    body = World(message).log_in().say(b"RETR 1\r\n").partition(b"\r\n")[2]
    assert body == (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"


@pytest.mark.parametrize(
    ("message", "lines", "expected"),
    [
        (b"A: 1\r\nB: 2\r\n\r\none\r\ntwo\r\nthree", 0, b"A: 1\r\nB: 2\r\n\r\n"),
        (b"A: 1\r\nB: 2\r\n\r\none\r\ntwo\r\nthree", 2, b"A: 1\r\nB: 2\r\n\r\none\r\ntwo\r\n"),
        (b"A: 1\r\nB: 2\r\n\r\none\r\ntwo\r\nthree", 3, b"A: 1\r\nB: 2\r\n\r\none\r\ntwo\r\nthree\r\n"),
        (b"A: 1\r\nB: 2\r\n\r\none\r\ntwo\r\nthree", 4294967295, b"A: 1\r\nB: 2\r\n\r\none\r\ntwo\r\nthree\r\n"),
        (b"A: 1\r\n", 5, b"A: 1\r\n"),
        (b"\r\n.\r\nbody\r\n", 1, b"\r\n..\r\n"),
        (b"", 1, b""),
    ],
)
def test_top(message: bytes, lines: int, expected: bytes) -> None:
    status, _, body = World(message).log_in().say(b"TOP 1 %d\r\n" % lines).partition(b"\r\n")
    assert status.startswith(b"+OK")
    assert body == expected + b".\r\n"


@given(st.lists(st.sampled_from([b"\r\n", b"a", b"b" * 40_000, b"\r\n" * 40_000]), max_size=8), st.integers(0, 200_000))
def test_top_counts_lines(parts: list[bytes], lines: int) -> None:
    body = b"".join(parts)
    message = b"A: 1\r\n\r\n" + body
    expected = b"".join(body.splitlines(keepends=True)[:lines])
    assert message[: top_end(message, lines)] == b"A: 1\r\n\r\n" + expected


class Watched(MemoryMailbox):
    """Counts what `examine` gives back at once."""

    largest = 0

    async def examine(self, uids, fn):  # type: ignore[no-untyped-def]
        found = await super().examine(uids, fn)
        self.largest = max([self.largest, *(len(one) for one in found if isinstance(one, bytes))])
        return found


@pytest.mark.parametrize("command", [b"RETR 1", b"TOP 1 100000000"])
def test_a_large_message_is_never_in_memory_as_a_whole(command: bytes) -> None:
    world = World(LARGE * 5)
    world.inbox.__class__ = Watched
    client = world.log_in()
    assert len(client.say(command + b"\r\n")) > 5 * len(LARGE)
    assert world.inbox.largest == 0  # type: ignore[attr-defined]


def test_numbers_and_sizes() -> None:
    client = World(b"x" * 10, b"y" * 20, b"z" * 30).log_in()
    assert client.say(b"STAT\r\n") == b"+OK 3 60\r\n"
    assert client.say(b"LIST\r\n") == b"+OK 3 messages\r\n1 10\r\n2 20\r\n3 30\r\n.\r\n"
    assert client.say(b"LIST 2\r\n") == b"+OK 2 20\r\n"
    client.say(b"DELE 2\r\n")
    assert client.say(b"STAT\r\n") == b"+OK 2 40\r\n"
    assert client.say(b"LIST\r\n") == b"+OK 2 messages\r\n1 10\r\n3 30\r\n.\r\n"
    for command in (b"LIST 2", b"RETR 2", b"TOP 2 0", b"UIDL 2", b"DELE 2", b"LIST 4", b"LIST 0", b"RETR 99999999999"):
        assert client.status(command) == b"-ERR", command
    for command in (b"RETR", b"RETR x", b"RETR -1", b"TOP 1", b"TOP 1 x", b"TOP 1 2 3", b"STAT 1", "RETR ²".encode()):
        assert client.say(command + b"\r\n").startswith(b"-ERR expected "), command
    assert World().log_in().say(b"STAT\r\nLIST\r\nUIDL\r\n") == b"+OK 0 0\r\n" + b"+OK 0 messages\r\n.\r\n" * 2


def test_unique_ids_are_those_of_imap_and_stay() -> None:
    world = World(b"x", b"y", b"z")
    validity = world.inbox.uid_validity
    first = world.log_in()
    expected = [b"%08x%08x" % (uid, validity) for uid in world.inbox.uids]
    listed = first.say(b"UIDL\r\n").split(b"\r\n")[1:-2]
    assert listed == [b"%d %s" % pair for pair in enumerate(expected, 1)]
    assert first.say(b"UIDL 3\r\n") == b"+OK 3 %s\r\n" % expected[2]
    first.say(b"DELE 1\r\nQUIT\r\n")
    world.inbox.insert(b"new")
    again = world.log_in().say(b"UIDL\r\n").split(b"\r\n")[1:-2]
    assert again == [b"1 " + expected[1], b"2 " + expected[2], b"3 %08x%08x" % (4, validity)]


# --- what is deleted, and when


@pytest.mark.parametrize("end", ["close", "shut_down", "time_out", "too long", "errors"])
def test_only_quit_deletes(end: str) -> None:
    world = World(b"x", b"y")
    client = world.log_in()
    assert client.status(b"DELE 1") == b"+OK"
    assert len(world.inbox.uids) == 2
    if end == "too long":
        client.say(b"x" * 20_000)
    elif end == "errors":
        client.say(b"X\r\n" * 20)
    else:
        getattr(client.connection, end)()
    assert client.over
    assert len(world.inbox.uids) == 2
    assert world.inbox.listeners == []


def test_quit_deletes_what_is_marked_and_nothing_else() -> None:
    world = World(b"x", b"y", b"z")
    client = world.log_in()
    client.say(b"DELE 1\r\nRSET\r\nDELE 2\r\n")
    world.inbox.insert(b"came meanwhile")
    assert client.say(b"QUIT\r\n") == b"+OK 1 messages removed\r\n"
    assert client.over
    assert tuple(world.inbox.uids) == (1, 3, 4)


def test_a_deletion_that_fails_is_told() -> None:
    world = World(b"x")
    client = world.log_in()

    async def full(uids: Collection[int], by: MailboxListener | None) -> list[int]:
        raise Refused(Problem.STORE_UNAVAILABLE)

    world.inbox.expunge = full  # type: ignore[method-assign, assignment]
    assert client.say(b"DELE 1\r\nQUIT\r\n").endswith(b"-ERR [SYS/TEMP] some deleted messages were not removed\r\n")
    assert client.over


async def gone(world: World, uid: int) -> None:
    await world.inbox.expunge([uid], None)


def test_a_message_that_another_session_removed() -> None:
    world = World(b"x", b"y")
    client = world.log_in()
    Deferred.fromCoroutine(gone(world, 1))
    assert client.say(b"RETR 1\r\n") == client.say(b"TOP 1 0\r\n") == b"-ERR no such message\r\n"
    assert client.status(b"RETR 2") == b"+OK"
    assert client.say(b"DELE 1\r\nQUIT\r\n").count(b"+OK") == 2


# --- who may log in, and when


@pytest.mark.parametrize(
    ("octets", "ends"),
    [
        (b"AUTH PLAIN " + PLAIN + b"\r\n", [b"+OK"]),
        (b"AUTH plain\r\n" + PLAIN + b"\r\n", [b"+", b"+OK"]),
        (b"AUTH PLAIN =\r\n", [b"-ERR"]),
        (b"AUTH PLAIN\r\n*\r\n", [b"+", b"-ERR"]),
        (b"AUTH PLAIN !!!\r\n", [b"-ERR"]),
        (b"AUTH PLAIN\r\n!!!\r\n", [b"+", b"-ERR"]),
        (b"AUTH PLAIN " + base64.b64encode(b"\0alice@example.org\0wrong") + b"\r\n", [b"-ERR"]),
        (b"AUTH PLAIN " + base64.b64encode(b"bob\0alice@example.org\0secret") + b"\r\n", [b"-ERR"]),
        (b"AUTH X-OTHER\r\n", [b"-ERR"]),
        (b"AUTH PLAIN a b\r\n", [b"-ERR"]),
        (b"PASS secret\r\n", [b"-ERR"]),
        (b"USER \r\n", [b"-ERR"]),
        (b"USER \xff\r\nPASS \xff\xfe\r\n", [b"-ERR", b"-ERR"]),
        (b"USER alice@example.org\r\nPASS secret\xff\r\n", [b"+OK", b"-ERR"]),
        (b"USER alice@example.org\r\nSTAT\r\nPASS secret\r\n", [b"+OK", b"-ERR", b"+OK"]),
    ],
)
def test_logging_in(octets: bytes, ends: list[bytes]) -> None:
    world = World(b"x")
    client = world.connect()
    answers = [line.split(b" ")[0] for line in client.say(octets).split(b"\r\n")[:-1]]
    assert answers == ends
    assert (client.session.state is State.TRANSACTION) == (ends[-1] == b"+OK")
    assert client.status(b"STAT") == ends[-1]
    assert not world.log.failures
    assert "secret" not in str(world.log.lines)


def test_a_list_of_mechanisms() -> None:
    assert World().connect().say(b"AUTH\r\n") == b"+OK mechanisms follow\r\nPLAIN\r\nLOGIN\r\n.\r\n"


def test_no_password_without_tls() -> None:
    client = World(allow_plaintext_auth=False, tls_available=True).connect()
    capabilities = client.say(b"CAPA\r\n")
    assert b"\r\nSTLS\r\n" in capabilities
    assert b"\r\nUSER\r\n" not in capabilities
    assert b"SASL" not in capabilities
    for command in (b"USER alice@example.org", b"PASS secret", b"AUTH PLAIN " + PLAIN, b"AUTH PLAIN"):
        assert client.say(command + b"\r\n") == b"-ERR [SYS/PERM] use STLS first: no password without TLS\r\n"
    assert client.status(b"STLS") == b"+OK"
    capabilities = client.say(b"CAPA\r\n")
    assert b"STLS" not in capabilities
    assert b"\r\nUSER\r\nSASL PLAIN LOGIN\r\n" in capabilities
    assert client.status(b"STLS") == b"-ERR"
    assert client.status(b"AUTH PLAIN " + PLAIN) == b"+OK"


def test_nothing_from_before_tls_counts_in_it() -> None:
    client = World(tls_available=True).connect()
    octets = b"USER alice@example.org\r\nSTLS\r\nCAPA\r\nUSER alice@example.org\r\nPASS"
    assert client.say(octets) == b"+OK send PASS\r\n+OK begin TLS\r\n"
    assert client.say(b"PASS secret\r\n") == b"-ERR USER first\r\n"
    assert client.session.state is State.AUTHORIZATION


def test_wrong_passwords_end_the_connection() -> None:
    client = World(max_login_failures=3).connect()
    answers = client.say(b"USER a\r\nPASS b\r\n" * 4)
    assert answers.count(b"-ERR [AUTH]") == 3
    assert client.over


# --- order


def test_pipelined_commands_are_answered_in_order_and_at_once() -> None:
    world = World(b"x" * 5, b"y" * 6)
    client = world.connect()
    writes = client.connection.writes
    commands = b"USER alice@example.org,PASS secret,LIST 1,NONSENSE,LIST 2,RETR 1,DELE 2,NOOP,QUIT,STAT,"
    assert client.say(commands.replace(b",", b"\r\n")).split(b"\r\n") == [
        b"+OK send PASS", b"+OK 2 messages", b"+OK 1 5", b"-ERR unknown command 'NONSENSE'", b"+OK 2 6",
        b"+OK 5 octets", b"xxxxx", b".", b"+OK marked; it is removed at QUIT", b"+OK", b"+OK 1 messages removed", b"",
    ]  # fmt: skip
    assert client.connection.writes - writes <= 1
    assert tuple(world.inbox.uids) == (1,)


def test_every_command_is_refused_where_it_does_not_belong() -> None:
    before, after = World().connect(), World(b"x").log_in()
    for keyword, row in TABLE.items():
        if State.AUTHORIZATION not in row.states:
            assert before.say(keyword.encode() + b" 1 1\r\n").startswith(b"-ERR not before login"), keyword
            before.say(b"CAPA\r\n")
        if State.TRANSACTION not in row.states:
            assert after.say(keyword.encode() + b" x\r\n").startswith(b"-ERR not after login"), keyword
            after.say(b"NOOP\r\n")


def test_a_bug_is_logged_and_the_connection_lives() -> None:
    world = World(b"x")
    client = world.log_in()

    def broken(uid: int) -> int:
        raise ZeroDivisionError

    world.inbox.size = broken  # type: ignore[method-assign, assignment]
    assert client.say(b"STAT\r\n") == b"-ERR [SYS/TEMP] internal error, it has been logged\r\n"
    assert client.status(b"NOOP") == b"+OK"
    assert world.counters.totals["internal_errors", "pop3"] == 1


NOISE = st.lists(
    st.sampled_from(
        [b"\r\n", b"\n", b" ", b"1", b"0", b"USER ", b"PASS ", b"AUTH PLAIN", b"=", b"*", b"RETR ", b"TOP ", b"DELE "]
    )
    | st.sampled_from(
        [b"UIDL", b"LIST ", b"STLS", b"CAPA", b"RSET", b"\0", b"\xff", b"99999999999999999999", b"-1", b"\xc2\xb2"]
    )
    | st.binary(max_size=20),
    max_size=30,
)


@given(NOISE, st.booleans())
def test_any_octets_are_answered_or_end_the_connection(noise: list[bytes], logged_in: bool) -> None:
    world = World(b"x", b"y", tls_available=True)
    client = world.log_in() if logged_in else world.connect()
    for octets in noise:
        client.say(octets)
    client.say(b"\r\nQUIT\r\n")
    client.connection.close()
    assert client.over == [None], "the session raised"
    assert not world.log.failures
    assert world.inbox.listeners == []


# --- capabilities


@pytest.mark.parametrize(
    ("rules", "before", "after"),
    [
        ((), "NEVER", "NEVER"),
        ((Retention("Trash", days=3),), "NEVER", "NEVER"),
        ((Retention("inbox", days=30), Retention("*", days=14)), "14", "14"),
        ((Retention("*", account="*@example.org", days=30), Retention("*", days=60)), "30 USER", "30"),
        ((Retention("INBOX", account="bob@example.org", days=7),), "7 USER", "NEVER"),
        ((Retention("*", days=30, messages=5000),), None, None),
        ((Retention("*", account="Alice@Example.org", messages=10), Retention("*", days=30)), None, None),
        ((Retention("*", account="bob@example.org", messages=10), Retention("*", days=30)), None, "30"),
    ],
)
def test_expire_says_what_the_retention_is(rules: tuple[Retention, ...], before: str | None, after: str | None) -> None:
    world = World(retention=rules)
    found = []
    for client in (world.connect(), world.log_in()):
        lines = client.say(b"CAPA\r\n").decode().split("\r\n")
        found.append(next((line.removeprefix("EXPIRE ") for line in lines if line.startswith("EXPIRE")), None))
    assert found == [before, after]


def test_a_login_that_comes_to_nothing_delays_nobody() -> None:
    world = World(login_delay=60.0)

    async def down(account: str) -> AccountStore:
        raise Refused(Problem.STORE_UNAVAILABLE)

    good, world.store.account = world.store.account, down  # type: ignore[method-assign, assignment]
    client = world.connect()
    told = client.say(b"USER %s\r\nPASS secret\r\n" % ALICE.encode())
    assert told.endswith(b"-ERR [SYS/TEMP] not possible now, try later\r\n")
    world.store.account = good  # type: ignore[method-assign]
    assert client.say(b"USER %s\r\nPASS secret\r\n" % ALICE.encode()).endswith(b"+OK 0 messages\r\n")


def test_login_times_are_bounded_and_a_clock_may_go_back() -> None:
    times = LoginTimes(max_tracked=2)
    assert all(times.take(AccountName(name), float(at), 60.0) for at, name in enumerate("abc"))
    assert len(times) == 2
    assert times.take(AccountName("a"), 10.0, 60.0), "the oldest is forgotten"
    assert not times.take(AccountName("c"), 20.0, 60.0)
    assert times.take(AccountName("c"), 0.0, 60.0)
    assert not times.take(AccountName("c"), 59.9, 60.0)
    assert times.take(AccountName("c"), 60.0, 60.0)


@pytest.mark.parametrize("header", ["ascii", "grün"])
def test_a_large_message_with_utf8_in_its_header(header: str) -> None:
    message = f"Subject: {header}\r\n\r\n".encode() + "ü\r\n".encode() * 60_000
    world = World(message, utf8_headers=Utf8Headers.REFUSE)
    told = world.log_in().say(b"RETR 1\r\n")
    assert told.startswith(b"+OK" if header == "ascii" else b"-ERR [UTF8]")
    world = World(message)
    assert world.log_in().say(b"RETR 1\r\n").startswith(b"+OK")


# --- reading ahead


class Counting(MemoryMailbox):
    """Notes the UIDs of each visit to a worker."""

    visits: list[list[int]]

    async def examine(self, uids, fn):  # type: ignore[no-untyped-def]
        self.visits.append(list(uids))
        return await super().examine(uids, fn)


def counting(*messages: bytes) -> tuple[World, list[list[int]]]:
    world = World(*messages)
    box: Any = world.inbox
    box.__class__ = Counting
    box.visits = []
    return world, box.visits


def test_messages_that_are_taken_in_order_are_read_together() -> None:
    world, visits = counting(*(b"%d" % number for number in range(70)))
    client = world.log_in()
    for number in range(70):
        assert client.say(b"RETR %d\r\n" % (number + 1)).endswith(b" octets\r\n%d\r\n.\r\n" % number)
    assert [len(uids) for uids in visits] == [AHEAD_MESSAGES, AHEAD_MESSAGES, 70 - 2 * AHEAD_MESSAGES]
    assert not client.session.maildrop.ahead


def test_nothing_is_read_ahead_for_who_picks_messages() -> None:
    world, visits = counting(*[b"x"] * 9)
    client = world.log_in()
    for number in (9, 5, 1, 7):
        assert client.status(b"RETR %d" % number) == b"+OK"
    assert visits == [[9], [5], [1], [7]]
    assert client.status(b"RETR 8") == b"+OK"
    assert visits[4:] == [[8, 9]]


def test_what_is_read_ahead_is_bounded() -> None:
    size = AHEAD_OCTETS // 4
    world, visits = counting(*[b"x" * size] * 9, b"y" * AHEAD_OCTETS, b"z")
    client = world.log_in()
    for number in range(1, 12):
        client.say(b"RETR %d\r\n" % number)
        held = sum(len(reply) for reply in client.session.maildrop.ahead.values())
        assert held <= 3 * (size + 40)
    assert visits == [[1, 2, 3, 4], [5, 6, 7, 8], [9], [10], [11]]


def test_a_message_that_was_read_ahead_and_is_gone() -> None:
    world, _ = counting(b"x", b"y", b"z", b"w")
    client = world.log_in()
    assert client.status(b"RETR 1") == b"+OK"
    Deferred.fromCoroutine(gone(world, 2))
    assert client.say(b"RETR 2\r\n") == b"-ERR no such message\r\n"
    client.say(b"DELE 3\r\n")
    assert client.say(b"RETR 3\r\n") == b"-ERR no such message\r\n"
    assert client.say(b"RETR 4\r\n").endswith(b"\r\nw\r\n.\r\n")


def test_replies_to_pipelined_commands_do_not_pile_up() -> None:
    world = World(b"x" * (MEMORY_LIMIT - 100))
    client = world.log_in()
    waiting = largest = 0
    write, drain = client.connection.write, client.connection.drain

    def written(octets: bytes) -> None:
        nonlocal waiting, largest
        waiting += len(octets)
        largest = max(largest, waiting)
        write(octets)

    async def drained() -> None:
        nonlocal waiting
        waiting = 0
        await drain()

    client.connection.write, client.connection.drain = written, drained  # type: ignore[method-assign]
    assert client.say(b"RETR 1\r\n" * 100).count(b"+OK") == 100
    assert largest <= MAX_UNSENT + MEMORY_LIMIT + 100
