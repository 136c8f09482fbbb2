from __future__ import annotations

import pytest
from call_counts import assert_linear
from hypothesis import given
from hypothesis import strategies as st

from mailstack.mail import addresses
from mailstack.mail.addresses import GROUP_END, MAX_ADDRESSES, MAX_LIST, ListedAddress, address_list

A = ListedAddress


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", []),
        (b" , ,", []),
        (b"imap@x.org", [A(None, None, b"imap", b"x.org")]),
        (b"Terry Gray <gray@cac.edu>", [A(b"Terry Gray", None, b"gray", b"cac.edu")]),
        (b'"Gray, T." <gray@cac.edu>', [A(b"Gray, T.", None, b"gray", b"cac.edu")]),
        (rb'"a \"b\"" <c@d>, e@f', [A(b'a "b"', None, b"c", b"d"), A(None, None, b"e", b"f")]),
        (b"A  B <a@b>", [A(b"A B", None, b"a", b"b")]),
        (b"A\tB <a@b>,", [A(b"A B", None, b"a", b"b")]),
        (
            b'"A  B" <a@b> , c@d ,e@f',
            [A(b"A  B", None, b"a", b"b"), A(None, None, b"c", b"d"), A(None, None, b"e", b"f")],
        ),
        (b"Bob  \t <b@y>", [A(b"Bob", None, b"b", b"y")]),
        (b'"Bob"  <b@y>', [A(b"Bob", None, b"b", b"y")]),
        (b"  <b@y>", [A(None, None, b"b", b"y")]),
        (b"John Q. Public <j@p>", [A(b"John Q. Public", None, b"j", b"p")]),
        (b"bob@y (Bob (the) B)", [A(b"Bob (the) B", None, b"bob", b"y")]),
        (b"Pete(A nice \\) chap) <pete(x)@silly.test(host)>", [A(b"Pete", None, b"pete", b"silly.test")]),
        (b'"a b"@[1.2.3.4]', [A(None, None, b"a b", b"[1.2.3.4]")]),
        (b"<@a,@b:c@d>", [A(None, b"@a,@b", b"c", b"d")]),
        (b"a . b @ c . d", [A(None, None, b"a.b", b"c.d")]),
        (b"nobody", [A(None, None, b"nobody", b"")]),
        (b"<>", [A(None, None, b"", b"")]),
        (b"A <a@b, C <c@d>", [A(b"A", None, b"a", b"b"), A(b"C", None, b"c", b"d")]),
        (b"undisclosed-recipients:;", [A(None, None, b"undisclosed-recipients", None), GROUP_END]),
        (
            b"A Group:Ed <ed@x>,joe@y; , z@w",
            [
                A(None, None, b"A Group", None),
                A(b"Ed", None, b"ed", b"x"),
                A(None, None, b"joe", b"y"),
                GROUP_END,
                A(None, None, b"z", b"w"),
            ],
        ),
        (b"g: a@b", [A(None, None, b"g", None), A(None, None, b"a", b"b"), GROUP_END]),
        (b"=?utf-8?q?=C3=A4?= <a@b>", [A(b"=?utf-8?q?=C3=A4?=", None, b"a", b"b")]),
        ("grüße@bücher.example".encode(), [A(None, None, "grüße".encode(), "bücher.example".encode())]),
    ],
)
def test_address_lists(value: bytes, expected: list[ListedAddress]) -> None:
    assert address_list(value) == expected


@given(
    st.lists(
        st.sampled_from([b"a@b", b" ", b"\t", b",", b"<c@d>", b'"e f"', b'""', b"g h ", b"\xff", b"\0", b"(i)", b":;"])
    )
)
def test_usual_lists_are_read_as_all_others(pieces: list[bytes]) -> None:
    value = b"".join(pieces)
    assert address_list(value) == addresses._Parse(addresses._tokens(value)).result


@given(st.lists(st.sampled_from([bytes([c]) for c in b'a@.,:;<>()[]"\\ \xff\0'])))
def test_nothing_raises_and_groups_are_balanced(pieces: list[bytes]) -> None:
    found = address_list(b"".join(pieces))
    depth = 0
    for entry in found:
        if entry.host is None:
            depth += 1 if entry.mailbox is not None else -1
        assert depth in (0, 1)
    assert depth == 0


@pytest.mark.parametrize("hostile", [b"(", b"<", b"[", b'"', b"a,", b"@", b":", b"\\", b"a ", b'"\\', b"[\\", b"(\\"])
def test_long_lists_take_linear_time(hostile: bytes) -> None:
    assert_linear(address_list, hostile)


def test_what_is_above_the_limit_is_left_out() -> None:
    count = MAX_LIST // 16
    assert len(address_list(b"a2345678@b23456," * (2 * count))) == count


@pytest.mark.parametrize("crowd", [b"a@b,", b"g:;,", b"g:a@b;"])
def test_a_crowd_of_tiny_addresses_is_cut(crowd: bytes) -> None:
    found = address_list(crowd * (MAX_LIST // len(crowd)))
    assert MAX_ADDRESSES <= len(found) <= MAX_ADDRESSES + 2
    assert found.count(GROUP_END) == sum(entry.host is None and entry.mailbox is not None for entry in found)
