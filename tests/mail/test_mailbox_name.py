"""Modified UTF-7 (RFC 3501 §5.1.3): every name has one form, and nothing else is read."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.mail.mailbox_name import from_modified_utf7, to_modified_utf7

PAIRS = [
    ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),  # RFC 3501 §5.1.3
    ("Hi Mom -☺-!", "Hi Mom -&Jjo--!"),
    ("台北日本語", "&U,BTF2XlZyyKng-"),
    ("", ""),
    ("INBOX", "INBOX"),
    ("a-b", "a-b"),
    ("-", "-"),
    ("&", "&-"),
    ("&&", "&-&-"),
    ("&-", "&--"),
    ("R&D", "R&-D"),
    ("é&", "&AOk-&-"),
    ("Entwürfe", "Entw&APw-rfe"),
    ("\t\x00\x7f", "&AAkAAAB,-"),
    ("😀", "&2D3eAA-"),
    ("\uffff", "&,,8-"),
    ("+Jjo-", "+Jjo-"),  # the shift of ordinary UTF-7 is none here
]


@pytest.mark.parametrize(("name", "text"), PAIRS)
def test_a_name_has_one_form_and_comes_back(name: str, text: str) -> None:
    assert to_modified_utf7(name) == text
    assert from_modified_utf7(text) == name


@given(st.text())
def test_all_of_unicode_comes_back(name: str) -> None:
    text = to_modified_utf7(name)
    assert from_modified_utf7(text) == name


@given(st.text())
def test_the_form_is_printable_ascii(name: str) -> None:
    assert all(" " <= char <= "~" for char in to_modified_utf7(name))


@given(st.text(), st.sampled_from(["\ud800", "\udfff", "\udce4"]), st.text())
def test_a_lone_surrogate_is_refused(before: str, surrogate: str, after: str) -> None:
    with pytest.raises(ValueError, match="surrogate"):
        to_modified_utf7(before + surrogate + after)


@pytest.mark.parametrize(
    "text",
    [
        "&Jjo",  # no end
        "&Jjo!",  # RFC 3501 §5.1.3: "&Jjo!" is not valid, the shift must end with "-"
        "&U,BTFw-&ZeVnLIqe-",  # RFC 3501 §5.1.3: a superfluous shift
        "&",
        "a&b",
        "&AGE-",  # "a" represents itself
        "&ACY-",  # so does "&", as "&-"
        "&AOkAYQ-",  # "a" within a shift that is needed
        "&Jjo=-",  # padded
        "&JjoA-",  # half a character
        "&Jj-",
        "&J-",
        "&Jjp-",  # bits set behind the last octet
        "&U/BTFw-",  # "/" of ordinary base64
        "&U BTFw-",
        "&2D0-",  # half a surrogate pair
        "&3gA-",
        "ü",
        "&AOk-ü",
        "a\tb",
        "&AOk-\n",
        "\x7f",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_modified_utf7(text)


@given(st.text(st.sampled_from("&-,/+=AJjo02D3eé a\0")))
def test_what_is_read_is_the_form_of_what_it_gives(text: str) -> None:
    try:
        name = from_modified_utf7(text)
    except ValueError:
        return
    assert to_modified_utf7(name) == text


@given(st.binary(max_size=12))
def test_any_base64_is_read_or_refused_with_a_value_error(octets: bytes) -> None:
    text = "&" + base64.b64encode(octets).decode().rstrip("=").replace("/", ",") + "-"
    try:
        assert to_modified_utf7(from_modified_utf7(text)) == text
    except ValueError as error:
        assert str(error)
