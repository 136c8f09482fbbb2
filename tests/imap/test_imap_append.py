"""APPEND's edges: what is refused before it is uploaded, what a shutdown lets finish, and memory."""

from __future__ import annotations

import pytest
from imap_world import ALICE, World

from mailstack.imap.wire.append_grammar import AppendGrammar, Begin, End, IsPartOfCommand, Segment, Step, Text, Url
from mailstack.imap.wire.cursor import Cursor
from mailstack.imap.wire.framing import LiteralAnnounced
from mailstack.quota import QuotaLimit


@pytest.mark.parametrize("commas", [b"{900}", b"{900+}"])
def test_what_has_no_room_is_refused_before_it_is_uploaded(commas: bytes) -> None:
    world = World()
    client = world.log_in()
    world.store.of(ALICE).limit = QuotaLimit(1000, 0)
    assert client.say(b"a APPEND INBOX {600}\r\n") == b"+ go ahead\r\n"
    assert b"a OK" in client.say(b"x" * 600 + b"\r\n")
    said = client.say(b"b APPEND INBOX %b\r\n" % commas + (b"y" * 900 + b"\r\n") * commas.endswith(b"+}"))
    assert said == b"b NO [OVERQUOTA] quota exceeded\r\n"
    assert client.lines(b"NOOP") == [b"t OK NOOP completed"]
    assert world.spool.leaks == 0


def test_the_second_of_two_messages_has_no_room() -> None:
    world = World()
    client = world.log_in()
    world.store.of(ALICE).limit = QuotaLimit(1000, 0)
    assert client.say(b"a APPEND INBOX {600}\r\n") == b"+ go ahead\r\n"
    assert client.say(b"x" * 600 + b" {600}\r\n") == b"a NO [OVERQUOTA] quota exceeded\r\n"
    assert world.inbox.uids == ()


def test_a_literal_that_is_too_large_gets_no_leave() -> None:
    client = World(max_message_size=1000).log_in()
    assert client.say(b"a APPEND INBOX {1001}\r\n") == b"a NO [TOOBIG] the message is too large\r\n"
    assert client.say(b"b APPEND INBOX {4294967296}\r\n").startswith(b"b NO [TOOBIG]")
    assert client.say(b"c APPEND INBOX {8589934592+}\r\n").startswith(b"* BYE [TOOBIG]")


@pytest.mark.parametrize("octets", [b"\r\n", b"\r", b""])
def test_a_shutdown_waits_for_the_end_of_an_append(octets: bytes) -> None:
    """The last octets of the command may be in a segment of their own."""
    world = World()
    client = world.log_in()
    client.say(b"a APPEND INBOX {3+}\r\nabc" + octets[:1] * (octets == b"\r"))
    client.connection.shut_down()
    if octets == b"\r\n":
        assert b"a OK" in client.say(b"\r\n")
    else:
        assert not client.over
        client.say(b"\n" if octets else b"\r\n")
    assert world.inbox.uids == (1,)
    assert client.over == [None]


def test_an_append_that_stalls_is_given_up() -> None:
    """Its message is in nobody's memory any more."""
    world = World()
    client = world.log_in()
    client.say(b"a APPEND INBOX {1000}\r\n" + b"x" * 500)
    assert world.spool.leaks == 1
    client.connection.time_out()
    assert client.connection.take().startswith(b"* BYE idle")
    assert world.spool.leaks == 0


def test_catenate_is_bounded() -> None:
    world = World(max_message_size=5000)
    world.inbox.insert(b"x" * 3000)
    client = world.log_in()
    url = b'URL "/INBOX/;UID=1"'
    assert client.lines(b"APPEND INBOX CATENATE (%b %b)" % (url, url)) == [b"t NO [TOOBIG] the message is too large"]
    assert world.spool.leaks == 0
    assert world.inbox.listeners == [client.session.view]


def test_a_url_of_any_length_is_answered() -> None:
    client = World().log_in()
    (answer,) = client.lines(b'APPEND INBOX CATENATE (URL "/%b/;UID=1")' % (b"x" * 60_000))
    assert answer.startswith(b"t NO [BADURL /xxx")
    assert len(answer) < 2000
    assert client.say(b"a APPEND INBOX CATENATE (URL {70000}\r\n") == b"a NO [LIMIT] a limit is reached\r\n"
    answer = client.say(b"b APPEND INBOX CATENATE (URL {70000+}\r\n" + b"/" * 70000 + b")\r\nc NOOP\r\n")
    assert answer == b"b NO [LIMIT] a limit is reached\r\nc OK NOOP completed\r\n"


def literal(size: int = 5, *, binary: bool = False) -> LiteralAnnounced:
    return LiteralAnnounced(size, True, b"", binary)


def steps(*segments: tuple[bytes, LiteralAnnounced | None]) -> list[list[Step]]:
    grammar = AppendGrammar()
    return [grammar.segment(Segment(Cursor(octets), announced)) for octets, announced in segments]


def kinds(found: list[list[Step]]) -> list[list[type]]:
    return [[type(step) for step in segment] for segment in found]


def test_segments_become_steps() -> None:
    assert kinds(steps((b"(\\Seen) ", literal()), (b"", None))) == [[Begin, Text], [End]]
    found = steps((b"CATENATE (URL a TEXT ", literal()), (b" URL b) ", literal()), (b"  ", None))
    assert kinds(found) == [[Begin, Url, Text], [Url, End, Begin, Text], [End]]
    found = steps((b"UTF8 (", literal(binary=True)), (b") CATENATE (UTF8 (", literal(binary=True)), (b") URL x)", None))
    assert kinds(found) == [[Begin, Text], [End, Begin, Text], [Url, End]]
    assert [step.utf8 for segment in found for step in segment if isinstance(step, Text)] == [True, True]


def test_a_literal_of_a_url_is_a_part_of_the_command_and_nothing_is_taken_twice() -> None:
    grammar = AppendGrammar()
    with pytest.raises(IsPartOfCommand):
        grammar.segment(Segment(Cursor(b"() CATENATE (URL a URL "), literal()))
    found = grammar.segment(Segment(Cursor(b"() CATENATE (URL a URL {5}\r\nabcde)"), None))
    assert kinds([found]) == [[Begin, Url, Url, End]]
    assert found[2] == Url("abcde")
