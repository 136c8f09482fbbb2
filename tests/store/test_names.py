"""File names: what they say, ours and others'."""

from __future__ import annotations

import os
import re
import string
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.ports import FIRST_KEYWORD, MAX_KEYWORDS, Flag
from mailstack.store.maildir import names

A, C, Z = (1 << (FIRST_KEYWORD + number) for number in (0, 2, 25))


@pytest.mark.parametrize(
    ("name", "base", "letters"),
    [
        ("a:2,", "a", ""),
        ("a:2,FS", "a", "FS"),
        ("a", "a", ""),
        ("a:1,experimental", "a", ""),
        ("a:", "a", ""),
        ("a:2", "a", ""),
        ("a:2,FS:2,R", "a", "FS:2,R"),
        ("a,S=1,W=2:2,Sab", "a,S=1,W=2", "Sab"),
        (":2,S", "", "S"),
        ("\udcff\udcfe:2,S", "\udcff\udcfe", "S"),
    ],
)
def test_split(name: str, base: str, letters: str) -> None:
    assert names.split(name) == (base, letters)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("1.host,S=10,W=10:2,S", True),
        ("1.host,S=10,W=10", True),
        ("1.host,S=10,W=10,X=1:2,", True),
        ("1.host,S=10,W=12:2,S", False),
        ("1.host,S=1,W=12:2,S", False),
        ("1.host,S=12,W=1:2,S", False),
        ("1.host,S=10:2,", False),
        ("1.host,W=10:2,", False),
        ("1.host,S=10,W=10x", False),
    ],
)
def test_line_ends_that_a_name_tells(name: str, known: bool) -> None:
    assert names.has_crlf(name) is known


@pytest.mark.parametrize(
    ("base", "octets", "with_crlf"),
    [
        ("1.M2P3.host", -1, -1),
        ("1.host,S=10", 10, -1),
        ("1.host,W=12", -1, 12),
        ("1.host,S=10,W=12", 10, 12),
        ("1.host,W=12,S=10", 10, 12),
        ("1.host,S=10,X=4,W=12", 10, 12),
        ("1.host,S=0,W=0", 0, 0),
        ("1.host,S=,W=12", -1, 12),
        ("1.host,S=x", -1, -1),
        ("1.host,S=-5", -1, -1),
        ("1.host,S=10x", -1, -1),
        ("1.host,S=1234567890123456", -1, -1),
        ("1.hostS=10", -1, -1),
        ("1.host,s=10", -1, -1),
        (",S=5", 5, -1),
        ("1.host,S=1,S=2", 2, -1),
    ],
)
def test_sizes(base: str, octets: int, with_crlf: int) -> None:
    assert names.sizes(base) == names.Sizes(octets, with_crlf)


@pytest.mark.parametrize(
    ("letters", "bits"),
    [
        ("", 0),
        ("DFRST", Flag.DRAFT | Flag.FLAGGED | Flag.ANSWERED | Flag.SEEN | Flag.DELETED),
        ("TSRFD", Flag.DRAFT | Flag.FLAGGED | Flag.ANSWERED | Flag.SEEN | Flag.DELETED),
        ("P", 0),
        ("SSS", Flag.SEEN),
        ("acz", A | C | Z),
        ("S,a", Flag.SEEN | A),
        ("\u0430{`", 0),
    ],
)
def test_bits(letters: str, bits: int) -> None:
    assert names.bits(letters) == bits


@pytest.mark.parametrize(
    ("bits", "before", "letters"),
    [
        (0, "", ""),
        (0, "FSa", ""),
        (Flag.SEEN, "P", "PS"),
        (Flag.SEEN | A, "XF", "SXa"),
        (A | C | Z, "", "acz"),
        (Flag.SEEN, "SP", "PS"),
        (0, "9,", ",9"),
    ],
)
def test_letters_keep_what_is_not_imaps(bits: int, before: str, letters: str) -> None:
    assert names.letters(bits, before) == letters


@given(st.text(string.ascii_letters, max_size=12))
def test_letters_come_back(letters: str) -> None:
    foreign = {letter for letter in letters if letter.isupper()} - set("DFRST")
    assert set(names.letters(names.bits(letters), letters)) == set(letters)
    assert set(names.letters(names.bits(letters))) == set(letters) - foreign
    assert names.letters(names.bits(letters), letters) == "".join(sorted(set(letters)))


@given(
    st.text(st.characters(exclude_characters=":/\0"), min_size=1),
    st.integers(0, (1 << FIRST_KEYWORD + MAX_KEYWORDS) - 1),
)
def test_a_name_comes_back(base: str, value: int) -> None:
    value &= ~((1 << FIRST_KEYWORD) - 32)  # between system flags and keywords are no flags
    found, letters = names.split(names.join(base, names.letters(value)))
    assert (found, names.bits(letters)) == (base, value)


def test_names_are_unique_and_ascend() -> None:
    unique = names.UniqueNames("host", clock=lambda: 1_700_000_000.25)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.extend(unique.new() for _ in range(200))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 800
    one = names.UniqueNames("host", clock=lambda: 1_700_000_000.25)
    in_order = [one.new() for _ in range(50)]
    assert in_order == sorted(in_order, key=lambda name: (name.split("P")[0], name))
    assert re.fullmatch(rf"1700000000\.M250000P{os.getpid()}R[0-9a-f]{{8}}Q1\.host", in_order[0])


def test_a_clock_that_goes_back_makes_no_name_twice() -> None:
    times = iter([10.0, 5.0, 10.0, 10.0])
    unique = names.UniqueNames("host", clock=lambda: next(times))
    found = [unique.new() for _ in range(4)]
    assert len({name.partition("P")[0] for name in found}) == 4


def test_a_host_that_no_name_may_have() -> None:
    name = names.UniqueNames("a/b:c,d").new()
    assert not set("/:,") & set(name)
    assert name.endswith(r".a\057b\072c\054d")
    assert names.UniqueNames("").new().endswith(".localhost")
