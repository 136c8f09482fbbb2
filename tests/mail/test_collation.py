from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.mail.collation import COLLATIONS, ascii_casemap, casemap


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello", "hELLO"),
        ("Äpfel", "äPFEL"),
        ("\u00e4", "a\u0308"),  # composed and decomposed
        ("\ufb01", "\ufb01"),
        ("i", "\u0131"),  # both have the titlecase I
        ("\u01c6", "\u01c4"),  # both have the titlecase \u01c5
        ("σ", "Σ"),
        ("ｗｉｄｅ", "WIDE"),
    ],
)
def test_equal(one: str, other: str) -> None:
    assert casemap(one) == casemap(other)


@pytest.mark.parametrize(
    ("one", "other"), [("a", "ä"), ("ß", "ss"), ("\ufb01", "FI"), ("\uac00", "\u1100\u1161"), ("", "a")]
)
def test_different(one: str, other: str) -> None:
    assert casemap(one) != casemap(other)


def test_order() -> None:
    assert sorted(["b", "Z", "a", "_", "C", "", "é", "1"], key=casemap) == ["", "1", "a", "b", "C", "é", "Z", "_"]


@given(st.text(), st.text())
def test_it_is_done_character_by_character(one: str, other: str) -> None:
    assert casemap(one + other) == casemap(one) + casemap(other)


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_ascii_is_upper_case(text: str) -> None:
    assert casemap(text) == text.upper() == casemap("é" + text)[2:]


@given(st.text(), st.text())
def test_ascii_casemap_minds_the_case_of_no_other_letter(one: str, other: str) -> None:
    folded = [text.translate({code: code - 32 for code in range(ord("a"), ord("z") + 1)}) for text in (one, other)]
    assert [ascii_casemap(one), ascii_casemap(other)] == folded


def test_collations_by_name() -> None:
    assert [COLLATIONS[name].map("Stra\u00dfe \u00e4") for name in COLLATIONS] == [
        "STRA\u00dfE A\u0308", "STRA\u00dfE \u00e4", "Stra\u00dfe \u00e4",
    ]  # fmt: skip
