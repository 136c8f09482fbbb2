"""Search keys and return options of extensions, over the fakes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imap_world import ALICE, Client, World

from mailstack.imap.ext.rfc6203_fuzzy import slipped
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


# --- SEARCH=FUZZY (RFC 6203) ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "text", "expected"),
    [
        ("helo", "say hello", True),
        ("helo", "help", True),
        ("hello", "helo", True),
        ("hello", "hallo", True),
        ("hello", "ehllo", True),
        ("hello", "hlelo", True),
        ("hello", "ello there", True),
        ("hello", "hell", True),
        ("hello", "hel", False),
        ("hello", "haloo", False),
        ("cat", "cot", False),
        ("message", "msesaeg", False),
        ("message", "massage", True),
        ("message", "es es es es", False),
    ],
)
def test_one_slip(word: str, text: str, expected: bool) -> None:
    assert slipped(word, text) is expected


def fuzzy() -> Client:
    world = World()
    for subject, body in (
        (b"IMAP is broken", b"nothing"), (b"broken mail", b"about IMAP"),
        (b"imap brake", b"Gr\xc3\xbc\xc3\x9fe"), (b"x", b"y"), (b"IMAP break", b"imap break"),
    ):  # fmt: skip
        head = b"Content-Type: text/plain; charset=utf-8\r\n"
        world.inbox.insert(b"Subject: %b\r\n%b\r\n%b" % (subject, head, body), len(body) % 2)
    return world.log_in()


@pytest.mark.parametrize(
    ("key", "found"),
    [
        (b'FUZZY SUBJECT "IMAP broken"', b"1 2 3 5"),
        (b'FUZZY SUBJECT "IMAP broken" SUBJECT mail', b"2"),
        (b'FUZZY (BODY "grusse")', b"3"),
        (b"FUZZY BODY grusze", b"3"),
        (b"FUZZY NOT SUBJECT imap", b"2 4"),
        (b"FUZZY OR SUBJECT brkoen BODY nothign", b"1 2"),
        (b"FUZZY TEXT impa", b"1 2 3 5"),
        (b"FUZZY HEADER X-Other a", b""),
        (b"FUZZY HEADER SUBJECT {0+}\r\n", b"1 2 3 4 5"),
        (b"FUZZY BODY @", b""),
        (b'FUZZY BODY ""', b"1 2 3 4 5"),
        (b"FUZZY SEEN", b"1 3 4"),
    ],
)
def test_fuzzy_keys(key: bytes, found: bytes) -> None:
    answer = fuzzy().say(b"t SEARCH " + key + b"\r\n")
    assert answer.split(b"\r\n")[0].split() == [b"*", b"SEARCH", *found.split()]


def test_relevancy() -> None:
    client = fuzzy()
    assert client.lines(b'SEARCH RETURN (RELEVANCY ALL) FUZZY SUBJECT "IMAP break"')[0] == (
        b'* ESEARCH (TAG "t") ALL 1,3,5 RELEVANCY (45 72 100)'
    )
    assert client.lines(b"UID SEARCH RETURN (RELEVANCY PARTIAL -1:-1) FUZZY SUBJECT break")[0].endswith(
        b"PARTIAL (-1:-1 5) RELEVANCY (100)"
    )
    assert client.lines(b"SEARCH RETURN (RELEVANCY COUNT) FUZZY SEEN")[0].endswith(b"COUNT 3 RELEVANCY (100 100 100)")
    assert client.lines(b"SEARCH RETURN (RELEVANCY) FUZZY SUBJECT nowhere")[0].endswith(b"RELEVANCY ()")
    assert client.lines(b"SEARCH RETURN (RELEVANCY) SUBJECT x") == [b"t BAD expected FUZZY, for RELEVANCY"]


# --- MULTISEARCH (RFC 7377) -------------------------------------------------------------------


def several() -> World:
    world = World()
    world.log_in(b"")
    account = world.store.accounts[ALICE]
    for name in ("Work", "Work/a", "Work/a/deep", "Workshop", "Gr\u00fcn"):
        account._make(name)
        for number in range(3):
            account.boxes[name].insert(b"Subject: %b %d\r\n\r\nx" % (name.encode(), number), number % 2)
    return world


def searched(world: World, command: bytes, select: bytes = b"") -> list[bytes]:
    """The mailboxes that were found something in, and the last line."""
    *responses, last = world.log_in(select).lines(command)
    return [*(line.partition(b"MAILBOX ")[2].partition(b" UIDVALIDITY")[0] for line in responses), last]


OK = b"t OK ESEARCH completed"


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        (b"mailboxes Work", [b"Work"]),
        (b'mailboxes (Work "Gr&APw-n" None Work)', [b'"Gr&APw-n"', b"Work"]),
        (b"subtree Work", [b"Work", b"Work/a", b"Work/a/deep"]),
        (b"subtree-one (Work)", [b"Work", b"Work/a"]),
        (b"subtree-one Work/a mailboxes Work", [b"Work/a", b"Work/a/deep", b"Work"]),
        (b"PERSONAL", [b'"Gr&APw-n"', b"Work", b"Work/a", b"Work/a/deep", b"Workshop"]),
        (b"inboxes", [b'"Gr&APw-n"', b"Work", b"Work/a", b"Work/a/deep", b"Workshop"]),
        (b"subscribed", [b"Workshop"]),
        (b"mailboxes inbox", []),
    ],
)
def test_mailboxes_that_are_searched(sources: bytes, found: list[bytes]) -> None:
    world = several()
    assert world.log_in(b"").lines(b"SUBSCRIBE Workshop")[-1].startswith(b"t OK")
    heard = searched(world, b"ESEARCH IN (%b) SUBJECT 1" % sources)
    assert [name.strip(b'"') for name in heard] == [*(name.strip(b'"') for name in found), OK]


def test_answers_are_as_for_each_mailbox_alone() -> None:
    client = several().log_in(b"SELECT Work")
    validity = client.session.view.mailbox.uid_validity
    assert client.lines(b"ESEARCH RETURN (MIN COUNT) UNSEEN") == [
        b'* ESEARCH (TAG "t" MAILBOX Work UIDVALIDITY %d) UID MIN 1 COUNT 2' % validity, OK,
    ]  # fmt: skip
    assert client.lines(b"ESEARCH RETURN (COUNT) FLAGGED") == [OK], "no response for a mailbox without matches"
    assert client.lines(b"ESEARCH RETURN (SAVE) UNSEEN") == [OK]
    assert client.lines(b"SEARCH $")[0] == b"* SEARCH 1 3"
    assert searched_again(client, b"ESEARCH IN (mailboxes Workshop) $") == 0
    assert searched_again(client, b"ESEARCH IN (mailboxes (Work Work/a)) RETURN (PARTIAL -1:-1) 2:*") == 2
    assert client.lines(b"SEARCH $")[0] == b"* SEARCH 1 3", "nothing is selected or saved by the way"
    assert len(client.session.view.uids) == 3


def searched_again(client: Client, command: bytes) -> int:
    *responses, last = client.lines(command)
    assert last == OK
    return len(responses)


def test_a_search_elsewhere_leaves_no_mailbox_open() -> None:
    world = several()
    client = world.log_in(b"SELECT Work")
    searched_again(client, b"ESEARCH IN (personal) ALL")
    boxes = world.store.accounts[ALICE].boxes
    assert [name for name, box in boxes.items() if box.listeners] == ["Work"]
    world.store.accounts[ALICE].boxes["Workshop"].messages[1].recent = True
    assert searched_again(client, b"ESEARCH IN (mailboxes Workshop) RECENT") == 0
    assert boxes["Workshop"].messages[1].recent, "who looks in by the way claims nothing"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (b"ESEARCH ALL", b"a mailbox that is selected, or others"),
        (b"ESEARCH IN (selected mailboxes x) ALL", b"a mailbox that is selected, or others"),
        (b"ESEARCH IN (personal) RETURN (SAVE) ALL", b"SAVE with the selected mailbox alone (RFC 7377 \xc2\xa72.2)"),
        (b"ESEARCH IN (selected-delayed) ALL", b"SELECTED, PERSONAL, INBOXES, SUBSCRIBED, SUBTREE, SUBTREE-ONE, "),
        (b"ESEARCH IN (mailboxes) ALL", b"a space at column 24"),
        (b"ESEARCH IN (personal (x)) ALL", b"an atom at column 24"),
        (b"ESEARCH IN (mailboxes (%b)) ALL" % b" ".join([b"x"] * 1002), b"at most 1000 mailboxes at column 15"),
    ],
)
def test_what_esearch_must_not_be(command: bytes, expected: bytes) -> None:
    assert several().log_in(b"").lines(command)[0].startswith(b"t BAD expected " + expected)


# --- FILTERS (RFC 5466) -----------------------------------------------------------------------


def set_filter(client: Client, name: bytes, value: bytes, place: bytes = b"private") -> bytes:
    command = b't SETMETADATA "" (/%b/filters/values/%b {%d+}\r\n%b)\r\n' % (place, name, len(value), value)
    return client.say(command).split(b"\r\n")[-2]


def test_filters() -> None:
    client = filled(5).log_in()
    assert set_filter(client, b"On-The-Road", b'OR SMALLER 5 SUBJECT "2"').startswith(b"t OK")
    assert set_filter(client, b"late", b"UNSEEN 3:*").startswith(b"t OK")
    assert client.lines(b"SEARCH FILTER on-the-road")[0] == b"* SEARCH 3"
    assert client.lines(b"SEARCH OR FILTER ON-THE-ROAD 5 ALL")[0] == b"* SEARCH 3 5"
    assert client.lines(b"SEARCH NOT FILTER late SEEN")[0] == b"* SEARCH 2 4"
    assert set_filter(client, b"both", b"FILTER late NOT FILTER on-the-road").startswith(b"t OK")
    assert client.lines(b"UID SEARCH RETURN (ALL) FILTER both")[0].endswith(b"UID ALL 5")
    assert client.lines(b"SEARCH FILTER none")[0] == b"t NO [UNDEFINED-FILTER none] there is no such filter"
    assert client.lines(b"SEARCH FILTER a/b")[0].startswith(b"t BAD expected")
    assert client.lines(b"SEARCH FILTER")[0] == b"t BAD expected a space at column 16"


@pytest.mark.parametrize("value", [b"OR SMALLER", b"", b"ALL x", b"(ALL", b"ALL " * 3000 + b"ALL", b"\xff"])
def test_what_is_no_criterion_is_not_set(value: bytes) -> None:
    client = filled(1).log_in()
    said = set_filter(client, b"x", value)
    assert said == b"t NO [CANNOT] /private/filters/values/x: not a search criterion"
    assert client.lines(b"SEARCH FILTER x")[0].startswith(b"t NO [UNDEFINED-FILTER x]")


def test_filters_that_name_one_another_come_to_an_end() -> None:
    client = filled(3).log_in()
    set_filter(client, b"a", b"FILTER b")
    set_filter(client, b"b", b"OR FILTER a ALL")
    assert client.lines(b"SEARCH FILTER a")[0].startswith(b"t NO [UNDEFINED-FILTER ")
    set_filter(client, b"c0", b"ALL")
    for number in range(9):
        set_filter(client, b"c%d" % (number + 1), b" ".join([b"FILTER c%d" % number] * 10))
    assert client.lines(b"SEARCH FILTER c2")[0] == b"* SEARCH 1 2 3"
    assert client.lines(b"SEARCH FILTER c9")[0].startswith(b"t NO [LIMIT]")


# --- I18NLEVEL=2 (RFC 5255) -------------------------------------------------------------------


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


ODD = "aZ\u0301\u0323\u0345\u00e4\u00df\u0130\u0131\u03a3\u03c2\ufb01\uac00\u13a0\uab70\u1e9b\U0001f600 \n"


@given(st.text(st.sampled_from(ODD)))
def test_a_text_is_folded_as_if_it_were_in_one_piece(text: str) -> None:
    import unicodedata

    once = unicodedata.normalize("NFKD", text).casefold()
    assert fold(text) == unicodedata.normalize("NFKD", once).replace("\u0131", "i")
