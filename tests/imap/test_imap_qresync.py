"""CONDSTORE and QRESYNC (RFC 7162) where numbers have to be exact; the rest is in the transcripts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from imap_world import ALICE, Client, World
from transcripts import result

from mailstack.errors import BadSyntax
from mailstack.imap.ext.rfc7162_qresync import Run, known_up_to, qresync_parameter
from mailstack.imap.wire import encode
from mailstack.imap.wire.cursor import Cursor
from mailstack.ports import AccountName, Added, Expunged, FlagAction, Flags, NewMessage
from mailstack.store.api import Store
from mailstack.store.maildir.modseq import SECOND
from mailstack.store.workers import InlineWorkers


def world_with(count: int) -> World:
    world = World()
    for _ in range(count):
        world.inbox.insert(b"Subject: x\r\n\r\n")
    return world


def lost(world: World, *uids: int) -> None:
    """These are gone, and nobody knows since when."""
    result(world.inbox.expunge(uids, None))
    world.inbox.vanished = lambda modseq: None  # type: ignore[method-assign]


def qresync(world: World) -> Client:
    client = world.log_in(b"")
    client.lines(b"ENABLE QRESYNC")
    return client


def told(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if b"VANISHED" in line or b"FETCH" in line or b"EXPUNGE" in line]


# --- SELECT (QRESYNC …)


def test_what_was_missed_is_told_at_select() -> None:
    world = world_with(6)
    client = qresync(world)
    validity, known = world.inbox.uid_validity, world.inbox.highest_modseq
    result(world.inbox.store_flags([2], FlagAction.ADD, Flags(keywords=frozenset({"$A"})), None))
    result(world.inbox.expunge([3, 5], None))
    world.store.put(ALICE, b"Subject: new\r\n\r\n")
    world.inbox.claim_recent()
    lines = client.lines(b"SELECT INBOX (QRESYNC (%d %d))" % (validity, known))
    assert told(lines) == [
        b"* VANISHED (EARLIER) 3,5",
        b"* 2 FETCH (UID 2 FLAGS ($A) MODSEQ (%d))" % (known + 1),
        b"* 5 FETCH (UID 7 FLAGS () MODSEQ (%d))" % (known + 3),
    ]
    assert b"* OK [HIGHESTMODSEQ %d] the highest mod-sequence" % (known + 3) in lines
    only = client.lines(b"SELECT INBOX (QRESYNC (%d %d 1:4))" % (validity, known))
    assert told(only) == [b"* VANISHED (EARLIER) 3", *told(lines)[1:2]]
    assert told(client.lines(b"SELECT INBOX (QRESYNC (%d %d))" % (validity, known + 3))) == []
    assert told(client.lines(b"SELECT INBOX (QRESYNC (%d %d))" % (validity + 1, known))) == []
    assert told(client.lines(b"SELECT INBOX")) == []


def test_sequence_match_data_stands_in_for_what_the_server_forgot() -> None:
    """The example of RFC 7162 §3.2.5.2, smaller: of 30 messages those divisible by three are there."""
    world = world_with(30)
    lost(world, *(uid for uid in range(1, 31) if uid % 3))
    client = qresync(world)
    select = b"SELECT INBOX (QRESYNC (%d %d 1:27%%b))" % (world.inbox.uid_validity, world.inbox.highest_modseq)
    assert told(client.lines(select % b"")) == [b"* VANISHED (EARLIER) 1:2,4:5,7:8,10:11,13:14,16:17,19:20,22:23,25:26"]
    assert told(client.lines(select % b" (2,5,9 6,15,27)")) == []
    assert told(client.lines(select % b" (2,5,9 6,15,28)")) == [b"* VANISHED (EARLIER) 16:17,19:20,22:23,25:26"]
    assert told(client.lines(select % b" (1:9 1:9)")) == told(client.lines(select % b""))


@pytest.mark.parametrize(
    ("uids", "runs", "known"),
    [
        ((3, 4, 5, 9), [Run(1, 3, 4)], 5),
        ((3, 4, 5, 9), [Run(1, 1, 9)], 0),
        ((3, 4, 5, 9), [Run(2, 4, 1), Run(4, 9, 1)], 9),
        ((3, 4, 5, 9), [Run(2, 4, 1), Run(5, 9, 1)], 4),
        ((3, 4, 5, 9), [Run(9, 3, 4294967295)], 0),
        ((1, 2, 3), [Run(1, 1, 4294967295)], 3),
        ((), [Run(1, 1, 5)], 0),
        ((1, 2), [], 0),
    ],
)
def test_pairs_that_are_true(uids: tuple[int, ...], runs: list[Run], known: int) -> None:
    assert known_up_to(uids, runs) == known


@pytest.mark.parametrize(
    ("octets", "runs"),
    [
        (b" (1 1 (1:4,9 2:5,20))", (Run(1, 2, 4), Run(9, 20, 1))),
        (b" (1 1 1:9 (1:4 3,5,7:8))", (Run(1, 3, 1), Run(2, 5, 1), Run(3, 7, 2))),
        (b" (1 1 (1:4294967295 1:4294967295))", (Run(1, 1, 4294967295),)),
    ],
)
def test_sets_of_pairs(octets: bytes, runs: tuple[Run, ...]) -> None:
    assert qresync_parameter(Cursor(octets)).runs == runs


@pytest.mark.parametrize(
    ("octets", "expected", "column"),
    [
        (b" 1", "'('", 1),
        (b" (1)", "a space", 3),
        (b" (1 1 )", "a sequence set", 6),
        (b" (1 1 1:*)", 'a set without "*"', 6),
        (b" (1 1 (1:2 1:*))", 'a set without "*"', 11),
        (b" (1 1 (1:2 3:5))", "as many UIDs as message numbers", 7),
        (b" (1 1 (2:1 1:2))", "numbers in ascending order", 7),
        (b" (1 1 (1:2 5,5))", "numbers in ascending order", 11),
        (b" (1 1 (1 1) 5)", "')'", 11),
        (b" (1 9223372036854775808)", "a mod-sequence of at most 9223372036854775807", 4),
    ],
)
def test_parameters_that_are_none(octets: bytes, expected: str, column: int) -> None:
    with pytest.raises(BadSyntax) as info:
        qresync_parameter(Cursor(octets))
    assert (info.value.expected, info.value.column) == (expected, column)


# --- VANISHED


def test_forgotten_expunges_are_all_uids_that_are_not_there() -> None:
    world = world_with(9)
    lost(world, 1, 2, 5, 9)
    client = qresync(world)
    client.lines(b"SELECT INBOX")
    for wanted, gone in ((b"1:*", b"1:2,5,9"), (b"4:7", b"5"), (b"9:*", b"9"), (b"2,3,9,77", b"2,9"), (b"6:8", b"")):
        lines = client.lines(b"UID FETCH %b (FLAGS) (CHANGEDSINCE 99 VANISHED)" % wanted)
        assert lines[:-1] == ([b"* VANISHED (EARLIER) " + gone] if gone else []), wanted
    world.inbox.tell(Added((world.inbox.insert(b"x"),)))
    lines = client.lines(b"UID FETCH 8:* (FLAGS) (CHANGEDSINCE 99 VANISHED)")
    assert lines[0] == b"* VANISHED (EARLIER) 9", "a message that was not told yet is none that vanished"


def test_what_is_gone_and_not_told_yet_is_not_gone_earlier() -> None:
    world = world_with(4)
    client = qresync(world)
    client.lines(b"SELECT INBOX")
    result(world.inbox.expunge([2], None))
    lines = client.lines(b"UID FETCH 1:* (UID) (CHANGEDSINCE 1 VANISHED)")
    assert [line for line in lines if b"VANISHED" in line] == [b"* VANISHED 2"]
    assert lines.index(b"* VANISHED 2") > lines.index(b"* 4 FETCH (UID 4 MODSEQ (5))")
    assert client.lines(b"UID FETCH 1:* (UID) (CHANGEDSINCE 5 VANISHED)")[0] == b"* VANISHED (EARLIER) 2"


def test_only_what_the_client_knows_vanishes() -> None:
    world = world_with(2)
    client = qresync(world)
    client.lines(b"SELECT INBOX")
    world.inbox.tell(Added((world.inbox.insert(b"x"),)))
    result(world.inbox.expunge([3], None))
    assert client.lines(b"NOOP") == [b"t OK NOOP completed"]


def test_many_vanished_are_told_in_lines_that_clients_can_read() -> None:
    uids = list(range(1, 40_001, 2))
    lines = list(encode.vanished(encode.sequence_set(uids), earlier=True))
    assert max(map(len, lines)) < 8192
    assert b"".join(lines).count(b",") + len(lines) == len(uids)
    assert [int(uid) for line in lines for uid in line[21:].split(b",")] == uids
    assert list(encode.vanished(b"")) == []


# --- HIGHESTMODSEQ


def test_the_example_of_section_6() -> None:
    world = world_with(4)
    client = qresync(world)
    client.lines(b"SELECT INBOX")
    before = world.inbox.highest_modseq
    result(world.inbox.expunge([4], None))
    lines = client.lines(b"STORE 1:2 (UNCHANGEDSINCE %d) +FLAGS.SILENT (\\Seen)" % before)
    assert lines[-1] == b"t OK [HIGHESTMODSEQ %d] STORE completed" % before
    lines = client.lines(b"STORE 3 (UNCHANGEDSINCE 1) +FLAGS.SILENT (\\Seen)")
    assert lines[-2:] == [
        b"* OK [HIGHESTMODSEQ %d] the highest mod-sequence" % before,
        b"t OK [MODIFIED 3] some messages were changed meanwhile",
    ]
    assert client.lines(b"NOOP") == [b"* VANISHED 4", b"t OK [HIGHESTMODSEQ %d] NOOP completed" % (before + 2)]


def test_the_first_command_about_mod_sequences_tells_the_highest() -> None:
    highest = rb"\* OK \[HIGHESTMODSEQ 4\] .*"
    for command in (b"FETCH 1 MODSEQ", b"UID FETCH 1 (FLAGS) (CHANGEDSINCE 9)", b"STATUS INBOX (HIGHESTMODSEQ)",
                    b"SEARCH MODSEQ 9", b"ENABLE CONDSTORE", b"ENABLE QRESYNC",
                    b"STORE 1 (UNCHANGEDSINCE 9) +FLAGS.SILENT (\\Seen)"):  # fmt: skip
        client = world_with(3).log_in()
        assert re.fullmatch(highest, client.lines(command)[0]), command
        assert not [line for line in client.lines(command) if re.fullmatch(highest, line)], command


def test_searches_tell_the_highest_of_what_they_return() -> None:
    client = world_with(5).log_in()
    assert client.lines(b"SEARCH MODSEQ 3")[-2] == b"* SEARCH 2 3 4 5 (MODSEQ 6)"
    assert client.lines(b"SEARCH NOT MODSEQ 5")[-2] == b"* SEARCH 1 2 3 (MODSEQ 4)"
    assert client.lines(b"SEARCH MODSEQ 7")[-2] == b"* SEARCH"
    assert client.lines(b"SEARCH ALL")[-2] == b"* SEARCH 1 2 3 4 5"
    answers = {
        b"MIN": b"MIN 2 MODSEQ 3",
        b"MAX": b"MAX 5 MODSEQ 6",
        b"MIN MAX": b"MIN 2 MAX 5 MODSEQ 6",
        b"MIN COUNT": b"MIN 2 COUNT 4 MODSEQ 6",
        b"": b"ALL 2:5 MODSEQ 6",
    }
    for returns, said in answers.items():
        lines = client.lines(b"SEARCH RETURN (%b) MODSEQ 3" % returns)
        assert lines[-2] == b'* ESEARCH (TAG "t") ' + said
    assert client.lines(b"SEARCH RETURN (COUNT) MODSEQ 7")[-2] == b'* ESEARCH (TAG "t") COUNT 0'


def test_a_uid_search_with_message_numbers_tells_no_expunge() -> None:
    world = world_with(4)
    client = world.log_in()
    result(world.inbox.expunge([2], None))
    assert client.lines(b"UID SEARCH 1:2") == [b"* SEARCH 1", b"t OK SEARCH completed"]
    assert client.lines(b"UID SEARCH UID 1:2") == [b"* SEARCH 1", b"* 2 EXPUNGE", b"t OK SEARCH completed"]


# --- several at work


def test_a_message_below_those_that_were_told_ends_the_selection() -> None:
    world = world_with(3)
    message = world.inbox.messages.pop(2)
    world.inbox._uids = None
    client = world.log_in()
    world.inbox.messages = {uid: world.inbox.messages.get(uid, message) for uid in (1, 2, 3)}
    world.inbox._uids = None
    world.inbox.tell(Added((2,)))  # type: ignore[arg-type]
    assert client.lines(b"NOOP")[0].startswith(b"* OK [CLOSED]")
    assert b"* 3 EXISTS" in client.lines(b"SELECT INBOX")


def test_expunged_while_others_are_removed_is_told_once() -> None:
    world = world_with(3)
    client = qresync(world)
    client.lines(b"SELECT INBOX")
    world.inbox.tell(Expunged((2,), None))  # type: ignore[arg-type]
    world.inbox.tell(Expunged((2, 3), None))  # type: ignore[arg-type]
    assert client.lines(b"NOOP")[0] == b"* VANISHED 2:3"


class Process(World):
    """A process of its own on the Maildirs below `data`, whose clock is some seconds ahead."""

    def __init__(self, data: Path, ahead: int) -> None:
        super().__init__()
        self.real = Store(data, InlineWorkers(), self.log)
        self.store, self.spool = self.real, self.real.spool  # type: ignore[assignment]
        account = result(self.real.account(AccountName(ALICE)))
        self.mailbox: Any = result(account.open("INBOX", self))
        modseqs = self.mailbox.files.modseqs
        now = modseqs._now
        modseqs._now = lambda: now() + ahead * SECOND

    def changed(self, change: object) -> None:
        """The test itself has the mailbox open."""


def test_who_comes_back_to_another_process_misses_nothing(tmp_path: Path) -> None:
    """Numbers of two processes differ by less than SLACK."""
    here, there = Process(tmp_path, 0), Process(tmp_path, 1)
    sink = here.spool.sink()
    result(sink.write(b"Subject: x\r\n\r\n"))
    blob: Any = result(sink.finish())
    account = result(here.real.account(AccountName(ALICE)))
    result(account.append("INBOX", [NewMessage(blob)] * 3))
    client = there.log_in(b"SELECT INBOX (CONDSTORE)")
    lines = client.lines(b"STORE 1 +FLAGS.SILENT (\\Seen)")
    known = int(re.search(rb"MODSEQ \((\d+)\)", lines[0])[1])  # type: ignore[index]
    result(here.mailbox.store_flags([2], FlagAction.ADD, Flags(keywords=frozenset({"$A"})), None))
    result(here.mailbox.expunge([3], None))
    back = qresync(here)
    assert here.mailbox.highest_modseq < known
    lines = back.lines(b"SELECT INBOX (QRESYNC (%d %d))" % (here.mailbox.uid_validity, known))
    assert b"* VANISHED (EARLIER) 3" in lines
    assert [line for line in lines if line.startswith(b"* 2 FETCH (UID 2 FLAGS (") and b"$A" in line]
    lines = back.lines(b"STORE 2 (UNCHANGEDSINCE %d) +FLAGS.SILENT (\\Seen)" % known)
    assert b"[MODIFIED 2]" in lines[-1]
    modseq = int(re.search(rb"MODSEQ \((\d+)\)", lines[0])[1])  # type: ignore[index]
    assert back.lines(b"STORE 2 (UNCHANGEDSINCE %d) +FLAGS.SILENT (\\Seen)" % modseq)[-1] == b"t OK STORE completed"
    for process in (here, there):
        result(process.real.close())


def test_flags_that_notify_leaves_out_are_not_taken_for_told() -> None:
    world = world_with(3)
    client = qresync(world)
    client.lines(b"SELECT INBOX")
    client.lines(b"NOTIFY SET (SELECTED (MessageNew MessageExpunge))")
    before = world.inbox.highest_modseq
    result(world.inbox.store_flags([1], FlagAction.ADD, Flags(keywords=frozenset({"$A"})), None))
    lines = client.lines(b"STORE 2 +FLAGS.SILENT (\\Seen)")
    assert b"* 2 FETCH (UID 2 MODSEQ (%d))" % (before + 2) in lines
    assert lines[-1] == b"t OK [HIGHESTMODSEQ %d] STORE completed" % before
    assert not [line for line in lines if line.startswith(b"* 1 FETCH")]
    client.lines(b"SELECT INBOX")
    assert client.lines(b"NOOP") == [b"t OK NOOP completed"]


def test_another_login_knows_nothing_of_mod_sequences() -> None:
    client = qresync(world_with(2))
    client.lines(b"SELECT INBOX")
    client.lines(b"UNAUTHENTICATE")
    client.lines(b"LOGIN %s secret" % ALICE.encode())
    client.lines(b"SELECT INBOX")
    assert client.lines(b"STORE 1:2 +FLAGS.SILENT (\\Deleted)") == [b"t OK STORE completed"]
    assert client.lines(b"EXPUNGE") == [b"* 2 EXPUNGE", b"* 1 EXPUNGE", b"t OK EXPUNGE completed"]
    assert client.lines(b"SELECT INBOX (QRESYNC (1 1))")[-1].startswith(b"t BAD")


def test_a_client_that_wants_no_numbers_hears_none() -> None:
    world = world_with(3)
    client = qresync(world)
    client.lines(b"ENABLE UIDONLY")
    validity, before = world.inbox.uid_validity, world.inbox.highest_modseq
    client.lines(b"SELECT INBOX")
    result(world.inbox.expunge([1], None))
    assert client.lines(b"UID STORE 3 +FLAGS.SILENT (\\Deleted)") == [
        b"* VANISHED 1",
        b"* 3 UIDFETCH (MODSEQ (%d))" % (before + 2),
        b"t OK [HIGHESTMODSEQ %d] STORE completed" % (before + 2),
    ]
    select = b"SELECT INBOX (QRESYNC (%d %d%%b))" % (validity, before)
    lines = told(client.lines(select % b""))
    assert lines[0] == b"* VANISHED (EARLIER) 1"
    assert re.fullmatch(rb"\* 3 UIDFETCH \(FLAGS \(.*\) MODSEQ \(%d\)\)" % (before + 2), lines[1])
    assert client.lines(select % b" (1 2)")[-1].startswith(b"t BAD [UIDREQUIRED]")
