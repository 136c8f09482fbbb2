from __future__ import annotations

import os
from pathlib import Path

import pytest
from call_counts import calls
from hypothesis import given
from hypothesis import strategies as st

from mailstack.mail.preview import MAX_CHARACTERS, of_html, plain, preview

CORPUS = Path(os.environ.get("MAILSTACK_CORPUS", Path(__file__).parents[2] / "../shared/corpus"))
ODD = sorted(CORPUS.glob("*/*.eml"))


def message(*lines: str) -> bytes:
    return "\r\n".join([*lines, ""]).encode()


ALTERNATIVE = (
    "Content-Type: multipart/alternative; boundary=x", "", "--x", "Content-Type: text/{0}", "", "{1}",
    "--x", "Content-Type: text/{2}", "", "{3}", "--x--",
)  # fmt: skip


def alternative(one: str, first: str, other: str, second: str) -> bytes:
    return message(*ALTERNATIVE).decode().format(one, first, other, second).encode()


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (message("Subject: x", "", "Hello  Bob,", "", "how are\tyou?"), "Hello Bob, how are you?"),
        (message("Subject: x", ""), ""),
        (b"", ""),
        (message("Content-Type: text/plain; charset=iso-8859-1", "Content-Transfer-Encoding: quoted-printable", "",
                 "gr=FCn=", "er"), "grüner"),
        (message("Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: base64", "", "w4RwZmVs"),
         "Äpfel"),
        (message("Content-Type: text/plain", "Content-Transfer-Encoding: x-unknown", "", "abc"), ""),
        (message("Content-Type: text/html", "", "<p>Hello <b>B</b>ob</p><p>How are you?"), "Hello Bob How are you?"),
        (message("Content-Type: image/png", "", "abc"), ""),
        (message("Content-Type: text/plain", "Content-Disposition: attachment", "", "abc"), ""),
        (alternative("plain", "the plain one", "html", "<p>the other"), "the plain one"),
        (alternative("plain", " ", "html", "<p>the other</p>"), "the other"),
        (alternative("calendar", "BEGIN", "html", "<p>the other</p>"), "the other"),
        (message("Content-Type: message/rfc822", "", "Subject: in", "", "inside"), "inside"),
        (message("", "word " * 100), ("word " * 40).rstrip()),
        (message("", "ä" * 300), "ä" * MAX_CHARACTERS),
    ],
)  # fmt: skip
def test_previews(octets: bytes, text: str) -> None:
    assert preview(octets) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("I agree.\n\nOn Monday, Bob wrote:\n> what?\n> when?\n\nYours", "I agree. Yours"),
        ("On Monday, Bob wrote:\n\n> what?\nNow.", "Now."),
        ("Note:\nThis one.\n", "Note: This one."),
        ("> only a quotation\n", "> only a quotation"),
        ("Hello\n-- \nBob\nThe Company", "Hello"),
        ("------\nHello\n======\nBob\n* * *", "Hello Bob"),
        ("\u200b\u200cHello\u00ad\ufeff \u034f\u200b", "Hello"),
        ("a\0b\x07c", "abc"),
    ],
)
def test_what_the_writer_says(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("a &amp; b&nbsp;&lt;c&gt; &#228;", "a & b <c> ä"),
        ("<html><head><title>T</title><style>p {}</style></head><body>x", "x"),
        ("<script>if (a < b) { alert('</p>') }</script>x<STYLE>y</Style >z", "x z"),
        ("<!-- a <b> -- > c -->x<!-- never ends", "x"),
        ("<a title=\"a > b\" href='c>d'>link</a>ed", "linked"),
        ("<td>one</td><td>two</td><br>three<br/>four", "one two three four"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("<p", ""),
        ('<p class="never ends>text</p>more', "text more"),
        ("<!DOCTYPE html><?xml version='1'?>x", "x"),
        ("", ""),
    ],
)
def test_html(html: str, text: str) -> None:
    assert " ".join(of_html(html).split()) == text


@given(
    st.lists(st.sampled_from(["<", ">", "<p>", "</p>", "<!--", "-->", '"', "'", "a", " ", "&", "<style>"])).map("".join)
)
def test_any_html_ends(html: str) -> None:
    assert len(of_html(html)) <= len(html) + html.count("<")


@given(st.binary(max_size=300))
def test_any_message_has_a_preview(octets: bytes) -> None:
    for kind in (b"", b"Content-Type: text/html\r\n\r\n", b"Content-Type: text/html; charset=utf-16\r\n\r\n"):
        shown = preview(kind + octets)
        assert len(shown) <= MAX_CHARACTERS
        assert "\n" not in shown and shown == shown.strip()


@pytest.mark.parametrize("piece", ["<", "<!--", "<a", '<a "', "<p>", "<style>", "</", "&", "<a b='", " ", "a<b>"])
def test_html_takes_linear_time(piece: str) -> None:
    once, twice = (calls(lambda size=size: of_html(piece * size)) for size in (500, 1000))  # type: ignore[misc]
    assert twice <= 2.2 * once + 50


@pytest.mark.skipif(not ODD, reason="the folder of odd messages is not there")
def test_odd_messages() -> None:
    shown = [preview(path.read_bytes()) for path in ODD]
    assert all(len(text) <= MAX_CHARACTERS for text in shown)
    assert sum(map(bool, shown)) > len(ODD) // 2
