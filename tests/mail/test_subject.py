from __future__ import annotations

import re

import pytest
from call_counts import assert_linear
from hypothesis import example, given
from hypothesis import strategies as st

from mailstack.mail.subject import BaseSubject, base_subject

GOLDEN = [
    ("hello", "hello", False),
    ("", "", False),
    ("Re: hello", "hello", True),
    ("re: RE:  Re :hello", "hello", True),
    ("Re[2]: hello", "hello", True),
    ("Re [a] : hello", "hello", True),
    ("Fw: hello", "hello", True),
    ("Fwd: hello", "hello", True),
    ("FWD [x]: hello", "hello", True),
    ("hello (fwd)", "hello", True),
    ("hello (FWD) (fwd)  ", "hello", True),
    ("[list] hello", "hello", False),
    ("[list] Re: hello", "hello", True),
    ("[a][b] [c] Re: [d] hello", "hello", True),
    ("[list]", "[list]", False),
    ("[a] [b]", "[b]", False),
    ("Re: [b]", "[b]", True),
    ("[fwd: hello]", "hello", True),
    ("[Fwd: [list] re: hello (fwd)]", "hello", True),
    ("[fwd: [fwd: hello]]", "hello", True),
    ("[fwd: hello] more", "more", False),
    ("Re:", "", True),
    ("(fwd)", "", True),
    ("[fwd:]", "", True),
    ("Rex: hello", "Rex: hello", False),
    ("AW: hello", "AW: hello", False),
    ("hello\tyou\r\n  there", "hello you there", False),
    ("hello re: you", "hello re: you", False),
    ("(fwd) hello", "(fwd) hello", False),
    ("[fwd hello]", "[fwd hello]", False),
    ("[a", "[a", False),
]


@pytest.mark.parametrize(("subject", "base", "reply"), GOLDEN)
def test_base_subjects(subject: str, base: str, reply: bool) -> None:
    assert base_subject(subject) == BaseSubject(base, reply)


def by_the_letter(subject: str) -> BaseSubject:
    """RFC 5256 §2.1, one removal after the other."""
    blob, reply = r"\[[^\[\]]*\] *", False
    text = re.sub(r"[\t\r\n ]+", " ", subject)
    while True:
        while found := re.fullmatch(r"(.*?)(?:(\(fwd\))| )", text, re.I | re.S):
            text, reply = found[1], reply or bool(found[2])
        while True:
            before = text
            while found := re.match(rf"(?:(?:{blob})*(re|fwd?) *(?:{blob})?:| )", text, re.I):
                text, reply = text[found.end() :], reply or bool(found[1])
            found = re.match(blob, text)
            if found and text[found.end() :].strip(" "):
                text = text[found.end() :]
            if text == before:
                break
        found = re.fullmatch(r"\[fwd:(.*)\]", text, re.I | re.S)
        if not found:
            return BaseSubject(text, reply)
        text, reply = found[1], True


@given(
    st.lists(
        st.sampled_from(["re", "Re:", "fw", "fwd", ":", "[", "]", "[fwd:", "(fwd)", " ", "\t", "a", "[b]", "é"]),
        max_size=25,
    ).map("".join)
)
@example("[fwd: [a][fwd:]]")
def test_removing_all_at_once_comes_to_the_same(subject: str) -> None:
    assert base_subject(subject) == by_the_letter(subject)


@given(st.text(max_size=50))
def test_a_base_subject_is_its_own(subject: str) -> None:
    base = base_subject(subject).text
    assert base_subject(base).text == base


@pytest.mark.parametrize(
    "piece", [b"Re: ", b"[a]", b"[fwd:", b"[", b"]", b"(fwd)", b"[a] re:", b"re: [a] ", b"re[", b" ", b"fwd"]
)
def test_long_subjects_take_linear_time(piece: bytes) -> None:
    assert_linear(lambda octets: base_subject(octets.decode()), piece)


def test_ten_thousand_replies() -> None:
    assert base_subject("Re: " * 10_000 + "hello" + " (fwd)" * 10_000) == BaseSubject("hello", True)
    assert base_subject("[fwd:" * 10_000 + "hello" + "]" * 10_000) == BaseSubject("hello", True)
