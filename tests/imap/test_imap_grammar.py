"""The grammar as tables: rule, octets, value; and what is said of octets that do not parse."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.errors import BadSyntax, Refused
from mailstack.imap.core.copy import copy_arguments
from mailstack.imap.core.fetch import fetch_arguments
from mailstack.imap.core.login import authenticate_arguments, login_arguments
from mailstack.imap.core.mailboxes import create_arguments, status_arguments
from mailstack.imap.core.store import store_arguments
from mailstack.imap.ext.rfc2971_id import id_arguments
from mailstack.imap.ext.rfc5258_list import RETURNS, list_arguments
from mailstack.imap.features import STATUS_ITEMS
from mailstack.imap.wire import cursor, fetch_grammar, search_grammar
from mailstack.imap.wire.append_grammar import append_opts
from mailstack.imap.wire.cursor import Cursor
from mailstack.imap.wire.fetch_grammar import MACROS, MAX_HEADER_LIST, MAX_PART_DEPTH, fetch_att, fetch_items
from mailstack.imap.wire.search_grammar import SAVED, BadCharset, SearchProgram, Vocabulary, search_program
from mailstack.imap.wire.values import (
    STAR,
    All,
    And,
    BinarySection,
    BinarySize,
    BodyHas,
    BodySection,
    DateOrder,
    FetchAtt,
    HasFlag,
    HasKeyword,
    HeaderHas,
    InSequence,
    InternalDay,
    InUids,
    IsRecent,
    Larger,
    Not,
    Or,
    Partial,
    SearchKey,
    Section,
    SectionText,
    SentDay,
    Smaller,
    TextHas,
)
from mailstack.ports import Flag, Flags

Rule = Callable[[Cursor], Any]
DAY = date(1994, 2, 1)


def parsed(rule: Rule, octets: bytes) -> Any:
    """The value of the whole of `octets`; what follows is not touched."""
    cur = Cursor(octets + b"\x00")
    value = rule(cur)
    assert cur.position == len(octets), cur.octets[cur.position :]
    return value


@pytest.mark.parametrize(
    ("rule", "octets", "value"),
    [
        (cursor.tag, b"a1.]-", b"a1.]-"),
        (cursor.atom, b"NO-OP!$", b"NO-OP!$"),
        (cursor.number, b"0", 0),
        (cursor.number, b"9223372036854775807", 9223372036854775807),
        (cursor.string, b'""', b""),
        (cursor.string, rb'"a \"b\" \\ {3}"', rb'a "b" \ {3}'),
        (cursor.string, '"grüße"'.encode(), "grüße".encode()),
        (cursor.string, b"{5}\r\na\r\n\0b", b"a\r\n\0b"),
        (cursor.string, b"{0+}\r\n", b""),
        (cursor.string, b"~{1}\r\n\0", b"\0"),
        (cursor.astring, b"atom]+", b"atom]+"),
        (cursor.astring, b'"a b"', b"a b"),
        (cursor.astring, b"{1}\r\n ", b" "),
        (cursor.mailbox, b"INBOX", "INBOX"),
        (cursor.mailbox, b'"my mail"', "my mail"),
        (cursor.mailbox, b"Entw&APw-rfe", "Entwürfe"),
        (cursor.mailbox, '"Entwürfe"'.encode(), "Entwürfe"),
        (cursor.mailbox, b"a&-b", "a&b"),
        (cursor.mailbox, b"R&D", "R&D"),
        (cursor.list_mailbox, b"a/%*", "a/%*"),
        (cursor.list_mailbox, b'"%"', "%"),
        (cursor.list_mailbox, "Entwürfe".encode(), "Entwürfe"),
        (cursor.sequence_set, b"1", ((1, 1),)),
        (cursor.sequence_set, b"*", ((STAR, STAR),)),
        (cursor.sequence_set, b"2:4,*:7,9", ((2, 4), (STAR, 7), (9, 9))),
        (cursor.sequence_set, b"4294967295:1", ((4294967295, 1),)),
        (cursor.flag_list, b"()", Flags()),
        (cursor.flag_list, rb"(\seen \DELETED $Junk)", Flags(Flag.SEEN | Flag.DELETED, frozenset({"$Junk"}))),
        (cursor.flags_without_parentheses, rb"\Draft \Flagged", Flags(Flag.DRAFT | Flag.FLAGGED)),
        (cursor.date_time, b'" 1-Jan-1970 00:00:00 +0000"', 0.0),
        (cursor.date_time, b'"17-JUL-1996 02:44:25 -0700"', datetime(1996, 7, 17, 9, 44, 25, tzinfo=UTC).timestamp()),
        (cursor.date_time, b'"31-Dec-2016 23:59:60 +0000"', datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()),
        (cursor.date_, b"1-Feb-1994", DAY),
        (cursor.date_, b'"01-feb-1994"', DAY),
    ],
)
def test_base_rules(rule: Rule, octets: bytes, value: object) -> None:
    assert parsed(rule, octets) == value


def body(part: tuple[int, ...] = (), text: SectionText = SectionText.ALL, *fields: bytes, peek: bool = False) -> object:
    return BodySection(Section(part, text, fields), None, peek)


@pytest.mark.parametrize(
    ("octets", "value"),
    [(att.value.encode(), att) for att in FetchAtt]
    + [
        (b"flags", FetchAtt.FLAGS),
        (b"BODY[]", body()),
        (b"BODY.PEEK[]", body(peek=True)),
        (b"BODY[HEADER]", body((), SectionText.HEADER)),
        (b"BODY[TEXT]", body((), SectionText.TEXT)),
        (b'body.peek[header.fields (From "x y")]', body((), SectionText.HEADER_FIELDS, b"From", b"x y", peek=True)),
        (b"BODY[HEADER.FIELDS.NOT (A)]", body((), SectionText.HEADER_FIELDS_NOT, b"A")),
        (b"BODY[HEADER.FIELDS ({1}\r\nA)]", body((), SectionText.HEADER_FIELDS, b"A")),
        (b"BODY[1]", body((1,))),
        (b"BODY[1.22.3]", body((1, 22, 3))),
        (b"BODY[1.MIME]", body((1,), SectionText.MIME)),
        (b"BODY[4.1.HEADER]", body((4, 1), SectionText.HEADER)),
        (b"BODY[4.TEXT]", body((4,), SectionText.TEXT)),
        (b"BODY[4.HEADER.FIELDS (A B)]", body((4,), SectionText.HEADER_FIELDS, b"A", b"B")),
        (b"BODY[]<0.1>", BodySection(Section(), Partial(0, 1))),
        (
            b"BODY.PEEK[TEXT]<100.4294967296>",
            BodySection(Section((), SectionText.TEXT), Partial(100, 4294967296), True),
        ),
        (b"BINARY[]", BinarySection(())),
        (b"BINARY[1.2]<3.4>", BinarySection((1, 2), Partial(3, 4))),
        (b"BINARY.PEEK[1]", BinarySection((1,), None, True)),
        (b"BINARY.SIZE[2]", BinarySize((2,))),
    ],
)
def test_fetch_att(octets: bytes, value: object) -> None:
    """Every data item of RFC 9051 §6.4.5 and RFC 3501 §6.4.5."""
    assert parsed(fetch_att, octets) == value
    assert parsed(fetch_items, octets) == (value,)
    assert parsed(fetch_items, b"(UID " + octets + b")") == (FetchAtt.UID, value)


@pytest.mark.parametrize("name", sorted(MACROS))
def test_macros(name: bytes) -> None:
    assert parsed(fetch_items, name.lower()) == MACROS[name]


SEARCH_KEYS: list[tuple[bytes, SearchKey]] = [
    (b"1,3:*", InSequence(((1, 1), (3, STAR)))),
    (b"$", InSequence(SAVED)),
    (b"ALL", All()),
    (b"ANSWERED", HasFlag(Flag.ANSWERED)),
    (b"BCC x", HeaderHas(b"bcc", "x")),
    (b"BEFORE 1-Feb-1994", InternalDay(DateOrder.BEFORE, DAY)),
    (b'BODY "two words"', BodyHas("two words")),
    (b"CC x", HeaderHas(b"cc", "x")),
    (b"DELETED", HasFlag(Flag.DELETED)),
    (b"DRAFT", HasFlag(Flag.DRAFT)),
    (b"FLAGGED", HasFlag(Flag.FLAGGED)),
    (b"FROM x", HeaderHas(b"from", "x")),
    (b'HEADER X-Spam ""', HeaderHas(b"x-spam", "")),
    (b"KEYWORD $Junk", HasKeyword("$Junk")),
    (b"LARGER 5", Larger(5)),
    (b"NEW", And((IsRecent(), Not(HasFlag(Flag.SEEN))))),
    (b"NOT SEEN", Not(HasFlag(Flag.SEEN))),
    (b"OLD", Not(IsRecent())),
    (b'ON "1-Feb-1994"', InternalDay(DateOrder.ON, DAY)),
    (b"OR SEEN (DRAFT DELETED)", Or(HasFlag(Flag.SEEN), And((HasFlag(Flag.DRAFT), HasFlag(Flag.DELETED))))),
    (b"RECENT", IsRecent()),
    (b"SEEN", HasFlag(Flag.SEEN)),
    (b"SENTBEFORE 1-Feb-1994", SentDay(DateOrder.BEFORE, DAY)),
    (b"SENTON 1-Feb-1994", SentDay(DateOrder.ON, DAY)),
    (b"SENTSINCE 1-Feb-1994", SentDay(DateOrder.SINCE, DAY)),
    (b"SINCE 1-Feb-1994", InternalDay(DateOrder.SINCE, DAY)),
    (b"SMALLER 0", Smaller(0)),
    ('SUBJECT "grüße"'.encode(), HeaderHas(b"subject", "grüße")),
    (b"TEXT {3}\r\na\r\n", TextHas("a\r\n")),
    (b"TO x", HeaderHas(b"to", "x")),
    (b"UID *,1:2", InUids(((STAR, STAR), (1, 2)))),
    (b"UID $", InUids(SAVED)),
    (b"UNANSWERED", Not(HasFlag(Flag.ANSWERED))),
    (b"UNDELETED", Not(HasFlag(Flag.DELETED))),
    (b"UNDRAFT", Not(HasFlag(Flag.DRAFT))),
    (b"UNFLAGGED", Not(HasFlag(Flag.FLAGGED))),
    (b"UNKEYWORD $Junk", Not(HasKeyword("$Junk"))),
    (b"UNSEEN", Not(HasFlag(Flag.SEEN))),
    (b"(SEEN)", And((HasFlag(Flag.SEEN),))),
]


@pytest.mark.parametrize(("octets", "key"), SEARCH_KEYS)
def test_search_keys(octets: bytes, key: SearchKey) -> None:
    """Every search key of RFC 9051 §6.4.4, and RFC 3501's RECENT, NEW and OLD."""
    assert parsed(search_program, octets) == SearchProgram(key, None)
    word, space, rest = octets.partition(b" ")
    if not word.startswith(b"("):
        assert parsed(search_program, word.lower() + space + rest) == SearchProgram(key, None)
    assert parsed(search_program, b"NOT " + octets + b" ALL") == SearchProgram(And((Not(key), All())), None)


