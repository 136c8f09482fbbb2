from __future__ import annotations

import pytest
from call_counts import assert_linear
from hypothesis import given
from hypothesis import strategies as st

from mailstack.mail import words


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain", "plain"),
        (b"=?ISO-8859-1?Q?a?=", "a"),
        (b"=?ISO-8859-1?Q?a?= b", "a b"),
        (b"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a?=  \t =?ISO-8859-2?Q?_b?=", "a b"),
        (b"=?utf-8?q?=C3?= =?utf-8?q?=A4?=", "ä"),
        (b"=?utf-8*en?B?w6Q=?=!", "ä!"),
        (b"=?utf-8?B?w6Q?=", "ä"),
        (b"=?no-such-charset?Q?=E4?=", "ä"),
        (b"=?us-ascii?Q?=E4?=", "ä"),
        (b"=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
        ("grüße".encode(), "grüße"),
        ("grüße".encode("latin-1"), "grüße"),
    ],
)
def test_encoded_words(raw: bytes, text: str) -> None:
    assert words.decode_words(raw) == text


@pytest.mark.parametrize("charset", ["utf-7", "punycode", "idna", "undefined", "hex", "rot13", "a\0b", "", "big5", "é"])
def test_no_charset_raises(charset: str) -> None:
    assert isinstance(words.decode(b"\xff\xfe+-\\u12", charset), str)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"text/plain", ()),
        (b'text/plain; Charset="utf-8"', ((b"charset", b"utf-8"),)),
        (b"a/b; name=my file.txt ; x=y", ((b"name", b"my file.txt"), (b"x", b"y"))),
        (rb'a/b; name="a \"b\" ; c"', ((b"name", b'a "b" ; c'),)),
        (b'a/b; name="open', ((b"name", b"open"),)),
        (b"a/b;;; x = y", ((b"x", b"y"),)),
        (b'a/b; n*1="c"; n*0="ab"; x=y', ((b"n", b"abc"), (b"x", b"y"))),
        (b"a/b; n*0*=iso-8859-1'en'%e4; n*1=%2f", ((b"n*", b"utf-8'en'%C3%A4%252f"),)),
        (b"a/b; n*=utf-8''%C3%A4", ((b"n*", b"utf-8''%C3%A4"),)),
        (b"a/b; charset=us-ascii (Plain text); x=y (z", ((b"charset", b"us-ascii"), (b"x", b"y (z"))),
        (b"a/b; name=my file (1); x=(y)", ((b"name", b"my file (1)"), (b"x", b"(y)"))),
        (b"a/b; n*0=a; n*2=c", ((b"n", b"a"),)),
    ],
)
def test_parameters(raw: bytes, expected: words.Parameters) -> None:
    assert words.parameters(raw) == expected


def test_parameters_are_limited() -> None:
    assert len(words.parameters(b"a/b" + b";x=y" * 1000)) == words.MAX_PARAMETERS


def test_the_extended_form_of_a_parameter_wins() -> None:
    params = words.parameters(b"a/b; filename=x; filename*=iso-8859-1''%e4.txt")
    assert words.parameter(params, b"filename") == "ä.txt"
    assert words.parameter(params, b"name") == ""


@pytest.mark.parametrize(
    "hostile", [b";", b"; ", b';a="\\', b";a", b"a", b" ", b'"', b"=?", b"=?a?q?", b"=?a?q?b?= ", b"=?a?q?b?=x"]
)
def test_long_values_take_linear_time(hostile: bytes) -> None:
    assert_linear(lambda octets: words.parameters(b"a/b;" + octets), hostile)
    assert_linear(words.decode_words, hostile)


@given(st.binary())
def test_nothing_raises(data: bytes) -> None:
    words.decode_words(b"=?utf-8?b?" + data)
    words.parameters(b";" + data)
    words.base64(data)


@given(st.lists(st.sampled_from([b";", b"n*0", b"n*1*", b"n", b"=", b"*", b"'", b'"', b"%e4", b"\\", b" ", b"n*7*="])))
def test_no_parameter_raises(pieces: list[bytes]) -> None:
    for name, _ in (params := words.parameters(b"a/b;" + b"".join(pieces))):
        words.parameter(params, name)
