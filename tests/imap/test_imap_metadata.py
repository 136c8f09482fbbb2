"""METADATA where a transcript does not reach: sizes and numbers."""

from __future__ import annotations

import pytest
from imap_world import World

from mailstack.imap.ext.rfc5464_metadata import MAX_ENTRIES, MAX_VALUE

TOO_LONG = b"t NO [METADATA MAXSIZE %d] a value is too long\r\n" % MAX_VALUE


@pytest.mark.parametrize(
    ("size", "plus", "answer"),
    [
        (MAX_VALUE, b"+", b"t OK SETMETADATA completed\r\n"),
        (MAX_VALUE + 1, b"+", TOO_LONG),
        (100_000, b"+", TOO_LONG),
        (10_000_000, b"+", TOO_LONG),
    ],
)
def test_a_value_has_so_many_octets(size: int, plus: bytes, answer: bytes) -> None:
    client = World().log_in(b"")
    command = b"t SETMETADATA INBOX (/private/comment {%d%s}\r\n%s)\r\n" % (size, plus, b"x" * size)
    assert client.say(command) == answer
    assert client.lines(b"NOOP") == [b"t OK NOOP completed"]


def test_who_waits_for_leave_is_told_before_he_sends() -> None:
    client = World().log_in(b"")
    assert client.say(b"t SETMETADATA INBOX (/private/comment {100000}\r\n") == TOO_LONG
    assert client.lines(b"NOOP") == [b"t OK NOOP completed"]
    assert client.say(b"t GETMETADATA {100000}\r\n").startswith(b"t BAD [LIMIT]")


def test_a_mailbox_has_so_many_entries() -> None:
    client = World().log_in(b"")
    for start in range(0, MAX_ENTRIES, 50):
        pairs = b" ".join(b'/private/e%d "x"' % number for number in range(start, start + 50))
        assert client.lines(b"SETMETADATA INBOX (%s)" % pairs)[-1].startswith(b"t OK")
    assert client.lines(b'SETMETADATA INBOX (/private/more "x")')[-1].startswith(b"t NO [METADATA TOOMANY]")
    assert client.lines(b'SETMETADATA INBOX (/private/e1 "other")')[-1].startswith(b"t OK")
    assert client.lines(b"SETMETADATA INBOX (/private/e1 NIL)")[-1].startswith(b"t OK")
    assert client.lines(b'SETMETADATA INBOX (/private/more "x")')[-1].startswith(b"t OK")