@pytest.mark.parametrize(
    ("octets", "value"),
    [
        (b"RETURN () ALL", SearchProgram(All(), {b"ALL": None})),
        (b"RETURN (min COUNT) ALL", SearchProgram(All(), {b"MIN": None, b"COUNT": None})),
        (b"RETURN (SAVE) CHARSET utf-8 ALL", SearchProgram(All(), {b"SAVE": None})),
        (b'CHARSET "US-ASCII" ALL', SearchProgram(All(), None)),
    ],
)
def test_search_programs(octets: bytes, value: SearchProgram) -> None:
    assert parsed(search_program, octets) == value


@pytest.mark.parametrize(
    ("rule", "octets", "column", "expected"),
    [
        (cursor.tag, b"+ x", 0, "a tag"),
        (cursor.string, b'"open', 0, "a quoted string"),
        (cursor.string, rb'"a\b"', 0, "a quoted string"),
        (cursor.string, b'"a\0"', 0, "a quoted string"),
        (cursor.string, b"{9}\r\nabc", 5, "a literal of 9 octets"),
        (cursor.astring, b"(", 0, "a string"),
        (login_arguments, b"alice", 5, "a space"),
        (login_arguments, b"alice ", 6, "a string"),
        (login_arguments, b'{2}\r\n\xff\xfe "x"', 0, "text in UTF-8"),
        (cursor.sequence_set, b"0", 0, "a number from 1 to 4294967295"),
        (cursor.sequence_set, b"1,2:4294967296", 4, "a number from 1 to 4294967295"),
        (cursor.sequence_set, b"1,,2", 2, "a sequence number or range"),
        (cursor.sequence_set, b"x", 0, "a sequence set"),
        (cursor.flag_list, b"(a \\Recent)", 3, "a flag that can be set, not \\Recent,"),
        (cursor.flag_list, b"(\\ )", 2, "the name of a system flag"),
        (cursor.flag_list, b"(a ", 3, "a flag"),
        (cursor.flag_list, b"(a", 2, "')'"),
        (cursor.date_time, b'"1-Jan-1970 00:00:00 +0000"', 0, 'a date-time as "17-Jul-1996 02:44:25 -0700"'),
        (cursor.date_time, b'"30-Feb-1996 02:44:25 -0700"', 0, "a date and time that exist"),
        (cursor.date_time, b'"01-Xxx-1996 02:44:25 +9999"', 0, "a date and time that exist"),
        (cursor.date_, b"31-Feb-1994", 0, "a date that exists"),
        (cursor.date_, b'"1-Feb-1994', 0, "a date as 1-Feb-1994"),
        (fetch_arguments, b"1", 1, "a space"),
        (fetch_arguments, b"1 (UID NONSENSE)", 7, "a data item name"),
        (fetch_arguments, b"1 (UID", 6, "')'"),
        (fetch_arguments, b"1 ()", 3, "a data item name"),
        (fetch_arguments, b"1 BODY.PEEK", 2, "a data item name"),
        (fetch_arguments, b"1 BODY[MIME]", 7, "HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT or TEXT"),
        (fetch_arguments, b"1 BODY[1.X]", 9, "HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT or MIME"),
        (fetch_arguments, b"1 BODY[1.]", 9, "HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT or MIME"),
        (fetch_arguments, b"1 BODY[0]", 7, "HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT or TEXT"),
        (fetch_arguments, b"1 BODY[1", 8, "']'"),
        (fetch_arguments, b"1 BODY[HEADER.FIELDS ()]", 22, "a header field name"),
        (fetch_arguments, b"1 BODY[HEADER.FIELDS]", 20, "a space"),
        (fetch_arguments, b"1 BODY[]<0>", 10, "'.'"),
        (fetch_arguments, b"1 BODY[]<0.0>", 11, "a length of at least 1"),
        (fetch_arguments, b"1 BINARY[TEXT]", 9, "']'"),
        (fetch_arguments, b"1 BODY[" + b".".join([b"1"] * 101) + b"]", 7, "a part number of at most 100 levels"),
        (search_program, b"NONSENSE", 0, "a search key"),
        (search_program, b"SEEN NOT NONSENSE", 9, "a search key"),
        (search_program, b"OR SEEN", 7, "a space"),
        (search_program, b"HEADER x", 8, "a space"),
        (search_program, b"LARGER x", 7, "a number"),
        (search_program, b"(SEEN", 5, "')'"),
        (search_program, b"RETURN (X) ALL", 8, "MIN, MAX, ALL, COUNT or SAVE"),
        (search_program, b"RETURN (MINMAX) ALL", 8, "MIN, MAX, ALL, COUNT or SAVE"),
        (search_program, b'RETURN (MIN"', 11, 'a space or ")"'),
        (search_program, b"SINCE 99-Feb-1994", 6, "a date that exists"),
        (search_program, b"SINCE yesterday", 6, "a date as 1-Feb-1994"),
        (store_arguments, b"1 FLAG x", 2, "'FLAGS'"),
        (store_arguments, b"1 +FLAGS", 8, "a space"),
        (copy_arguments, b"1:2", 3, "a space"),
        (create_arguments, b"x (USE (\\Nothing))", 8, "a special-use attribute"),
        (status_arguments, b"x (MESSAGES NONSENSE)", 12, "a status item: " + ", ".join(STATUS_ITEMS)),
        (status_arguments, b"x", 1, "a space"),
        (
            list_arguments,
            b'"" % RETURN (NONSENSE)',
            13,
            "a LIST option: " + ", ".join(sorted(name.decode() for name in RETURNS)),
        ),
        (append_opts, b'" 1-Foo-1996 00:00:00 +0000" ', 0, "a date and time that exist"),
        (authenticate_arguments, b"(", 0, "an atom"),
        (id_arguments, b"x", 0, "'('"),
    ],
)
def test_what_was_expected_where(rule: Rule, octets: bytes, column: int, expected: str) -> None:
    with pytest.raises(BadSyntax) as caught:
        rule(Cursor(octets))
    assert (caught.value.column, caught.value.expected) == (column, expected)


