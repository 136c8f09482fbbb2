"""OAUTHBEARER and XOAUTH2 as state machines."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.auth.bearer import OAuthBearerExchange, XOAuth2Exchange, refusal
from mailstack.auth.sasl import Challenge, Secret, Token
from mailstack.errors import BadSyntax, Problem
from mailstack.ports import TokenHint

TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="


@pytest.mark.parametrize(
    ("octets", "user"),
    [
        (f"n,a=user@example.com,\1host=server.example.com\1port=143\1auth=Bearer {TOKEN}\1\1", "user@example.com"),
        (f"n,,\1auth=Bearer {TOKEN}\1\1", ""),  # RFC 7628 §4.1 and one without a name
        (f"y,a=b=2Cc=3Dd,\1auth=bearer  {TOKEN}\1x=y\1\1", "b,c=d"),
    ],
)
def test_oauthbearer(octets: str, user: str) -> None:
    exchange = OAuthBearerExchange()
    assert exchange.respond(None) == Challenge(b"")
    assert exchange.respond(octets.encode()) == Token(user, Secret(TOKEN))


@pytest.mark.parametrize(
    "octets",
    [
        b"", b"\1", b"n,,\1\1", b"n,,\1auth=Bearer x\1", b"n,,auth=Bearer x\1\1", b"n,\1auth=Bearer x\1\1",
        b"p=tls-exporter,,\1auth=Bearer x\1\1", b"n,,\1auth=Basic x\1\1", b"n,,\1auth=Bearer\1\1",
        b"n,,\1auth=Bearer x y\1\1", b"n,,\1auth=Bearer x\1auth=Bearer y\1\1", b"n,b=c,\1auth=Bearer x\1\1",
        b"n,a=\xff,\1auth=Bearer x\1\1", b"n,a=a\0b,\1auth=Bearer x\1\1",
        b"n,a=" + b"a" * 2000 + b",\1auth=Bearer x\1\1",
    ],
)  # fmt: skip
def test_oauthbearer_nonsense(octets: bytes) -> None:
    with pytest.raises(BadSyntax):
        OAuthBearerExchange().respond(octets)


def test_xoauth2() -> None:
    exchange = XOAuth2Exchange()
    assert exchange.respond(None) == Challenge(b"")
    octets = f"user=someuser@example.com\1auth=Bearer {TOKEN}\1\1".encode()
    assert exchange.respond(octets) == Token("someuser@example.com", Secret(TOKEN), http_status=True)


@pytest.mark.parametrize(
    "octets", [b"", b"user=a\1\1", b"user=\1auth=Bearer x\1\1", b"a\1auth=Bearer x\1\1", b"user=a\1auth=Bearer x\1",
               b"user=a\0b\1auth=Bearer x\1\1"],
)  # fmt: skip
def test_xoauth2_nonsense(octets: bytes) -> None:
    with pytest.raises(BadSyntax):
        XOAuth2Exchange().respond(octets)


@given(st.binary(max_size=200))
def test_any_octets(octets: bytes) -> None:
    for exchange in (OAuthBearerExchange(), XOAuth2Exchange()):
        with suppress(BadSyntax):
            assert isinstance(exchange.respond(octets), Token)


def test_errors_do_not_show_the_token() -> None:
    with pytest.raises(BadSyntax) as caught:
        XOAuth2Exchange().respond(f"user=a\1auth=Bearer {TOKEN} more\1\1".encode())
    assert TOKEN not in str(caught.value)
    assert TOKEN not in repr(XOAuth2Exchange().respond(f"user=a\1auth=Bearer {TOKEN}\1\1".encode()))


HINT = TokenHint("mail", "https://id.example/.well-known/openid-configuration")


@pytest.mark.parametrize(
    ("problem", "http", "document"),
    [
        (
            Problem.BAD_CREDENTIALS, False,
            {"status": "invalid_token", "scope": "mail", "openid-configuration": HINT.openid_configuration},
        ),
        (
            Problem.NOT_PERMITTED, False,
            {"status": "insufficient_scope", "scope": "mail", "openid-configuration": HINT.openid_configuration},
        ),
        (Problem.BAD_CREDENTIALS, True, {"status": "401", "schemes": "bearer", "scope": "mail"}),
    ],
)  # fmt: skip
def test_what_a_refused_client_is_told(problem: Problem, http: bool, document: dict[str, str]) -> None:
    assert json.loads(refusal(problem, HINT, http_status=http)) == document


def test_nothing_more_is_told_than_is_configured() -> None:
    assert json.loads(refusal(Problem.BAD_CREDENTIALS, TokenHint(), http_status=False)) == {"status": "invalid_token"}
