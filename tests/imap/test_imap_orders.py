"""Orders and threads of a mailbox that changes: remembered, and yet as if they were made anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imap_world import ALICE, Client, World

from mailstack.imap import orders
from mailstack.imap.memory import Memory
from mailstack.imap.sort_keys import (
    CC,
    DISPLAY_FROM,
    DISPLAY_TO,
    EMPTY,
    FROM,
    MAX_REFERENCES,
    NO_DATE,
    SUBJECT,
    TO,
    date_of,
    ids_of,
    record,
    text_of,
)
from mailstack.ports import Added, Octets
from mailstack.store.derived import MAX_DERIVED
from mailstack.testing.store import MemoryMailbox

# --- records ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "header", "text"),
    [
        (SUBJECT, b"Subject: Re: [x] =?iso-8859-1?q?gr=FCn?=\r\n =?iso-8859-1?q?er?= (fwd)", "GRU\u0308NER"),
        (SUBJECT, b"subject: One\r\nSubject: Two", "ONE"),
        (SUBJECT, b"Subject: a\0b", "AB"),
        (SUBJECT, b"To: x@y", ""),
        (FROM, b"From: Alice <Bob@example.org>, c@d", "BOB"),
        (FROM, b"From: =?utf-8?q?Zo?= <\xc3\xa4@example.org>", "A\u0308"),
        (FROM, b"From: friends: a@b, c@d;", "FRIENDS"),
        (FROM, b"From:", ""),
        (TO, b"To: a@b\r\nTo: c@d", "A"),
        (CC, b"Cc: (nobody) a@b", "A"),
        (DISPLAY_FROM, b"From: =?utf-8?q?=C3=84rne?= <a@b>", "A\u0308RNE"),
        (DISPLAY_FROM, b'From: "Bob, x" <a@b>', "BOB, X"),
        (DISPLAY_FROM, b'From: "" <a@b>', "A@B"),
        (DISPLAY_FROM, b"From: a@b", "A@B"),
        (DISPLAY_FROM, b"From: friends: a@b;", "FRIENDS"),
        (DISPLAY_TO, b"From: a@b", ""),
    ],
)
def test_texts(number: int, header: bytes, text: str) -> None:
    assert text_of(record(header + b"\r\n\r\n"), number).decode() == text


def test_numbers_of_a_record() -> None:
    made = record(
        b"Date: 1 Jan 1970 00:00:05 +0000\r\nSubject: Fwd: x\r\nMessage-ID: <a@b>\r\n"
        b"References: <c@d>\r\n <a@b>\r\n\r\n"
    )
    date, reply, own, above = ids_of(made)
    assert (date, reply, len(above)) == (5, True, 16)
    assert above[8:] == own.to_bytes(8, "little")
    assert date_of(record(b"Date: 31 Dec 1969 23:59:59 +0000\r\n\r\n")) == -1
    assert date_of(record(b"Date: x\r\n\r\n")) == date_of(EMPTY) == NO_DATE


def test_in_reply_to_counts_where_references_have_nothing() -> None:
    above = ids_of(record(b"References: <a@b>\r\n\r\n"))[3]
    assert ids_of(record(b"In-Reply-To: Bob's of Monday <a@b>, <c@d>\r\n\r\n"))[3] == above
    assert ids_of(record(b"References: nothing\r\nIn-Reply-To: <a@b>\r\n\r\n"))[3] == above
    assert ids_of(record(b"References: <c@d>\r\nIn-Reply-To: <a@b>\r\n\r\n"))[3] != above


def test_a_header_of_any_size_makes_a_record_that_is_kept() -> None:
    references = b"".join(b" <%d@example.org>\r\n" % number for number in range(5000))
    texts = b"".join(b"%s: %s\r\n" % (name, b"\xc3\xa4" * 20_000) for name in (b"From", b"To", b"Cc"))
    made = record(
        texts + b"Subject: " + b"Re: " * 10_000 + b"\xef\xb7\xba" * 1000 + b"\r\nReferences:" + references + b"\r\n"
    )
    assert len(made) <= MAX_DERIVED
    assert len(ids_of(made)[3]) == 8 * MAX_REFERENCES


def test_long_subjects_are_told_apart() -> None:
    one, other = (text_of(record(b"Subject: " + b"x" * 10_000 + end + b"\r\n\r\n"), SUBJECT) for end in (b"1", b"2"))
    assert one != other


@given(st.binary(max_size=400))
def test_every_header_makes_a_whole_record(octets: bytes) -> None:
    made = record(b"Subject: " + octets + b"\r\nFrom: " + octets + b"\r\nReferences: " + octets)
    assert [text_of(made, number) for number in range(6)]
    assert made[19 + len(ids_of(made)[3]) :].count(b"\0") == 5


# --- orders that are remembered ---------------------------------------------------------------


class Counting:
    """Counts the messages of which records were asked."""

    def __init__(self, box: MemoryMailbox) -> None:
        self.asked = 0
        self._derive = box.derive
        box.derive = self.derive  # type: ignore[method-assign]

    async def derive(self, uids: Sequence[int], item: str, fn: Callable[[Octets], bytes]) -> list[bytes | None]:
        self.asked += len(uids)
        return await self._derive(uids, item, fn)


def message(subject: int, day: int) -> bytes:
    return b"Subject: s%d\r\nDate: %d Jan 2020 00:00:00 +0000\r\nMessage-ID: <%d@x>\r\n\r\n" % (subject, day, subject)


def world_of(count: int) -> World:
    world = World()
    for number in range(count):
        world.inbox.insert(message(number * 7 % 10, 1 + number * 5 % 28))
    return world


def arrive(world: World, subject: int, day: int) -> None:
    world.inbox.tell(Added((world.inbox.insert(message(subject, day)),)))


def expunge(client: Client, uid: int) -> None:
    client.say(b"t UID STORE %d +FLAGS.SILENT (\\Deleted)\r\nt EXPUNGE\r\n" % uid)


SORT, THREAD = b"UID SORT (SUBJECT REVERSE DATE) UTF-8 ALL", b"UID THREAD REFERENCES UTF-8 ALL"


@pytest.mark.parametrize("command", [SORT, THREAD])
def test_asking_again_reads_nothing(command: bytes) -> None:
    world = world_of(1000)
    counting = Counting(world.inbox)
    first = world.log_in()
    said = first.lines(command)[0]
    asked = counting.asked
    assert asked >= 1000
    assert first.lines(command)[0] == said
    assert first.lines(command.replace(b"ALL", b"UNDELETED"))[0] == said
    assert counting.asked == asked


def test_a_new_message_costs_a_few_reads() -> None:
    world = world_of(1000)
    counting = Counting(world.inbox)
    client = world.log_in()
    client.lines(SORT)
    asked = counting.asked
    arrive(world, 5, 5)
    client.lines(b"NOOP")
    assert len(client.lines(SORT)[0].split()) == 3 + 1000
    assert 0 < counting.asked - asked < 20


def test_a_small_result_is_sorted_by_itself() -> None:
    world = world_of(1000)
    counting = Counting(world.inbox)
    client = world.log_in()
    assert len(client.lines(b"UID SORT (SUBJECT) UTF-8 1:20")[0].split()) == 2 + 20
    assert counting.asked == 20


events = st.lists(
    st.one_of(
        st.tuples(st.just("new"), st.integers(0, 9), st.integers(1, 28)),
        st.tuples(st.just("expunge"), st.integers(1, 20), st.just(0)),
        st.tuples(st.just("sort"), st.just(0), st.just(0)),
    ),
    max_size=20,
)  # fmt: skip


@given(events=events, most=st.sampled_from([0, 2, 256]))
@settings(max_examples=60)
def test_a_changed_mailbox_is_sorted_as_if_anew(events: list[tuple[str, int, int]], most: int) -> None:
    before, orders.MAX_INSERTED = orders.MAX_INSERTED, most
    try:
        world = world_of(8)
        client = world.log_in()
        for what, number, day in [*events, ("sort", 0, 0)]:
            if what == "new":
                arrive(world, number, day)
            elif what == "expunge":
                expunge(client, number)
            else:
                client.lines(b"NOOP")
                fresh = World()
                fresh.store = world.store
                for command in (SORT, b"UID SORT (REVERSE SUBJECT) UTF-8 ALL", THREAD):
                    assert client.lines(command) == fresh.log_in().lines(command)
        assert not world.log.failures
    finally:
        orders.MAX_INSERTED = before


def test_a_message_that_vanishes_meanwhile_is_left_out() -> None:
    world = world_of(300)
    client = world.log_in()
    client.lines(SORT)
    derive = world.inbox.derive

    async def vanishing(uids: Sequence[int], item: str, fn: Callable[[Octets], bytes]) -> list[bytes | None]:
        made = await derive(uids, item, fn)
        for uid in uids[:1]:
            if uid < 300:
                await world.inbox.expunge([uid], None)
        return made

    arrive(world, 5, 5)
    client.lines(b"NOOP")
    world.inbox.derive = vanishing  # type: ignore[method-assign]
    answer = client.lines(SORT)
    assert answer[-1].startswith(b"t OK")
    world.inbox.derive = derive  # type: ignore[method-assign]
    fresh = World()
    fresh.store = world.store
    assert client.lines(SORT) == fresh.log_in().lines(SORT)


def test_another_account_has_an_order_of_its_own() -> None:
    world = World()
    memory = Memory()
    world.accounts = type(world.accounts)({ALICE: "secret", "bob@example.org": "secret"})
    for user, subjects in ((ALICE, (2, 1)), ("bob@example.org", (1, 2))):
        box = world.store.box(user)
        for number in subjects:
            box.insert(message(number, 1))
    answers = []
    for user in (ALICE, "bob@example.org"):
        client = world.connect()
        object.__setattr__(client.session.resources, "memory", memory)
        client.lines(b"LOGIN %s secret" % user.encode())
        client.lines(b"SELECT INBOX")
        answers.append(client.lines(SORT)[0])
    assert answers == [b"* SORT 2 1", b"* SORT 1 2"]


# --- memory -------------------------------------------------------------------------------------


def test_the_least_recently_used_is_forgotten() -> None:
    memory = Memory(limit=100)
    memory.put("a", 1, 40)
    memory.put("b", 2, 40)
    assert memory.get("a") == 1
    memory.put("c", 3, 40)
    assert (memory.get("a"), memory.get("b"), memory.get("c")) == (1, None, 3)
    memory.put("a", 4, 60)
    assert (memory.get("a"), memory.get("c")) == (4, 3)
    memory.put("d", 5, 101)
    assert (memory.get("a"), memory.get("c"), memory.get("d")) == (4, 3, None)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 120)), max_size=30))
def test_no_more_is_remembered_than_may_be(puts: list[tuple[int, int]]) -> None:
    memory, sizes = Memory(limit=100), {}
    for key, octets in puts:
        memory.put(key, key, octets)
        sizes[key] = octets
        assert sum(sizes[known] for known in range(6) if memory.get(known) is not None) <= 100