@pytest.mark.parametrize("charset", [b"UTF-7", b"ISO-8859-1", b'"x"'])
def test_other_charsets_have_their_own_error(charset: bytes) -> None:
    with pytest.raises(BadCharset):
        search_program(Cursor(b"CHARSET " + charset + b" ALL"))


def test_extensions_have_search_keys_and_return_options() -> None:
    def rule(cur: Cursor) -> HasKeyword:
        cursor.sp(cur)
        return HasKeyword(cursor.atom(cur).decode())

    words = Vocabulary({b"LABEL": rule, b"NOTHING": lambda cur: Or(All(), All())}, {b"X.NO": Not}, {b"LAST": rule})
    octets = b"RETURN (last x min) (label a) x.no x.no nothing"
    key = And((And((HasKeyword("a"),)), Not(Not(Or(All(), All())))))
    assert search_program(Cursor(octets), words) == SearchProgram(key, {b"LAST": HasKeyword("x"), b"MIN": None})
    with pytest.raises(BadSyntax, match="MIN, MAX, ALL, COUNT, SAVE or LAST"):
        search_program(Cursor(b"RETURN (FIRST) ALL"), words)
    with pytest.raises(BadSyntax, match="at most 50 levels"):
        search_program(Cursor(b"X.NO " * 51 + b"ALL"), words)


