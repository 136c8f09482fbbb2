"""SCRAM as a state machine: the RFCs' examples, channel binding, and nonsense."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scram_client import ScramClient

from mailstack.auth import mechanisms
from mailstack.auth.sasl import Challenge, KeysWanted, Proof
from mailstack.auth.saslprep import NotPrepared, saslprep
from mailstack.auth.scram import Binding, ScramExchange, client_final_message, client_first_message, derive
from mailstack.errors import BadSyntax, Problem, Refused
from mailstack.ports import TlsInfo
from mailstack.testing.connection import MemoryConnection

SHA1, SHA256 = "SCRAM-SHA-1", "SCRAM-SHA-256"
EXPORTER = {"tls-exporter": b"\1" * 32}
NO_BINDING = Binding(False, lambda name: None)
PLUS = Binding(True, EXPORTER.get)
KEYS = {name: derive(name, "pencil", b"salt", 4096) for name in (SHA1, SHA256)}


@pytest.mark.parametrize(
    ("mechanism", "salt", "client_nonce", "server_nonce", "proof", "verifier"),
    [
        (  # RFC 5802 §5
            SHA1, "QSXCR+Q6sek8bf92", "fyko+d2lbbFgONRv9qkxdawL", "3rfcNHYJY1ZVvWVs7j",
            "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ),
        (  # RFC 7677 §3
            SHA256, "W22ZaJ0SNY7soEsUEjb6gQ==", "rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ),
    ],
)  # fmt: skip
def test_the_examples_of_the_rfcs(
    mechanism: str, salt: str, client_nonce: str, server_nonce: str, proof: str, verifier: str
) -> None:
    exchange = ScramExchange(mechanism, NO_BINDING, server_nonce)
    assert exchange.respond(None) == Challenge(b"")
    wanted = exchange.respond(f"n,,n=user,r={client_nonce}".encode())
    assert isinstance(wanted, KeysWanted)
    assert (wanted.user, wanted.mechanism) == ("user", mechanism)
    keys = derive(mechanism, "pencil", base64.b64decode(salt), 4096)
    nonce = client_nonce + server_nonce
    assert wanted.answer(keys) == Challenge(f"r={nonce},s={salt},i=4096".encode())
    proved = exchange.respond(f"c=biws,r={nonce},p={proof}".encode())
    assert proved == Proof("user", "", True, f"v={verifier}".encode())


def converse(client: ScramClient, mechanism: str, binding: Binding = NO_BINDING) -> Proof:
    exchange = ScramExchange(mechanism, binding, "nonce-of-the-server")
    wanted = exchange.respond(client.first())
    assert isinstance(wanted, KeysWanted)
    proved = exchange.respond(client.final(wanted.answer(KEYS[wanted.mechanism]).data))
    assert isinstance(proved, Proof)
    return proved


@pytest.mark.parametrize("mechanism", [SHA1, SHA256])
class TestChannelBinding:
    def test_bound_to_this_channel(self, mechanism: str) -> None:
        client = ScramClient(mechanism, "user", "pencil", binding=("tls-exporter", EXPORTER["tls-exporter"]))
        proved = converse(client, f"{mechanism}-PLUS", PLUS)
        assert proved.right
        assert client.trusts(proved.verifier)

    def test_bound_to_another_channel(self, mechanism: str) -> None:
        client = ScramClient(mechanism, "user", "pencil", binding=("tls-exporter", b"\2" * 32))
        assert not converse(client, f"{mechanism}-PLUS", PLUS).right

    def test_a_client_that_was_not_shown_plus(self, mechanism: str) -> None:
        client = ScramClient(mechanism, "user", "pencil", flag="y")
        assert converse(client, mechanism).right
        with pytest.raises(Refused, match="downgrade") as caught:
            converse(client, mechanism, PLUS)
        assert caught.value.problem is Problem.BAD_CREDENTIALS

    def test_a_client_that_cannot_bind(self, mechanism: str) -> None:
        assert converse(ScramClient(mechanism, "user", "pencil", flag="n"), mechanism, PLUS).right

    @pytest.mark.parametrize("plus", [False, True])
    def test_the_flag_fits_the_name(self, mechanism: str, plus: bool) -> None:
        binding = None if plus else ("tls-exporter", EXPORTER["tls-exporter"])
        client = ScramClient(mechanism, "user", "pencil", binding=binding)
        with pytest.raises(Refused):
            converse(client, f"{mechanism}-PLUS" if plus else mechanism, PLUS)

    def test_a_kind_that_is_not_there(self, mechanism: str) -> None:
        client = ScramClient(mechanism, "user", "pencil", binding=("tls-unique", b"x"))
        with pytest.raises(Refused, match="no channel binding"):
            converse(client, f"{mechanism}-PLUS", PLUS)


def test_a_header_that_changed_on_the_way() -> None:
    client = ScramClient(SHA256, "user", "pencil", flag="y")
    client.bound = b"n,,"  # somebody between took the "y" away
    assert not converse(client, SHA256).right


def test_another_password_another_nonce() -> None:
    assert not converse(ScramClient(SHA256, "user", "Pencil"), SHA256).right
    exchange = ScramExchange(SHA256, NO_BINDING, "nonce")
    client = ScramClient(SHA256, "user", "pencil")
    wanted = exchange.respond(client.first())
    assert isinstance(wanted, KeysWanted)
    forged = wanted.answer(KEYS[SHA256]).data.replace(b"nonce", b"nonce-that-is-longer")
    proved = exchange.respond(client.final(forged))
    assert isinstance(proved, Proof)
    assert not proved.right


def test_a_nonce_that_is_not_this_one() -> None:
    client = ScramClient(SHA256, "user", "pencil")
    client.other_nonce = b"fyko+d2lbbFgONRv9qkxdawLnonce-of-another-day"
    assert not converse(client, SHA256).right


def test_a_proof_with_something_behind_it() -> None:
    exchange, client = ScramExchange(SHA256, NO_BINDING, "nonce-of-the-server"), ScramClient(SHA256, "user", "pencil")
    wanted = exchange.respond(client.first())
    assert isinstance(wanted, KeysWanted)
    message, _, proof = client.final(wanted.answer(KEYS[SHA256]).data).rpartition(b",p=")
    longer = base64.b64encode(base64.b64decode(proof) + b"x")
    proved = exchange.respond(message + b",p=" + longer)
    assert isinstance(proved, Proof)
    assert not proved.right


def test_names_are_unquoted_and_prepared() -> None:
    first = client_first_message("n,a=b=2Cc,n=a=3Db\u00adx\u2168,r=n,x=y".encode())
    assert (first.authzid, first.user, first.header) == ("b,c", "a=bxIX", b"n,a=b=2Cc,")
    assert first.bare == "n=a=3Db\u00adx\u2168,r=n,x=y".encode()


@pytest.mark.parametrize(
    "octets",
    [
        b"", b"n,,n=user", b"n,n=user,r=x", b"x,,n=user,r=x", b"p=,,n=user,r=x", b"p=tls unique,,n=u,r=x",
        b"n,b=x,n=user,r=x", b"n,,m=x,n=user,r=x", b"n,,n=,r=x", b"n,,n=u=2,r=x", b"n,,n=u=4A,r=x", b"n,,n=u\0,r=x",
        b"n,,n=\xff,r=x", b"n,,n=user,r=", b"n,,n=user,r=a b", b"n,,n=user,s=x", b"n,,n=user,r=x,m=y",
        b"n,,n=user,r=x,yy", b"n,,n=user,r=\xc3\xa4", b"n,,n=user,r=" + b"x" * 2000, b"n,,n=\x07,r=x",
        b"n,,n=" + "\u0627a".encode() + b",r=x",
    ],
)  # fmt: skip
def test_nonsense_at_first(octets: bytes) -> None:
    with pytest.raises(BadSyntax):
        client_first_message(octets)


@pytest.mark.parametrize(
    "octets", [b"", b"c=biws,r=x", b"c=biws,p=YQ==", b"r=x,c=biws,p=YQ==", b"c=!,r=x,p=YQ==", b"c=biws,r=x,p=!",
               b"c=biws,r=x,m=y,p=YQ==", b"c=biws,r=x,p=YQ==,x=y"],
)  # fmt: skip
def test_nonsense_at_the_end(octets: bytes) -> None:
    with pytest.raises(BadSyntax):
        client_final_message(octets)


@given(
    st.lists(st.one_of(st.binary(max_size=60), st.text("nyp=,arcs0A:\u00e4", max_size=40).map(str.encode)), max_size=3)
)
@settings(max_examples=50)
def test_nothing_but_a_proof_logs_in(messages: list[bytes]) -> None:
    exchange = ScramExchange(SHA256, NO_BINDING, "nonce")
    try:
        for message in messages:
            step = exchange.respond(message)
            if isinstance(step, KeysWanted):
                step.answer(KEYS[SHA256])
            elif isinstance(step, Proof):
                assert not step.right
                return
    except (BadSyntax, Refused):
        pass


@given(st.integers(0, 400), st.integers(0, 255))
@settings(max_examples=50)
def test_a_message_with_another_octet_is_no_proof(at: int, octet: int) -> None:
    exchange = ScramExchange(SHA1, NO_BINDING, "nonce-of-the-server")
    client = ScramClient(SHA1, "user", "pencil")
    wanted = exchange.respond(client.first())
    assert isinstance(wanted, KeysWanted)
    final = bytearray(client.final(wanted.answer(KEYS[SHA1]).data))
    at %= len(final)
    if final[at] == octet:
        octet = (octet + 1) % 256
    final[at] = octet
    try:
        proved = exchange.respond(bytes(final))
    except BadSyntax:
        return
    assert isinstance(proved, Proof)
    # the last base64 digit may have bits that are of no octet
    assert not proved.right or at >= len(final) - 2


@pytest.mark.parametrize(
    ("text", "prepared"),
    [("I\u00adX", "IX"), ("user", "user"), ("USER", "USER"), ("\u00aa", "a"), ("\u2168", "IX"), ("a\u00a0b", "a b"),
     ("\U0001f512", "\U0001f512"), ("\u0627\u0628", "\u0627\u0628")],
)  # fmt: skip
def test_saslprep(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared  # RFC 4013 §3, and code points that Unicode 3.2 does not know


@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031", "\u0627a", "a\ue000", "a\u200e"])
def test_saslprep_refuses(text: str) -> None:
    with pytest.raises(NotPrepared):
        saslprep(text)


def test_passwords_are_prepared_for_scram() -> None:
    assert derive(SHA256, "I\u00adX", b"salt", 1) == derive(SHA256, "IX", b"salt", 1)
    assert derive(SHA256, "\u0007", b"salt", 1) != derive(SHA256, "", b"salt", 1)  # as it is


def test_keys_are_not_shown() -> None:
    assert "salt" not in repr(KEYS[SHA1])


class TestWhatIsOffered:
    def names(self, connection: MemoryConnection, *, verifiable: frozenset[str] = mechanisms.NAMES) -> list[str]:
        from mailstack.testing.accounts import MemoryAccounts

        found = mechanisms.offered(mechanisms.NAMES - {"LOGIN"}, MemoryAccounts({}, verifiable), connection)
        return [mechanism.name for mechanism in found]

    def test_in_plain_text(self) -> None:
        assert self.names(MemoryConnection()) == [SHA256, SHA1, "OAUTHBEARER", "XOAUTH2", "PLAIN"]

    def test_with_tls(self) -> None:
        tls = TlsInfo("TLSv1.3", "x")
        assert f"{SHA256}-PLUS" not in self.names(MemoryConnection(tls=tls))
        assert self.names(MemoryConnection(tls=tls, bindings=EXPORTER))[:2] == [f"{SHA256}-PLUS", f"{SHA1}-PLUS"]

    def test_with_a_certificate(self) -> None:
        assert "EXTERNAL" in self.names(MemoryConnection(tls=TlsInfo("TLSv1.3", "x"), certificate=b"x"))

    def test_what_accounts_can_verify(self) -> None:
        assert self.names(MemoryConnection(), verifiable=frozenset({"PLAIN", "LOGIN"})) == ["PLAIN"]
