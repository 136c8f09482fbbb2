"""SASL mechanisms as state machines."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.auth import mechanisms, sasl
from mailstack.auth.sasl import Challenge, Credentials, Exchange, Secret, Step
from mailstack.errors import BadSyntax
from mailstack.testing.connection import MemoryConnection


def begin(name: str) -> Exchange:
    exchange = mechanisms.begin(name, mechanisms.MECHANISMS, MemoryConnection(), "nonce")
    assert exchange is not None
    return exchange


def talk(name: str, *responses: bytes | None) -> Step:
    exchange = begin(name)
    for response in responses:
        step = exchange.respond(response)
    return step


JOE = Credentials("joe", Secret("pass"))


@pytest.mark.parametrize(
    ("name", "responses", "step"),
    [
        ("PLAIN", [None], Challenge(b"")),
        ("plain", [b"\0joe\0pass"], JOE),
        ("PLAIN", [None, b"\0joe\0pass"], JOE),
        ("PLAIN", [b"boss\0joe\0pass"], Credentials("joe", Secret("pass"), "boss")),
        ("PLAIN", ["\0j\u00f6\0\u00e4".encode()], Credentials("jö", Secret("ä"))),
        ("LOGIN", [None], Challenge(b"Username:")),
        ("LOGIN", [b""], Challenge(b"Username:")),
        ("LOGIN", [None, b"joe"], Challenge(b"Password:")),
        ("LOGIN", [b"joe"], Challenge(b"Password:")),
        ("LOGIN", [None, b"joe", b"pass"], JOE),
        ("Login", [b"joe", b"pass"], JOE),
    ],
)
def test_steps(name: str, responses: list[bytes | None], step: Step) -> None:
    assert talk(name, *responses) == step


@pytest.mark.parametrize(
    ("name", "responses"),
    [
        ("PLAIN", [b""]),
        ("PLAIN", [b"joe\0pass"]),
        ("PLAIN", [b"\0joe\0pass\0more"]),
        ("PLAIN", [b"\0\0pass"]),
        ("PLAIN", [b"\0joe\0"]),
        ("PLAIN", [b"\0joe\0\xff"]),
        ("PLAIN", [b"\0joe\0" + b"x" * 1025]),
        ("LOGIN", [None, b""]),
        ("LOGIN", [b"joe", b""]),
        ("LOGIN", [b"j\0oe"]),
        ("LOGIN", [b"\xff"]),
    ],
)
def test_nonsense_is_refused(name: str, responses: list[bytes | None]) -> None:
    with pytest.raises(BadSyntax):
        talk(name, *responses)


def test_unknown_mechanism() -> None:
    assert mechanisms.begin("NTLM", mechanisms.MECHANISMS, MemoryConnection(), "nonce") is None


def test_a_secret_is_not_shown() -> None:
    credentials = Credentials("joe", Secret("hunter2"))
    assert "hunter2" not in repr(credentials)
    assert "hunter2" not in f"{credentials.password} {credentials.password!r}"
    assert credentials.password.reveal() == "hunter2"


def test_errors_do_not_show_the_secret() -> None:
    with pytest.raises(BadSyntax) as caught:
        talk("PLAIN", b"\0joe\0hunter2\0")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("authzid", "itself"), [("", True), ("joe", True), ("boss", False)])
def test_acts_for_itself(authzid: str, itself: bool) -> None:
    assert Credentials("joe", Secret("x"), authzid).acts_for_itself is itself


@given(st.binary(max_size=300))
def test_base64_both_ways(data: bytes) -> None:
    assert sasl.decode_base64(sasl.encode_base64(data)) == data
    assert sasl.encode_base64(data) == base64.b64encode(data)


@pytest.mark.parametrize(
    "line", [b"=", b"a", b"ab", b"abc", b"ab=c", b"YQ==YQ==", b"Y Q=", b"YWJj\r", b"*", b"YQ===", b"YW-_"]
)
def test_bad_base64(line: bytes) -> None:
    with pytest.raises(BadSyntax):
        sasl.decode_base64(line)


def test_base64_has_a_limit() -> None:
    assert len(sasl.decode_base64(b"A" * sasl.MAX_BASE64)) == sasl.MAX_BASE64 // 4 * 3
    with pytest.raises(BadSyntax):
        sasl.decode_base64(b"A" * (sasl.MAX_BASE64 + 4))


def test_initial_response() -> None:
    assert sasl.decode_initial_response(b"=") == b""
    assert sasl.decode_initial_response(b"YQ==") == b"a"


def test_mechanisms_are_named_as_in_the_registry() -> None:
    for mechanism in mechanisms.MECHANISMS:
        assert mechanism.name == mechanism.name.upper()
        assert begin(mechanism.name.lower()) is not None