def test_search_is_limited_in_depth_and_number() -> None:
    deep, many = search_grammar.MAX_DEPTH, search_grammar.MAX_KEYS
    assert parsed(search_program, b"NOT " * deep + b"ALL")
    for octets in (b"NOT " * (deep + 1) + b"ALL", b"(" * 100_000, b"OR " * 100_000, b" ".join([b"ALL"] * (many + 1))):
        with pytest.raises(BadSyntax, match="at most (50 levels of parentheses, NOT and OR|2000 search keys)"):
            search_program(Cursor(octets))


def test_fetch_is_limited_in_depth_and_number() -> None:
    assert parsed(fetch_att, b"BODY[" + b".".join([b"1"] * MAX_PART_DEPTH) + b"]")
    names = b" ".join([b"a"] * (MAX_HEADER_LIST + 1))
    with pytest.raises(BadSyntax, match="at most 500 header field names"):
        fetch_att(Cursor(b"BODY[HEADER.FIELDS (%b)]" % names))
    with pytest.raises(BadSyntax, match="at most 20000 ranges"):
        cursor.sequence_set(Cursor(b"1," * cursor.MAX_RANGES + b"1"))


RULES: list[Rule] = [
    fetch_arguments, search_program, store_arguments, copy_arguments, create_arguments, status_arguments,
    list_arguments, login_arguments, authenticate_arguments, append_opts, id_arguments, fetch_grammar.section,
]  # fmt: skip
TOKENS = st.sampled_from(
    [
        b" ",
        b"(",
        b")",
        b"[",
        b"]",
        b"<",
        b">",
        b".",
        b",",
        b":",
        b"*",
        b"$",
        b"1",
        b"0",
        b'"',
        b"\\",
        b"{1}\r\n",
        b"{9}\r\n",
    ]
    + [b"BODY", b"BINARY", b"HEADER.FIELDS", b"FLAGS", b"UID", b"NOT", b"OR", b"SINCE", b"1-Feb-1994", b"LARGER", b"a"]
    + [b"RETURN (", b"CHARSET ", b"\\Seen", b"+FLAGS", b"\xff", b"\0", b"x", b"NIL", b"USE", b"SUBSCRIBED"]
)


@given(st.sampled_from(RULES), st.lists(TOKENS, max_size=12))
def test_a_rule_gives_a_value_or_says_what_is_wrong(rule: Rule, tokens: list[bytes]) -> None:
    octets = b"".join(tokens)
    cur = Cursor(octets)
    try:
        rule(cur)
    except BadSyntax as error:
        assert error.column is not None
        assert 0 <= error.column <= len(octets)
    except (Refused, BadCharset):
        pass  # a limit, and an error of its own
    assert 0 <= cur.position <= len(octets)


@given(st.sampled_from([octets for octets, _ in SEARCH_KEYS]), st.data())
def test_cut_short_it_is_no_bug(octets: bytes, data: st.DataObject) -> None:
    """Every beginning of a search is a search or a BadSyntax; nothing else is raised."""
    cut = octets[: data.draw(st.integers(0, len(octets) - 1))]
    try:
        found = search_program(Cursor(cut))
    except BadSyntax as error:
        assert error.column is not None
        assert error.column <= len(cut)
    else:
        assert isinstance(found, SearchProgram)
