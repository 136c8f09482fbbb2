"""Search keys and return options of extensions, over the fakes."""

from __future__ import annotations

import pytest
from imap_world import World

from mailstack.imap.search_content import fold


def filled(count: int) -> World:
    """An INBOX of so many messages; every second one is \\Seen."""
    world = World()
    for number in range(count):
        world.inbox.insert(b"Subject: %d\r\n\r\nx" % number, number % 2, 1_699_999_000.0 + number)
    return world


# --- WITHIN (RFC 5032) ------------------------------------------------------------------------


def test_younger_and_older_include_the_second_itself() -> None:
    client = filled(5).log_in()
    now = int(client.session.resources.clock.now())
    age = now - 1_699_999_002
    assert client.lines(b"SEARCH YOUNGER %d" % age)[0] == b"* SEARCH 3 4 5"
    assert client.lines(b"SEARCH OLDER %d" % age)[0] == b"* SEARCH 1 2 3"
    assert client.lines(b"SEARCH NOT OLDER 0099999999999999999")[0] == b"* SEARCH 1 2 3 4 5"
    for wrong in (b"0", b"x", b"-1", b'"5"'):
        assert b"BAD expected a number of seconds, at least 1" in client.lines(b"SEARCH OLDER " + wrong)[0]
    assert b"BAD expected a space" in client.lines(b"SEARCH OLDER")[0]


# --- PARTIAL (RFC 9394) -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (b"1:2", b"1,3"),
        (b"2:1", b"1,3"),
        (b"4:9", b"7,9"),
        (b"6:9", b"NIL"),
        (b"-1:-2", b"7,9"),
        (b"-2:-1", b"7,9"),
        (b"-5:-5", b"1"),
        (b"-4:-9", b"1,3"),
        (b"-6:-4294967295", b"NIL"),
        (b"1:4294967295", b"1,3,5,7,9"),
    ],
)
def test_partial_results(wanted: bytes, found: bytes) -> None:
    client = filled(9).log_in()
    assert client.lines(b"UID SEARCH RETURN (PARTIAL %b) UNSEEN" % wanted) == [
        b'* ESEARCH (TAG "t") UID PARTIAL (%b %b)' % (wanted, found), b"t OK SEARCH completed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "saved"),
    [
        (b"SAVE PARTIAL 2:3", b"3 5"),
        (b"SAVE PARTIAL 2:3 MIN", b"1 3 5"),
        (b"SAVE MAX PARTIAL -2:-3", b"5 7 9"),
        (b"SAVE PARTIAL 3:3 MIN MAX", b"1 5 9"),
        (b"SAVE PARTIAL 3:3 MIN COUNT", b"1 3 5 7 9"),
        (b"SAVE PARTIAL 8:9", b""),
    ],
)
def test_what_is_saved_of_partial_results(options: bytes, saved: bytes) -> None:
    client = filled(9).log_in()
    assert b"PARTIAL" in client.lines(b"SEARCH RETURN (%b) UNSEEN" % options)[0]
    assert client.lines(b"SEARCH $")[0].split() == [b"*", b"SEARCH", *saved.split()]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (b"SEARCH RETURN (PARTIAL 1:2 ALL) ALL", b"either ALL or PARTIAL"),
        (b"SEARCH RETURN (PARTIAL 1:2 PARTIAL 3:4) ALL", b"each search return option once at column 30"),
        (b"SEARCH RETURN (PARTIAL 1:-2) ALL", b"a range with both ends counted from the same side at column 26"),
        (b"SEARCH RETURN (PARTIAL 0:2) ALL", b"a range as 1:100 or -1:-100 at column 26"),
        (b"SEARCH RETURN (PARTIAL 1) ALL", b"a range as 1:100 or -1:-100 at column 26"),
        (b"SEARCH RETURN (PARTIAL) ALL", b"a space at column 25"),
        (b"FETCH 1:* (UID) (PARTIAL 1:2)", b"UID FETCH, for the modifier PARTIAL"),
    ],
)
def test_what_partial_must_not_be(command: bytes, expected: bytes) -> None:
    assert filled(9).log_in().lines(command) == [b"t BAD expected " + expected]


def test_partial_fetch() -> None:
    client = filled(9).log_in()
    client.lines(b"STORE 2 +FLAGS (\\Deleted)")
    client.lines(b"EXPUNGE")
    assert client.lines(b"UID FETCH 1:5 (UID) (PARTIAL -1:-2)")[:-1] == [
        b"* 3 FETCH (UID 4)", b"* 4 FETCH (UID 5)",
    ]  # fmt: skip
    assert client.lines(b"UID FETCH 1:5 (UID) (PARTIAL 2:2)")[:-1] == [b"* 2 FETCH (UID 3)"]
    assert client.lines(b"UID FETCH 1:5 (UID) (PARTIAL 5:9)") == [b"t OK FETCH completed"]


# --- I18NLEVEL=1 (RFC 5255) -------------------------------------------------------------------


def test_what_unicode_casemap_takes_for_the_same_is_the_same() -> None:
    # RFC 5051 §2: titlecase of each character by its simple mapping, then decomposed
    import unicodedata

    def casemap(character: str) -> str:
        title = character.title()
        return unicodedata.normalize("NFKD", title if len(title) == 1 else character)

    classes: dict[str, str] = {}
    for number in [*range(0xD800), *range(0xE000, 0x20000)]:
        folded = fold(chr(number))
        assert classes.setdefault(casemap(chr(number)), folded) == folded, hex(number)
