"""News of results (RFC 5267): whatever happens, who follows it has what asking again would give."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from imap_world import Client, World

from mailstack.imap.ext import rfc5267_context
from mailstack.ports import Added

UPDATES = re.compile(rb'\* ESEARCH \(TAG "(\w+)"\)( UID)? (ADDTO|REMOVEFROM) \((.*)\)')
SORT = b"UID SORT RETURN (%s) (SUBJECT REVERSE DATE) UTF-8 UNSEEN"
SEARCH = b"SEARCH RETURN (%s) UNSEEN"


def numbers(text: bytes) -> list[int]:
    found: list[int] = []
    for piece in filter(None, text.split(b",")):
        low, _, high = piece.partition(b":")
        found += range(int(low), int(high or low) + 1)
    return found


class Follower:
    """A client that keeps two results up to date: one sorted, of UIDs, one of message sequence numbers."""

    def __init__(self, world: World) -> None:
        self.client = world.log_in()
        self.results = {b"s": self._ask(b"s", SORT), b"n": self._ask(b"n", SEARCH)}

    def _ask(self, tag: bytes, command: bytes) -> list[int]:
        return self.all_of(self.client.say(tag + b" " + command % b"UPDATE ALL" + b"\r\n"))

    @staticmethod
    def all_of(said: bytes) -> list[int]:
        found = re.search(rb" ALL (\S+)", said)
        return numbers(found[1]) if found else []

    def noop(self) -> None:
        for line in self.client.lines(b"NOOP"):
            if update := UPDATES.fullmatch(line):
                pairs = update[4].split()
                for place, those in zip(map(int, pairs[::2]), map(numbers, pairs[1::2]), strict=True):
                    self._update(self.results[update[1]], update[3], place, those)
            elif gone := re.fullmatch(rb"\* (\d+) EXPUNGE", line):
                expunged = int(gone[1])
                assert expunged not in self.results[b"n"]
                self.results[b"n"] = [number - (number > expunged) for number in self.results[b"n"]]

    def _update(self, result: list[int], what: bytes, place: int, those: list[int]) -> None:
        if what == b"ADDTO" and place:
            result[place - 1 : place - 1] = those
        elif what == b"ADDTO":
            result[:] = sorted([*result, *those])
        elif place:
            assert result[place - 1 : place - 1 + len(those)] == those
            del result[place - 1 : place - 1 + len(those)]
        else:
            assert set(those) <= set(result)
            result[:] = [number for number in result if number not in those]


def message(subject: int, day: int) -> bytes:
    return b"Subject: %d\r\nDate: %d Jan 2020 00:00:00 +0000\r\n\r\n" % (subject, day)


events = st.lists(
    st.one_of(
        st.tuples(st.just("new"), st.integers(0, 4), st.integers(1, 3)),
        st.tuples(st.just("seen"), st.integers(1, 6), st.integers(0, 1)),
        st.tuples(st.just("expunge"), st.integers(1, 6), st.just(0)),
        st.tuples(st.just("look"), st.just(0), st.just(0)),
    ),
    max_size=15,
)  # fmt: skip


def _happen(world: World, other: Client, event: tuple[str, int, int]) -> None:
    what, number, more = event
    if what == "new":
        world.inbox.tell(Added((world.inbox.insert(message(number, more)),)))
    elif what == "seen":
        other.say(b"t UID STORE %d %cFLAGS (\\Seen)\r\n" % (number, b"-+"[more]))
    elif what == "expunge":
        other.say(b"t UID STORE %d +FLAGS (\\Deleted)\r\nt EXPUNGE\r\n" % number)


@given(events=events)
@settings(max_examples=60)
def test_following_comes_to_the_same_as_asking_again(events: list[tuple[str, int, int]]) -> None:
    world = World()
    for number in (3, 1, 2, 2):
        world.inbox.insert(message(number, number))
    follower, other = Follower(world), world.log_in()
    for event in [*events, ("look", 0, 0)]:
        _happen(world, other, event)
        if event[0] == "look":
            follower.noop()
            for tag, command in ((b"s", SORT), (b"n", SEARCH)):
                asked = follower.all_of(follower.client.say(b"t " + command % b"ALL" + b"\r\n"))
                assert follower.results[tag] == asked
    assert not world.log.failures


def test_only_so_many_results_are_followed() -> None:
    world = World()
    world.inbox.insert(message(1, 1))
    client = world.log_in()
    for number in range(rfc5267_context.MAX_CONTEXTS):
        assert b"NOUPDATE" not in client.say(b"t%d UID SEARCH RETURN (UPDATE COUNT) ALL\r\n" % number)
    said = client.say(b"last UID SEARCH RETURN (UPDATE COUNT) ALL\r\n")
    assert said.startswith(b'* NO [NOUPDATE "last"]')
    assert b'* ESEARCH (TAG "last") UID COUNT 1\r\n' in said
    assert client.lines(b'CANCELUPDATE "t0" "t1"')[-1].startswith(b"t OK")
    assert b"NOUPDATE" not in client.say(b"last UID SEARCH RETURN (UPDATE COUNT) ALL\r\n")
