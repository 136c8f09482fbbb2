"""The client's side of SASL, against the examples of the RFCs."""

from __future__ import annotations

import pytest

from mailstack.auth.client import MAX_ITERATIONS, LoginAs, ScramClient, choose
from mailstack.auth.sasl import Secret
from mailstack.errors import BadSyntax

PENCIL = LoginAs("user", Secret("pencil"))
ALL = ("PLAIN", "LOGIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER", "CRAM-MD5")
EXAMPLES = {
    # RFC 7677 §3
    "SCRAM-SHA-256": (
        "rOprNGfwEbeRWgbNEkqO",
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
    # RFC 5802 §5
    "SCRAM-SHA-1": (
        "fyko+d2lbbFgONRv9qkxdawL",
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_scram(name: str) -> None:
    nonce, challenge, answer, verifier = EXAMPLES[name]
    exchange = ScramClient(name, PENCIL, nonce)
    assert exchange.initial() == b"n,,n=user,r=" + nonce.encode()
    assert exchange.respond(challenge) == answer and not exchange.proved
    assert exchange.respond(verifier) == b"" and exchange.proved


@pytest.mark.parametrize("final", [b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=", b"v=", b"", b"e=other-error"])
def test_a_server_that_does_not_know_the_password(final: bytes) -> None:
    nonce, challenge, _, _ = EXAMPLES["SCRAM-SHA-256"]
    exchange = ScramClient("SCRAM-SHA-256", PENCIL, nonce)
    exchange.respond(challenge)
    with pytest.raises(BadSyntax, match="knows the password"):
        exchange.respond(final)
    assert not exchange.proved


@pytest.mark.parametrize(
    "challenge",
    [
        b"r=other,s=QSXCR+Q6sek8bf92,i=4096",
        b"r=mine,s=QSXCR+Q6sek8bf92,i=4096",
        b"m=must,r=mine1,s=QSXCR+Q6sek8bf92,i=4096",
        b"r=mine1,s=QSXCR+Q6sek8bf92,i=0",
        b"r=mine1,s=QSXCR+Q6sek8bf92,i=%d" % (MAX_ITERATIONS + 1),
        b"r=mine1,s=Q,i=4096",
        b"",
    ],
)
def test_challenges_that_are_none(challenge: bytes) -> None:
    with pytest.raises(BadSyntax):
        ScramClient("SCRAM-SHA-256", PENCIL, "mine").respond(challenge)


@pytest.mark.parametrize(
    ("offered", "private", "token", "chosen"),
    [
        (ALL, True, False, "SCRAM-SHA-256"),
        (ALL, False, False, "SCRAM-SHA-256"),
        (("LOGIN", "PLAIN"), True, False, "PLAIN"),
        (("LOGIN", "PLAIN"), False, False, None),
        (ALL, True, True, "OAUTHBEARER"),
        (ALL, False, True, None),
        (("CRAM-MD5",), True, False, None),
    ],
)
def test_which_mechanism(offered: tuple[str, ...], private: bool, token: bool, chosen: str | None) -> None:
    exchange = choose(offered, LoginAs("user", Secret("pencil"), token), private=private, nonce="x")
    assert (exchange.name if exchange else None) == chosen


def test_names_are_quoted_where_a_comma_would_end_them() -> None:
    assert ScramClient("SCRAM-SHA-1", LoginAs("a,b=c", Secret("x")), "n").initial() == b"n,,n=a=2Cb=3Dc,r=n"


def test_no_answer_to_one_challenge_too_many() -> None:
    exchange = choose(("PLAIN",), PENCIL, private=True, nonce="x")
    assert exchange is not None and exchange.initial() == b"\0user\0pencil" and "pencil" not in repr(PENCIL)
    with pytest.raises(BadSyntax):
        exchange.respond(b"")
