"""Message sequence numbers never lie: a client that believes all it is told knows the mailbox."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imap_world import Client, World

from mailstack.imap.view import View
from mailstack.imap.wire.values import STAR, SequenceSet
from mailstack.ports import Added, Expunged, FlagsChanged, MailboxGone
from mailstack.testing.store import MemoryAccountStore, MemoryMailbox


@dataclass(slots=True)
class Believer:
    """What a client makes of untagged responses: one entry a message, its UID and flags once it was
    told them, else 0 and "?"."""

    messages: list[tuple[int, bytes]] = field(default_factory=list)

    def hear(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            number = int(found[1]) if (found := re.match(rb"\* (\d+) ", line)) else 0
            if line.endswith(b" EXISTS"):
                assert number >= len(self.messages), f"messages vanished without EXPUNGE: {line!r}"
                self.messages += [(0, b"?")] * (number - len(self.messages))
            elif line.endswith(b" EXPUNGE"):
                assert 1 <= number <= len(self.messages), f"no such message: {line!r}"
                del self.messages[number - 1]
            elif fetched := re.match(rb"\* \d+ FETCH \(UID (\d+)(?: FLAGS \(([^)]*)\))?[ )]", line):
                self._fetched(number, int(fetched[1]), fetched[2], line)

    def _fetched(self, number: int, uid: int, flags: bytes | None, line: bytes) -> None:
        assert 1 <= number <= len(self.messages), f"no such message: {line!r}"
        known, kept = self.messages[number - 1]
        assert known in (0, uid), f"message {number} was UID {known}: {line!r}"
        if flags is not None:
            kept = b" ".join(sorted(flags.replace(b"\\Recent", b"").split()))
        self.messages[number - 1] = (uid, kept)

    def knows(self, uids: Iterable[int]) -> bool:
        """Whether these are the messages, as far as the client was told UIDs."""
        uids = list(uids)
        pairs = zip(self.messages, uids, strict=False)
        return len(uids) == len(self.messages) and all(known in (0, uid) for (known, _), uid in pairs)


# --- the view by itself: changes in any order, flushes with and without EXPUNGE

Hand = tuple[str, int]
"""What happens: "add" n messages, "expunge" or "flag" the n-th, "flush" or "flush numbers"."""
HANDS = st.tuples(st.sampled_from(["add", "add", "expunge", "flag", "flush", "flush numbers"]), st.integers(0, 9))


def view_of(box: MemoryMailbox) -> View:
    view = View(lambda: None, read_only=False)
    box.listeners.append(view)
    view.begin(box)
    return view


def happen(box: MemoryMailbox, what: str, n: int) -> None:
    """Somebody else does this to the mailbox."""
    uids = list(box.messages)
    if what == "add":
        box.tell(Added(tuple(box.insert(b"x") for _ in range(n % 3 + 1))))
    elif uids and what == "expunge":
        gone = tuple(uids[n % len(uids) :][:2])
        for uid in gone:
            del box.messages[uid]
        box._uids = None
        box.tell(Expunged(gone, None))  # type: ignore[arg-type]
    elif uids and what == "flag":
        uid = uids[n % len(uids)]
        box.messages[uid].flags ^= 1 << n % 5
        box.tell(FlagsChanged((uid,), None))  # type: ignore[arg-type]


def lines_of(responses: Iterable[bytes]) -> list[bytes]:
    return [line for response in responses for line in response.split(b"\r\n") if line]


@given(st.integers(0, 4), st.lists(HANDS, max_size=25), st.booleans())
def test_a_client_that_believes_all_knows_the_mailbox(before: int, hands: list[Hand], rev2: bool) -> None:
    box = MemoryAccountStore().find("INBOX")
    for _ in range(before):
        box.insert(b"x")
    view, client = view_of(box), Believer()
    client.hear([b"* %d EXISTS" % before])
    client.messages = [(uid, b"") for uid in view.uids]
    for what, n in hands:
        if not what.startswith("flush"):
            happen(box, what, n)
            continue
        told = lines_of(view.flush(allow_expunge=what == "flush", rev2=rev2))
        assert what == "flush" or not any(line.endswith(b"EXPUNGE") for line in told), told
        client.hear(told)
        assert client.knows(view.uids)
    client.hear(lines_of(view.flush(allow_expunge=True, rev2=rev2)))
    assert client.knows(box.messages)
    assert list(view.uids) == list(box.messages)
    assert view.idle
    for number, (uid, flags) in enumerate(client.messages, 1):
        if uid:
            assert view.seq(uid) == number
            names = [name for i, name in enumerate((b"Seen", b"Answered", b"Flagged", b"Deleted", b"Draft"))
                     if box.messages[uid].flags >> i & 1]  # fmt: skip
            assert flags == b" ".join(sorted(b"\\" + name for name in names))


# --- sessions: commands of one client while others have their hands in the mailbox

COMMANDS = [
    b"NOOP", b"CHECK", b"FETCH 1:* UID", b"UID FETCH 1:* FLAGS", b"FETCH * (UID FLAGS)", b"FETCH 1 (UID BODY[])",
    b"STORE 1 +FLAGS (\\Deleted)", b"STORE 2:* -FLAGS.SILENT (\\Deleted)", b"UID STORE 1:* FLAGS ($K)",
    b"SEARCH ALL", b"UID SEARCH 1:*", b"SEARCH NOT SEEN", b"EXPUNGE", b"UID EXPUNGE 1:5", b"COPY 1:* Trash",
    b"MOVE 1 Trash", b"UID MOVE 2:3 Trash",
]  # fmt: skip
KEEP_NUMBERS = (b"FETCH", b"STORE", b"SEARCH")
DOINGS = st.one_of(st.tuples(st.just("say"), st.sampled_from(COMMANDS)), HANDS)


def check_answer(client: Believer, command: bytes, lines: list[bytes]) -> None:
    """Numbers in an answer are those that the client knew when it asked."""
    if command.startswith(KEEP_NUMBERS):
        assert not any(line.endswith(b" EXPUNGE") for line in lines), (command, lines)
    if command == b"SEARCH ALL":
        numbers = [int(word) for line in lines if line.startswith(b"* SEARCH") for word in line.split()[2:]]
        assert all(1 <= number <= len(client.messages) for number in numbers), (numbers, client.messages)
    client.hear(lines)


def ask(client: Client, believer: Believer, command: bytes) -> None:
    check_answer(believer, command, client.lines(command))


@given(st.integers(0, 4), st.lists(DOINGS, max_size=20), st.sampled_from([b"", b"IMAP4rev2"]))
def test_numbers_are_true_whatever_others_do(
    before: int, doings: list[tuple[str, bytes | int]], enabled: bytes
) -> None:
    world = World(max_errors=1000)
    for _ in range(before):
        world.inbox.insert(b"x")
    client, believer = world.log_in(b""), Believer()
    if enabled:
        client.lines(b"ENABLE " + enabled)
    believer.hear(client.lines(b"SELECT INBOX"))
    for what, which in doings:
        if isinstance(which, bytes):
            ask(client, believer, which)
        elif what.startswith("flush"):
            ask(client, believer, b"NOOP" if what == "flush" else b"FETCH 1:* (UID FLAGS)")
        else:
            happen(world.inbox, what, which)
    ask(client, believer, b"NOOP")
    assert believer.knows(world.inbox.messages)
    ask(client, believer, b"UID FETCH 1:* FLAGS")
    assert [uid for uid, _ in believer.messages] == list(world.inbox.messages)
    assert not world.log.failures


@given(st.lists(st.tuples(st.sampled_from("IN"), HANDS), max_size=12))
def test_what_is_told_while_idling_is_true(hands: list[tuple[str, Hand]]) -> None:
    world = World()
    client, believer = world.log_in(), Believer()
    for mode, (what, n) in hands:
        if mode == "I":
            client.say(b"i IDLE\r\n")
            happen(world.inbox, what, n)
            believer.hear(client.connection.take().split(b"\r\n"))
            assert believer.knows(world.inbox.messages)
            believer.hear(client.say(b"DONE\r\n").split(b"\r\n"))
        else:
            happen(world.inbox, what, n)
            ask(client, believer, b"NOOP")
    assert not world.log.failures


# --- sets of numbers


def view_with(*uids: int) -> View:
    view = View(lambda: None, read_only=False)
    view.uids = uids
    return view


@pytest.mark.parametrize(
    ("numbers", "by_seq", "by_uid"),
    [
        (((1, 1),), [3], []),
        (((1, STAR),), [3, 5, 9], [3, 5, 9]),
        (((STAR, STAR),), [9], [9]),
        (((3, 1),), [3, 5, 9], [3]),
        (((5, 9),), [], [5, 9]),
        (((100, STAR),), [9], [9]),
        (((STAR, 2),), [5, 9], [3, 5, 9]),
        (((2, 2), (1, 2), (2, 3)), [3, 5, 9], [3]),
        (((4294967295, 4294967295),), [], []),
    ],
)
def test_sets_of_numbers(numbers: SequenceSet, by_seq: list[int], by_uid: list[int]) -> None:
    view = view_with(3, 5, 9)
    assert list(view.select(numbers, by_uid=False)) == by_seq
    assert list(view.select(numbers, by_uid=True)) == by_uid
    assert list(view_with().select(numbers, by_uid=True)) == []


@pytest.mark.parametrize(
    ("count", "numbers", "valid"),
    [
        (3, ((1, 3),), True),
        (3, ((1, 4),), False),
        (3, ((STAR, 3),), True),
        (3, ((1, 1), (4, 4)), False),
        (0, ((STAR, STAR),), False),
        (0, ((1, STAR),), False),
    ],
)
def test_numbers_that_no_message_has(count: int, numbers: SequenceSet, valid: bool) -> None:
    assert bool(view_with(*range(1, count + 1)).valid_seqs(numbers)) is valid


def test_recent_belongs_to_the_first_that_is_told() -> None:
    world = World()
    world.inbox.insert(b"x")
    world.log_in(b"EXAMINE INBOX")
    assert world.inbox.status().recent == 1
    assert b"* 1 RECENT" in world.log_in(b"").lines(b"SELECT INBOX")
    assert b"* 0 RECENT" in world.log_in(b"").lines(b"SELECT INBOX")


def test_own_flags_are_not_told_again() -> None:
    world = World()
    world.inbox.insert(b"x")
    client, other = world.log_in(), world.log_in()
    assert client.lines(b"STORE 1 +FLAGS.SILENT (\\Seen)") == [b"t OK STORE completed"]
    assert client.lines(b"NOOP") == [b"t OK NOOP completed"]
    assert other.lines(b"NOOP")[0] == b"* 1 FETCH (UID 1 FLAGS (\\Seen))"


def test_a_mailbox_that_is_gone_ends_the_selection() -> None:
    world = World()
    client = world.log_in()
    world.inbox.tell(MailboxGone())
    assert client.lines(b"NOOP") == [
        b"* OK [CLOSED] the mailbox was deleted, renamed or replaced",
        b"t OK NOOP completed",
    ]
    assert client.lines(b"FETCH 1 UID")[-1].startswith(b"t BAD")


def test_changes_by_others_reach_every_session_once() -> None:
    world = World()
    uid = world.inbox.insert(b"x")
    clients = [world.log_in() for _ in range(3)]
    clients[0].lines(b"UID STORE %d +FLAGS ($A)" % uid)
    for client in clients[1:]:
        assert [line for line in client.lines(b"NOOP") if b"FETCH" in line] == [b"* 1 FETCH (UID 1 FLAGS ($A))"]
        assert client.lines(b"NOOP") == [b"t OK NOOP completed"]
