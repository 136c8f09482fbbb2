"""Sessions over the fakes: literals that nobody wants, bugs, limits, and what is said of others' changes."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imap_world import ALICE, World

from mailstack.errors import Problem
from mailstack.imap.core import append
from mailstack.imap.looks import SOON
from mailstack.testing.clock import ManualClock
from mailstack.testing.store import MemoryMailbox

EVIL = b"e DELETE Trash\r\n"
"""What a literal holds in these tests: it must never be executed."""


def literal(octets: bytes) -> bytes:
    return b"{%d+}\r\n%b" % (len(octets), octets)


@pytest.mark.parametrize(
    ("start", "answer"),
    [
        (b"a IDLE\r\n", b"a BAD expected DONE"),
        (b"a LOGOUT ", b"a BAD expected the end of the command"),
        (b"a APPEND INBOX " + literal(b"x") + b" (\\Bad) ", b"a BAD expected a flag that can be set, not \\Bad,"),
        (b"a APPEND INBOX " + literal(b"x") + b" nonsense ", b"a BAD expected flags, a date-time or a message"),
        (b"a APPEND Missing ", b"a NO [TRYCREATE]"),
    ],
)
@pytest.mark.parametrize("size", [1, 5000])
def test_no_literal_is_executed(start: bytes, answer: bytes, size: int) -> None:
    world = World()
    client = world.log_in()
    inside = EVIL * size
    said = client.say(start + literal(inside) + b"\r\nb NOOP\r\n")
    tagged = [line for line in said.split(b"\r\n") if line and line[:2] not in (b"+ ", b"* ")]
    assert tagged[0].startswith(answer) or (size > 1 and tagged[0].startswith(b"a BAD [LIMIT]")), said
    assert tagged[1:] == [b"b OK NOOP completed"]
    assert b"* BAD" not in said
    assert "Trash" in world.store.of(ALICE).boxes
    assert world.spool.leaks == 0


def test_no_literal_of_an_answer_to_a_challenge_is_executed() -> None:
    world = World()
    client = world.connect()
    inside = b"e LOGIN %s secret\r\n" % ALICE.encode()
    said = client.say(b"a AUTHENTICATE PLAIN\r\n" + literal(inside) + b"\r\nb NOOP\r\n")
    assert said == b"+ \r\na BAD expected one line\r\nb OK NOOP completed\r\n"
    assert client.lines(b"SELECT INBOX")[-1].startswith(b"t BAD")


def test_a_full_disk_during_the_first_of_two_messages() -> None:
    world = World()
    client = world.log_in()
    world.spool.problem = Problem.DISK_FULL
    said = client.say(b"a APPEND INBOX " + literal(b"x") + b" " + literal(EVIL) + b"\r\nb NOOP\r\n")
    assert said == b"a NO [OVERQUOTA] no space left on the server\r\nb OK NOOP completed\r\n"
    assert "Trash" in world.store.of(ALICE).boxes
    assert world.inbox.uids == ()


def test_too_many_messages_in_one_append(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append, "MAX_MESSAGES", 2)
    world = World()
    client = world.log_in()
    several = b" ".join([literal(b"x")] * 2)
    assert b"a OK [APPENDUID 1001 1:2]" in client.say(b"a APPEND INBOX " + several + b"\r\n")
    said = client.say(b"b APPEND INBOX " + several + b" " + literal(EVIL) + b" " + literal(EVIL) + b"\r\nc NOOP\r\n")
    assert said == b"b NO [LIMIT] a limit is reached\r\nc OK NOOP completed\r\n"
    assert len(world.inbox.uids) == 2
    assert world.spool.leaks == 0


@pytest.mark.parametrize("command", [b"APPEND INBOX", b"LOGIN"])
def test_leave_to_send_far_too_much_is_refused_and_the_connection_lives(command: bytes) -> None:
    client = World(max_message_size=1000).log_in()
    said = client.say(b"a %s {999999999999}\r\n" % command)
    assert said.startswith((b"a NO [TOOBIG]", b"a BAD [LIMIT]"))
    assert client.lines(b"NOOP") == [b"t OK NOOP completed"]


@pytest.mark.parametrize("command", [b"APPEND INBOX", b"LOGIN"])
def test_a_client_that_sends_far_too_much_at_once_is_cut_off(command: bytes) -> None:
    client = World(max_message_size=1000).log_in()
    assert client.say(b"a %s {999999999999+}\r\nx" % command).startswith(
        b"* BYE [TOOBIG] cannot go on: a literal of 99999"
    )
    assert client.over


def test_a_message_that_is_too_large_is_read_over() -> None:
    world = World(max_message_size=1000)
    client = world.log_in()
    said = client.say(
        b"a APPEND INBOX " + literal(b"x" * 1001) + b"\r\nb APPEND INBOX " + literal(b"y" * 1000) + b"\r\n"
    )
    first, exists, recent, second = said.split(b"\r\n")[:-1]
    assert first.startswith(b"a NO [TOOBIG]")
    assert (exists, recent) == (b"* 1 EXISTS", b"* 1 RECENT")
    assert second.startswith(b"b OK [APPENDUID 1001 1]")


def test_together_messages_may_be_no_larger_than_one() -> None:
    client = World(max_message_size=1000).log_in()
    said = client.say(b"a APPEND INBOX " + literal(b"x" * 600) + b" " + literal(b"x" * 600) + b"\r\nb NOOP\r\n")
    assert said == b"a NO [TOOBIG] the message is too large\r\nb OK NOOP completed\r\n"


def test_a_command_that_is_too_long_has_its_tag() -> None:
    client = World().log_in()
    said = client.say(b"long X " + b"x" * 70_000 + b"\r\n")
    assert said.startswith(b"long BAD [LIMIT] the command is too long: a line has at most 65536 octets")


def test_a_bug_is_logged_and_the_connection_lives() -> None:
    world = World()
    client = world.log_in()

    async def broken(uids: Collection[int]) -> None:
        raise ZeroDivisionError

    world.inbox.measure = broken  # type: ignore[method-assign]
    world.inbox.insert(b"x")
    assert client.lines(b"UID SEARCH LARGER 1")[-1] == b"t NO [SERVERBUG] internal error, it has been logged"
    assert client.lines(b"CHECK")[-1] == b"t OK CHECK completed"
    assert isinstance(world.log.failures[0].error, ZeroDivisionError)
    assert world.counters.totals["internal_errors", "imap"] == 1


def test_bad_commands_in_a_row_end_the_connection() -> None:
    client = World(max_errors=3).log_in(b"")
    for _ in range(2):
        client.lines(b"NONSENSE")
        client.lines(b"NONSENSE")
        client.lines(b"NOOP")
    client.say(b"a\r\nb\r\n")
    assert client.say(b"c X\r\n").endswith(b"* BYE too many bad commands\r\n")
    assert client.over


def test_wrong_passwords_end_the_connection() -> None:
    client = World(max_login_failures=2).connect()
    assert client.lines(b"LOGIN x y")[-1].startswith(b"t NO [AUTHENTICATIONFAILED]")
    assert client.lines(b"LOGIN x y")[0].startswith(b"* BYE")
    assert client.over


def test_an_end_is_explained() -> None:
    world = World()
    stopped, silent, gone = world.log_in(), world.log_in(), world.log_in()
    stopped.connection.shut_down()
    assert stopped.connection.take() == b"* BYE [UNAVAILABLE] the server is stopping\r\n"
    silent.connection.time_out()
    assert silent.connection.take() == b"* BYE idle for too long\r\n"
    gone.connection.close()
    assert gone.connection.take() == b""
    assert all(client.over for client in (stopped, silent, gone))
    assert world.inbox.listeners == []


def test_an_idling_client_hears_of_everything_and_one_that_does_not_idle_waits() -> None:
    world = World()
    world.inbox.insert(b"x")
    idle, busy = world.log_in(), world.log_in()
    assert idle.say(b"a IDLE\r\n") == b"+ idling\r\n"
    world.store.put(ALICE, b"y")
    assert idle.connection.take() == b"* 2 EXISTS\r\n* 2 RECENT\r\n"
    assert busy.connection.take() == b""
    assert busy.lines(b"STORE 1 +FLAGS.SILENT (\\Deleted)") == [b"* 2 EXISTS", b"* 0 RECENT", b"t OK STORE completed"]
    assert idle.connection.take() == (b"* 1 FETCH (UID 1 FLAGS (\\Deleted \\Recent))\r\n")
    busy.lines(b"EXPUNGE")
    assert idle.connection.take() == b"* 1 EXPUNGE\r\n"
    assert idle.say(b"DONE\r\n") == b"a OK IDLE terminated\r\n"


def test_an_idling_client_hears_that_its_mailbox_is_gone() -> None:
    world = World()
    world.log_in().lines(b"CREATE x")
    client, other = world.log_in(b"SELECT x"), world.log_in()
    client.say(b"a IDLE\r\n")
    other.lines(b"DELETE x")
    assert client.connection.take().startswith(b"* OK [CLOSED]")
    assert (
        client.say(b"DONE\r\nb FETCH 1 UID\r\n").split(b"\r\n")[1].startswith(b"b BAD expected a command for the auth")
    )


@pytest.mark.parametrize("command", [b"FETCH 1 FLAGS", b"FETCH 1 (FLAGS BODY.PEEK[])", b"NOOP"])
def test_a_new_keyword_is_announced_before_it_is_shown(command: bytes) -> None:
    world = World()
    world.inbox.insert(b"x")
    client, other = world.log_in(), world.log_in()
    other.lines(b"STORE 1 FLAGS.SILENT ($Label)")
    lines = client.lines(command)
    announced = [number for number, line in enumerate(lines) if line.startswith(b"* FLAGS (") and b"$Label)" in line]
    shown = [number for number, line in enumerate(lines) if line.startswith(b"* 1 FETCH") and b"$Label" in line]
    assert announced == [0]
    assert shown
    assert not any(b"* FLAGS" in line for line in client.lines(b"FETCH 1 FLAGS"))


def test_a_response_without_items_is_not_sent() -> None:
    world = World()
    world.inbox.insert(b"Content-Transfer-Encoding: x-odd\r\n\r\n???")
    client = world.log_in()
    unknown = b"t NO [UNKNOWN-CTE] a part's transfer encoding is not known"
    assert client.lines(b"FETCH 1 BINARY.PEEK[1]") == [unknown]
    assert client.lines(b"FETCH 1 (UID BINARY.PEEK[1])") == [b"* 1 FETCH (UID 1)", unknown]


NOISE = st.lists(
    st.sampled_from(
        [
            b"a ",
            b"\r\n",
            b"\n",
            b" ",
            b"LOGIN ",
            b"APPEND INBOX ",
            b"{3}\r\n",
            b"{3+}\r\n",
            b"{70000+}\r\n",
            b"abc",
            b"IDLE",
        ]
        + [
            b"DONE",
            b"FETCH 1:* ",
            b"BODY[]",
            b"SEARCH ",
            b"(",
            b")",
            b"AUTHENTICATE PLAIN",
            b"=",
            b"*",
            b"UID ",
            b"\0",
            b"\xff",
        ]
        + [b"LOGOUT", b"STARTTLS", b"LIST ", b'""', b"*", b"SELECT Trash", b"CLOSE", b"STORE 1 FLAGS "]
    )
    | st.binary(max_size=20),
    max_size=30,
)


@given(NOISE, st.booleans())
def test_any_octets_are_answered_or_end_the_connection(noise: list[bytes], logged_in: bool) -> None:
    world = World()
    world.inbox.insert(b"x")
    client = world.log_in() if logged_in else world.connect()
    for octets in noise:
        client.say(octets)
    client.say(b"x" * 70_000 + b"\r\nz NOOP\r\n")
    assert client.over in ([], [None]), "the session raised"
    assert not world.log.failures
    client.connection.close()
    assert client.over == [None]
    assert world.spool.leaks == 0
    assert world.inbox.listeners == []


def test_commands_that_came_together_need_one_look_at_the_mailbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as they are answered soon: what others do while a long one is answered is told after it."""
    world = World()
    client = world.log_in()
    looks: list[int] = []
    refresh = world.inbox.refresh

    async def counted() -> None:
        looks.append(1)
        await refresh()

    monkeypatch.setattr(world.inbox, "refresh", counted)
    assert client.say(b"a NOOP\r\n" * 50).count(b"OK NOOP") == 50
    assert len(looks) == 1
    client.say(b"b NOOP\r\n")
    client.say(b"b NOOP\r\n")
    assert len(looks) == 3, "what others did before a command was sent is told"
    clock = client.session.resources.clock
    assert isinstance(clock, ManualClock)

    async def slow(uids: Collection[int], *, dates: bool = True) -> None:
        clock.advance(2 * SOON)

    monkeypatch.setattr(world.inbox, "measure", slow)
    world.inbox.insert(b"x")
    client.say(b"c NOOP\r\nc UID SEARCH LARGER 1\r\nc NOOP\r\nc NOOP\r\n")
    assert len(looks) == 5


def test_one_look_is_of_the_mailbox_that_is_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    client = world.log_in()
    client.say(b"a CREATE Other\r\n")
    looks: list[str] = []
    refresh = MemoryMailbox.refresh

    async def noted(self: MemoryMailbox) -> None:
        looks.append(self.name)
        await refresh(self)

    monkeypatch.setattr(MemoryMailbox, "refresh", noted)
    client.say(b"b NOOP\r\nb NOOP\r\nb SELECT Other\r\nb NOOP\r\nb SELECT INBOX\r\nb NOOP\r\n")
    assert [name for number, name in enumerate(looks) if looks[number - 1 : number] != [name]] == [
        "INBOX", "Other", "INBOX",
    ]  # fmt: skip


def test_what_clients_will_ask_for_is_foreseen_when_they_open_a_mailbox() -> None:
    world = World()
    client = world.log_in()
    names = set(world.inbox.foreseen)
    assert any(name.startswith("ENVELOPE") for name in names)
    client.lines(b"ENABLE UTF8=ACCEPT")
    client.lines(b"SELECT INBOX")
    assert any(name.endswith("/utf8") for name in set(world.inbox.foreseen) - names)
