"""EMAILID and THREADID (RFC 8474)."""

from __future__ import annotations

import re

from imap_world import World

from mailstack.mail.object_ids import content_id, thread_id

FIRST = b"Message-ID: <first@example.org>\r\nSubject: a\r\n\r\nHello\r\n"
ANSWER = b"Message-ID: <second@example.org>\r\nIn-Reply-To: <first@example.org>\r\n\r\nYes\r\n"
LATER = (
    b"Message-ID: <third@example.org>\r\nReferences: <first@example.org>\r\n <second@example.org>\r\n"
    b"In-Reply-To: <second@example.org>\r\n\r\nNo\r\n"
)
OTHER = b"Message-ID: <x@example.org>\r\n\r\nElse\r\n"


def ids(lines: list[bytes], item: bytes) -> list[bytes]:
    """The ids of all FETCH responses, of which each has one."""
    found = re.findall(rb"%b \(([A-Za-z0-9_-]{1,255})\)" % item, b"\n".join(lines))
    assert len(found) == sum(b" FETCH (" in line for line in lines) > 0, lines
    return found


def test_what_answers_a_message_is_of_its_thread() -> None:
    assert thread_id(FIRST) == thread_id(ANSWER) == thread_id(LATER)
    assert thread_id(OTHER) != thread_id(FIRST)


def test_a_message_without_any_message_id_is_a_thread_of_its_own() -> None:
    assert thread_id(b"Subject: a\r\n\r\nb") != thread_id(b"Subject: a\r\n\r\nc")
    assert thread_id(b"References: nonsense\r\nIn-Reply-To: \r\n\r\n") == content_id(
        b"References: nonsense\r\nIn-Reply-To: \r\n\r\n"
    )


def test_ids_are_fetched_and_last() -> None:
    world = World()
    for octets in (FIRST, ANSWER, OTHER):
        world.inbox.insert(octets)
    client = world.log_in()
    lines = client.lines(b"FETCH 1:* (EMAILID THREADID)")
    emails, threads = ids(lines, b"EMAILID"), ids(lines, b"THREADID")
    assert len(set(emails)) == 3
    assert threads[0] == threads[1] != threads[2]
    assert ids(client.lines(b"UID FETCH 1:* EMAILID"), b"EMAILID") == emails
    again = world.log_in(b"EXAMINE INBOX")
    assert ids(again.lines(b"FETCH 1:* (FLAGS EMAILID BODY.PEEK[TEXT]<0.1>)"), b"EMAILID") == emails


def test_a_copy_has_the_ids_of_its_source() -> None:
    world = World()
    world.inbox.insert(FIRST)
    client = world.log_in()
    before = client.lines(b"FETCH 1 (EMAILID THREADID)")
    assert client.lines(b"CREATE Copies")[-1].startswith(b"t OK")
    assert client.lines(b"COPY 1 Copies")[-1].startswith(b"t OK")
    assert client.lines(b"SELECT Copies")[-1].startswith(b"t OK")
    assert client.lines(b"FETCH 1 (EMAILID THREADID)") == before


def test_the_same_octets_with_another_internal_date_are_another_message() -> None:
    """RFC 8474 §5.1: what is immutable of a message is the same wherever its EMAILID is."""
    world = World()
    client = world.log_in()
    for date in (b"01-Jan-2020 00:00:00 +0000", b"01-Jan-2020 00:00:00 +0000", b"02-Jan-2020 00:00:00 +0000"):
        client.say(b't APPEND INBOX "%b" {%d+}\r\n%b\r\n' % (date, len(FIRST), FIRST))
    emails = ids(client.lines(b"FETCH 1:3 EMAILID"), b"EMAILID")
    assert emails[0] == emails[1] != emails[2]


def test_search_finds_messages_by_their_ids() -> None:
    world = World()
    for octets in (FIRST, ANSWER, OTHER):
        world.inbox.insert(octets)
    client = world.log_in()
    lines = client.lines(b"FETCH 1:* (EMAILID THREADID)")
    emails, threads = ids(lines, b"EMAILID"), ids(lines, b"THREADID")
    assert client.lines(b"SEARCH THREADID " + threads[0])[0] == b"* SEARCH 1 2"
    assert client.lines(b"SEARCH NOT THREADID " + threads[0])[0] == b"* SEARCH 3"
    assert client.lines(b"UID SEARCH EMAILID " + emails[1])[0] == b"* SEARCH 2"
    assert client.lines(b"SEARCH OR EMAILID %b EMAILID %b" % (emails[0], emails[2]))[0] == b"* SEARCH 1 3"
    other_date = emails[0][:-1] + (b"1" if emails[0][-1:] != b"1" else b"2")
    for nobody in (b"E", b"x-y_z", other_date, emails[0][1:]):
        assert client.lines(b"SEARCH EMAILID " + nobody)[0] == b"* SEARCH"
    assert b"an object id" in client.lines(b"SEARCH EMAILID (x)")[-1]
