"""A message taken apart for JSON: odd ones, links, numbers of parts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mailstack.mail.lines import with_crlf
from mailstack.ports import AccountName
from mailstack.store.maildir.listing import Listed
from mailstack.web.content import Content, links, summary, timestamp, with_parts
from mailstack.web.documents import message_document
from mailstack.web.library import Found, Read
from mailstack.web.schemas import SCHEMAS
from mailstack.web.values import encoded

CORPUS = Path(os.environ.get("MAILSTACK_CORPUS", Path(__file__).parents[2] / "../shared/corpus"))
SCHEMA = Draft202012Validator({"$ref": "#/components/schemas/Message", "components": {"schemas": SCHEMAS}})
LISTED = Listed("1.M2.here", "INBOX", "/nowhere", 0, 5, (1, 2, "1.M2.here"))


def document(octets: bytes) -> dict[str, object]:
    """Of a message, held against the schema."""
    read = Read(Found(AccountName("a@b.test"), LISTED, summary(octets)), Content.of(octets))
    made = message_document(read, None)
    SCHEMA.validate(made)
    encoded(made)
    for leaf in read.content.leaves:
        leaf.decoded(octets)
    with_parts(read.content, "/x")
    return made


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus of odd messages")
def test_every_message_of_the_corpus_can_be_shown() -> None:
    paths = [path for path in CORPUS.rglob("*") if path.is_file() and path.suffix in (".eml", ".msg", ".txt", "")]
    assert len(paths) > 20
    for path in paths[:400]:
        document(with_crlf(path.read_bytes()[:200_000]))


PIECES = [
    b"Subject: =?utf-16?b?2AA=?=\r\n", b"From: <", b"To: a@b, (c\r\n", b"Date: x\r\n", b"\r\n", b"--b", b"--b--",
    b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Type: text/html; charset=utf-7\r\n", b"+2AA-",
    b"Content-Transfer-Encoding: base64\r\n", b"Content-ID: <x>\r\n", b"cid:x", b"http://", b"Content-Type: a/b;;\r\n",
    b"Content-Type: message/rfc822\r\n", b"Return-Path: <\r\n", b"Delivered-To:\r\n", b"x\r\n", b"\0", b"\xff\xfe",
    b"<a href='",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=14))
def test_whatever_it_is_it_can_be_shown(pieces: list[bytes]) -> None:
    document(b"".join(pieces))


def test_numbers_of_parts_are_those_of_imap() -> None:
    octets = with_crlf(
        b"Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/alternative; boundary=i\n\n"
        b"--i\n\nplain\n--i\nContent-Type: text/html\n\n<b>html</b>\n--i--\n"
        b"--o\nContent-Type: message/rfc822\n\nSubject: inside\n\nnot the text\n--o--\n"
    )
    content = Content.of(octets)
    assert [leaf.number for leaf in content.leaves] == ["1.1", "1.2", "2"]
    assert content.texts() == ("plain", "<b>html</b>")
    (inside,) = content.attachments()
    assert (inside.type, inside.decoded(octets)) == (
        "message/rfc822",
        b"Subject: inside\r\n\r\nnot the text",
    )
    assert [leaf.number for leaf in Content.of(b"\r\nbody").leaves] == ["1"]


def test_a_text_file_is_not_the_text() -> None:
    octets = with_crlf(
        b"Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: text/plain; name=log.txt\n\nlog\n"
        b"--o\nContent-Type: text/html\n\n<p>text\n--o--\n"
    )
    content = Content.of(octets)
    assert content.texts() == ("", "<p>text")
    assert [leaf.name for leaf in content.attachments()] == ["log.txt"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see https://a.test/x.", ["https://a.test/x"]),
        ("(https://a.test/x)", ["https://a.test/x"]),
        ("https://a.test/x_(y)", ["https://a.test/x_(y)"]),
        ("<https://a.test/x?a=1&b=2#c>", ["https://a.test/x?a=1&b=2#c"]),
        ("HTTP://A.test and ftp://b.test", ["HTTP://A.test"]),
        ("https://a.test https://a.test", ["https://a.test"]),
        ("https://a.test/ü, then", ["https://a.test/ü"]),
    ],
)
def test_links_of_a_text(text: str, found: list[str]) -> None:
    assert links(text, "") == found


def test_links_of_html() -> None:
    html = """<a href="https://a.test/?x=1&amp;y=2">1</a><A HREF = 'http://b.test'>2</A><a href=https://c.test>3</a>
    <a href="mailto:a@b.test">4</a><a href="javascript:x()">5</a><a data-href="https://d.test">6</a>"""
    assert links("https://c.test", html)[:3] == [
        "https://c.test",
        "https://a.test/?x=1&y=2",
        "http://b.test",
    ]
    assert "javascript:x()" not in links("", html)


def test_only_cids_of_the_message_lead_to_parts() -> None:
    octets = with_crlf(
        b"Content-Type: multipart/related; boundary=o\n\n--o\nContent-Type: text/html\n\n"
        b"<img src=cid:a%40b><img src='CID:a@b'><img src=\"cid:other\"><p>acid:a@b\n"
        b"--o\nContent-Type: image/png\nContent-ID: <a@b>\n\nx\n--o--\n"
    )
    page = with_parts(Content.of(octets), "/m")
    assert page == "<img src=/m/parts/2><img src='/m/parts/2'><img src=\"cid:other\"><p>acid:a@b"


def test_times() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00Z"
    assert timestamp(1.5) == "1970-01-01T00:00:01.500Z"
    assert timestamp(None) is timestamp(1e300) is None
