"""Command lines and their values, by table and by chance."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.errors import BadSyntax
from mailstack.mail.address import Address
from mailstack.smtp.wire import grammar
from mailstack.smtp.wire.grammar import Cursor
from mailstack.smtp.wire.values import Auth, Bdat, Helo, Mail, Parameter, Rcpt

JOE = Address("joe", "example.com")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        (b"FROM:<joe@example.com>", Mail(JOE)),
        (b"from:<joe@example.com>", Mail(JOE)),
        (b"FROM: <joe@example.com>", Mail(JOE)),
        (b"FROM:<joe@example.com>  ", Mail(JOE)),
        (b"FROM:<>", Mail(None)),
        (b"FROM:<> SIZE=100", Mail(None, (Parameter("SIZE", "100"),))),
        (
            b"FROM:<joe@example.com> SIZE=100 body=8BITMIME",
            Mail(JOE, (Parameter("SIZE", "100"), Parameter("BODY", "8BITMIME"))),
        ),
        (b"FROM:<joe@example.com> SMTPUTF8", Mail(JOE, (Parameter("SMTPUTF8"),))),
        (b"FROM:<@a.example,@b.example:joe@example.com>", Mail(JOE)),
        (b'FROM:<"joe"@example.com>', Mail(JOE)),
        (b'FROM:<"j o\\"e\\\\"@example.com>', Mail(Address('j o"e\\', "example.com"))),
        (b'FROM:<""@example.com>', Mail(Address("", "example.com"))),
        (b'FROM:<"a>b"@example.com>', Mail(Address("a>b", "example.com"))),
        (b"FROM:<a.b+c=d/e@my_host>", Mail(Address("a.b+c=d/e", "my_host"))),
        (b"FROM:<joe@example.com.>", Mail(JOE)),
        (b"FROM:<joe@[192.0.2.1]>", Mail(Address("joe", "[192.0.2.1]"))),
        (b"FROM:<joe@[IPv6:2001:db8::1]>", Mail(Address("joe", "[IPv6:2001:db8::1]"))),
        ("FROM:<jö@exämple.com> SMTPUTF8".encode(), Mail(Address("jö", "exämple.com"), (Parameter("SMTPUTF8"),))),
        (b"FROM:<" + b"v" * 100 + b"@example.com>", Mail(Address("v" * 100, "example.com"))),
    ],
)
def test_mail(argument: bytes, value: Mail) -> None:
    assert grammar.mail_from(argument) == value


@pytest.mark.parametrize(
    "argument",
    [
        b"",
        b"FROM",
        b"FROM:",
        b"TO:<joe@example.com>",
        b"FROM:joe@example.com",
        b"FROM:<joe>",
        b"FROM:<joe@>",
        b"FROM:<@example.com>",
        b"FROM:<joe@example.com",
        b"FROM:<joe@example.com>SIZE=1",
        b"FROM:<joe@example.com> SIZE=",
        b"FROM:<joe@example.com> =1",
        b"FROM:<joe@example.com> SIZE=1 SIZE=1",
        b"FROM:<joe@example.com> SIZE=1=2",
        b"FROM:<joe@example.com> " + b" ".join(b"P%d" % i for i in range(21)),
        b"FROM:<joe.@example.com>",
        b"FROM:<.joe@example.com>",
        b"FROM:<j..oe@example.com>",
        b"FROM:<j oe@example.com>",
        b"FROM:<joe@exa mple.com>",
        b"FROM:<joe@-example.com>",
        b"FROM:<joe@example-.com>",
        b"FROM:<joe@example..com>",
        b"FROM:<joe@[192.0.2.256]>",
        b"FROM:<joe@[192.0.2]>",
        b"FROM:<joe@[192.0.2.1>",
        b"FROM:<joe@[IPv6:::1::]>",
        b'FROM:<"joe@example.com>',
        b"FROM:<joe@example.com>\x00",
        b"FROM:<joe\r@example.com>",
        b"FROM:<\xff@example.com>",
        b"FROM:<@a.example joe@example.com>",
        b"FROM:<" + b"v" * 243 + b"@example.com>",
        b"FROM:<joe@" + b"d." * 130 + b"example>",
        "FROM:<joe\u0085@example.com>".encode(),
    ],
)
def test_not_mail(argument: bytes) -> None:
    with pytest.raises(BadSyntax):
        grammar.mail_from(argument)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        (b"TO:<joe@example.com>", Rcpt(JOE)),
        (b"To: <joe@example.com> X=1", Rcpt(JOE, (Parameter("X", "1"),))),
        (b"TO:<Postmaster>", Rcpt(Address("Postmaster", ""))),
        (b"TO:<postmaster>", Rcpt(Address("postmaster", ""))),
        (b"TO:<postmaster@example.com>", Rcpt(Address("postmaster", "example.com"))),
        (b"TO:<@relay.example:joe@example.com>", Rcpt(JOE)),
        (b"TO:<" + b"a" * 64 + b"@example.com>", Rcpt(Address("a" * 64, "example.com"))),
    ],
)
def test_rcpt(argument: bytes, value: Rcpt) -> None:
    assert grammar.rcpt_to(argument) == value


@pytest.mark.parametrize(
    "argument",
    [
        b"TO:<>",
        b"FROM:<a@b>",
        b"TO:<joe>",
        b"TO:<" + b"a" * 65 + b"@example.com>",
        b"TO:<a@b>x",
        b'TO:<"' + b"a" * 65 + b'"@b>',
    ],
)
def test_not_rcpt(argument: bytes) -> None:
    with pytest.raises(BadSyntax):
        grammar.rcpt_to(argument)


@pytest.mark.parametrize(
    "text",
    ["::", "::1", "1::", "1:2:3:4:5:6:7:8", "2001:db8::1", "::ffff:192.0.2.1", "1:2:3:4:5:6:192.0.2.1", "1::192.0.2.1"],
)
def test_ipv6(text: str) -> None:
    assert grammar.address_literal(Cursor(f"[IPv6:{text}]")) == f"[IPv6:{text}]"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "1",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1::2::3",
        ":::",
        "12345::",
        "g::",
        "1:2:3:4:5:6:7:192.0.2.1",
        "192.0.2.1::",
        "::192.0.2.256",
        "1:::2",
        ":1::2",
    ],
)
def test_not_ipv6(text: str) -> None:
    with pytest.raises(BadSyntax):
        grammar.address_literal(Cursor(f"[IPv6:{text}]"))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        (b"example.com", "example.com"),
        (b"localhost ", "localhost"),
        (b"my_host", "my_host"),
        (b"[192.0.2.1]", "[192.0.2.1]"),
        (b"[IPv6:::1]", "[IPv6:::1]"),
        (b"[::1]", "[IPv6:::1]"),
        (b"[x-tag:what]", "[x-tag:what]"),
    ],
)
def test_helo(argument: bytes, value: str) -> None:
    assert grammar.helo(argument) == Helo(value)


@pytest.mark.parametrize("argument", [b"", b" ", b"a b", b"a(b", b"[192.0.2.1", b"a;b", b"a\tb", b"<a>"])
def test_not_helo(argument: bytes) -> None:
    with pytest.raises(BadSyntax):
        grammar.helo(argument)


@pytest.mark.parametrize(
    ("argument", "value"), [(b"0", Bdat(0, False)), (b"86 LAST", Bdat(86, True)), (b"1  last ", Bdat(1, True))]
)
def test_bdat(argument: bytes, value: Bdat) -> None:
    assert grammar.bdat(argument) == value


@pytest.mark.parametrize("argument", [b"", b"LAST", b"-1", b"1 FIRST", b"1 LAST x", b"9" * 21, b"1x", "１".encode()])
def test_not_bdat(argument: bytes) -> None:
    with pytest.raises(BadSyntax):
        grammar.bdat(argument)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        (b"PLAIN", Auth("PLAIN")),
        (b"plain AGEAYg==", Auth("PLAIN", b"AGEAYg==")),
        (b"LOGIN =", Auth("LOGIN", b"=")),
        (b"PLAIN ", Auth("PLAIN")),
    ],
)
def test_auth(argument: bytes, value: Auth) -> None:
    assert grammar.auth(argument) == value


@pytest.mark.parametrize("argument", [b"", b"PLAIN a b", b"PL@IN", b"X" * 21, b"PLAIN  a"])
def test_not_auth(argument: bytes) -> None:
    with pytest.raises(BadSyntax):
        grammar.auth(argument)


def slowly(argument: bytes) -> Mail:
    """By the rules alone."""
    cur = Cursor(argument.decode())
    grammar._after(cur, "FROM:")
    return Mail(grammar.reverse_path(cur), grammar.esmtp_params(cur))


soup = st.lists(
    st.sampled_from(
        [*"ab1.-_@<> =+", "FROM:", "from:", "TO:", "<a@b>", " SIZE=1", " X", "example.com", '"', "[", "x" * 70]
    ),
    max_size=14,
).map("".join)


@given(soup, st.booleans())
def test_the_fast_path_says_what_the_rules_say(text: str, prefix: bool) -> None:
    argument = (("FROM:<" if prefix else "") + text).encode()
    try:
        expected: Mail | None = slowly(argument)
    except BadSyntax:
        expected = None
    try:
        found: Mail | None = grammar.mail_from(argument)
    except BadSyntax:
        found = None
    assert found == expected


local_parts = st.text(string.ascii_letters + string.digits + ' .!"\\@<>+é', max_size=30)
domains = st.lists(
    st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=10), min_size=1, max_size=4
).map(".".join)


@given(local_parts, domains)
def test_addresses_both_ways(local: str, domain: str) -> None:
    address = Address(local, domain)
    assert grammar.mail_from(f"FROM:<{address}>".encode()).reverse_path == address
