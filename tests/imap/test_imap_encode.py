from __future__ import annotations

import calendar
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.imap.wire import encode
from mailstack.mail import mime
from mailstack.ports import FIRST_KEYWORD, Flag


@pytest.mark.parametrize(
    ("value", "plain", "utf8"),
    [
        (b"", b'""', b'""'),
        (b"abc", b'"abc"', b'"abc"'),
        (rb"a\b" + b'"', rb'"a\\b\""', rb'"a\\b\""'),
        (b"a\r\nb", b"{4}\r\na\r\nb", b"{4}\r\na\r\nb"),
        (b"a\0b", b"{3}\r\na?b", b"{3}\r\na?b"),
        ("ä".encode(), b"{2}\r\n\xc3\xa4", b'"\xc3\xa4"'),
        (b"\xe4", b"{1}\r\n\xe4", b"{1}\r\n\xe4"),
    ],
)
def test_strings(value: bytes, plain: bytes, utf8: bytes) -> None:
    assert encode.string(value) == plain
    assert encode.string(value, utf8=True) == utf8


def test_a_long_string_is_a_literal() -> None:
    assert encode.string(b"a" * (encode.MAX_QUOTED + 1)).startswith(b"{1001}\r\n")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"abc", b"abc"), (b"a b", b'"a b"'), (b"", b'""'), (b"nil", b'"nil"'), (b"a]", b"a]"), (b"a%", b'"a%"')],
)
def test_astrings(value: bytes, expected: bytes) -> None:
    assert encode.astring(value) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("INBOX", b"INBOX"),
        ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
        ("a&b", b"a&-b"),
        ("Entwürfe", b"Entw&APw-rfe"),
        ("a\U0001f600", b"a&2D3eAA-"),
        ("my mail", b'"my mail"'),
        ("ü&ü", b"&APw-&-&APw-"),
    ],
)
def test_mailbox_names_for_old_clients(name: str, expected: bytes) -> None:
    assert encode.mailbox(name) == expected


def test_mailbox_names_for_new_clients() -> None:
    assert encode.mailbox("Entwürfe", utf8=True) == '"Entwürfe"'.encode()


def test_flag_lists() -> None:
    keywords = ["$Junk", "done"]
    lists = encode.FlagLists(keywords)
    assert lists[0] == b"()"
    assert lists[Flag.SEEN | Flag.DELETED | encode.RECENT] == b"(\\Deleted \\Seen \\Recent)"
    assert lists[Flag.SEEN | 2 << FIRST_KEYWORD] == b"(\\Seen done)"
    keywords.append("later")
    assert lists[4 << FIRST_KEYWORD] == b"(later)"


@given(st.integers(0, 4_000_000_000))
def test_dates(seconds: int) -> None:
    text = encode.date_time(seconds).decode()
    assert len(text) == 28
    assert calendar.timegm(time.strptime(text.strip('"').strip(), "%d-%b-%Y %H:%M:%S +0000")) == seconds


def test_dates_far_away() -> None:
    assert encode.date_time(0.9) == b'" 1-Jan-1970 00:00:00 +0000"'
    assert encode.date_time(-0.5) == b'"31-Dec-1969 23:59:59 +0000"'
    assert encode.date_time(1e15).endswith(b' +0000"')


@given(st.sets(st.integers(1, 60)))
def test_sequence_sets(numbers: set[int]) -> None:
    text = encode.sequence_set(sorted(numbers)).decode()
    found: list[int] = []
    for piece in filter(None, text.split(",")):
        low, _, high = piece.partition(":")
        found += range(int(low), int(high or low) + 1)
        assert high != low
    assert found == sorted(numbers)
    assert text.count(",") == max(sum(1 for n in numbers if n - 1 not in numbers) - 1, 0)


def test_the_envelope_of_the_rfc() -> None:
    header = (
        b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nFrom: Terry Gray <gray@cac.washington.edu>\r\n"
        b"Subject: IMAP4rev2 WG mtg summary and minutes\r\nTo: imap@cac.washington.edu\r\n"
        b"cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\nMessage-Id: <B27397@cac>\r\n\r\n"
    )
    gray = b'(("Terry Gray" NIL "gray" "cac.washington.edu"))'
    assert encode.envelope_of(header) == (
        b'("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev2 WG mtg summary and minutes" '
        + b" ".join([gray] * 3)
        + b' ((NIL NIL "imap" "cac.washington.edu")) ((NIL NIL "minutes" "CNRI.Reston.VA.US")'
        b'("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL "<B27397@cac>")'
    )


def test_the_author_is_who_sent_it_unless_the_header_says_otherwise() -> None:
    a, c = b'((NIL NIL "a" "b"))', b'((NIL NIL "c" "d"))'
    found = encode.envelope_of(b"From: a@b\r\nSender: ,\r\nReply-To: c@d\r\n\r\n")
    assert found == b"(NIL NIL %b NIL NIL NIL NIL NIL)" % b" ".join([a, a, c])


def test_a_list_that_is_remembered_is_told_as_the_client_wants_it() -> None:
    header = 'To: "\u00e4" <a@b>\r\n\r\n'.encode()
    for _ in range(2):
        assert b'(("\xc3\xa4" NIL' in encode.envelope_of(header, utf8=True)
        assert b"(({2}\r\n\xc3\xa4 NIL" in encode.envelope_of(header)


def test_a_long_list_in_an_envelope() -> None:
    count = encode.SHORT_LIST
    assert encode.envelope_of(b"To: %b\r\n\r\n" % b",".join([b"a@b"] * count)).count(b'"a" "b"') == count


def test_groups_in_an_envelope() -> None:
    assert b'((NIL NIL "g" NIL)(NIL NIL "a" "b")(NIL NIL NIL NIL))' in encode.envelope_of(b"To: g: a@b;\r\n\r\n")


def structure(data: bytes, *, extended: bool) -> bytes:
    return encode.body(data, mime.scan(data), extended=extended)


def test_the_structure_of_a_text() -> None:
    data = b"Content-Disposition: inline; x=y\r\nContent-Language: en, de\r\n\r\none\r\n"
    plain = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 5 1'
    assert structure(data, extended=False) == plain + b")"
    assert structure(data, extended=True) == plain + b' NIL ("inline" ("x" "y")) ("en" "de") NIL)'


def test_the_structure_of_a_multipart_with_a_message() -> None:
    data = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: image/gif\r\nContent-ID: <i>\r\n\r\nabc"
        b"\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nx\r\n\r\n--b--\r\n"
    )
    nils = b" NIL" * 8
    assert structure(data, extended=False) == (
        b'(("image" "gif" NIL "<i>" NIL "7bit" 3)("message" "rfc822" NIL NIL NIL "7bit" 18 (NIL "in"%b) '
        b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 1) 3) "mixed")' % nils
    )
    assert structure(data, extended=True) == (
        b'(("image" "gif" NIL "<i>" NIL "7bit" 3 NIL NIL NIL NIL)("message" "rfc822" NIL NIL NIL "7bit" 18 '
        b'(NIL "in"%b) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 1 NIL NIL NIL NIL) 3 NIL NIL NIL NIL) '
        b'"mixed" ("boundary" "b") NIL NIL NIL)' % nils
    )
