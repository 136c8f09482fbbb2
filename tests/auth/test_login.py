"""One login by each mechanism through each protocol's session, over the fakes."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from scram_client import ScramClient
from transcript_sessions import factory
from transcripts import Fakes, Transcript
from twisted.internet.defer import Deferred

from mailstack.auth.mechanisms import NAMES
from mailstack.errors import Problem
from mailstack.ports import TlsInfo
from mailstack.testing.connection import MemoryConnection

ALICE, PASSWORD = "alice@example.org", "correct horse"
BINDINGS = {"tls-exporter": b"exported" * 4, "tls-server-end-point": b"certificate"}
PROTOCOLS = ("imap", "submission", "pop3")
COMMAND = {"imap": b"t AUTHENTICATE", "submission": b"AUTH", "pop3": b"AUTH"}
GO_ON = {"imap": b"+ ", "submission": b"334 ", "pop3": b"+ "}
IN = {"imap": b"t OK", "submission": b"235 2.7.0", "pop3": b"+OK"}
OUT = {"imap": b"t NO [AUTHENTICATIONFAILED]", "submission": b"535 5.7.8", "pop3": b"-ERR [AUTH]"}
LATER = {"imap": b"t NO [UNAVAILABLE]", "submission": b"454 4.7.0", "pop3": b"-ERR [SYS/TEMP]"}


class Client:
    """A connection with everything that a mechanism may want."""

    def __init__(self, protocol: str, *, initial: bool = True, **settings: str) -> None:
        self.protocol, self.initial = protocol, initial
        self.fakes = Fakes(Transcript(Path("x"), protocol, users={ALICE: PASSWORD, "bob@example.org": "other"}))
        self.fakes.accounts.offers = NAMES
        self.fakes.accounts.certificates[b"certificate of alice"] = ALICE
        self.fakes.accounts.tokens["good.token"] = ALICE
        self.connection = MemoryConnection(
            tls=TlsInfo("TLSv1.3", "x"), bindings=BINDINGS, certificate=b"certificate of alice"
        )
        session: Any = factory(protocol, settings)(self.connection, self.fakes)
        self.over: list[object] = []
        Deferred.fromCoroutine(session.run()).addBoth(self.over.append)
        self.connection.take()
        if protocol == "submission":
            self.say(b"EHLO client.example")

    def say(self, line: bytes) -> bytes:
        self.connection.feed(line + b"\r\n")
        return self.connection.take()

    def begin(self, mechanism: str, response: bytes) -> bytes:
        """The answer to the first response."""
        command = b"%s %s" % (COMMAND[self.protocol], mechanism.encode())
        encoded = base64.b64encode(response)
        if self.initial:
            return self.say(command + b" " + (encoded or b"="))
        assert self.say(command).startswith(GO_ON[self.protocol])
        return self.say(encoded)

    def challenge(self, answer: bytes) -> bytes:
        assert answer.startswith(GO_ON[self.protocol]), answer
        return base64.b64decode(answer[len(GO_ON[self.protocol]) :])

    def scram(self, client: ScramClient, mechanism: str) -> bytes:
        """The outcome."""
        answer = self.begin(mechanism, client.first())
        if not answer.startswith(GO_ON[self.protocol]):
            return answer
        answer = self.say(base64.b64encode(client.final(self.challenge(answer))))
        if not answer.startswith(GO_ON[self.protocol]):
            return answer
        assert client.trusts(self.challenge(answer))
        return self.say(b"")

    @property
    def logged(self) -> list[str]:
        return [line.what for line in self.fakes.log.lines if line.what.startswith("login")]


@pytest.mark.parametrize("protocol", PROTOCOLS)
class TestEachProtocol:
    @pytest.mark.parametrize("initial", [False, True])
    @pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
    @pytest.mark.parametrize("binding", [None, *BINDINGS])
    def test_scram(self, protocol: str, mechanism: str, binding: str | None, initial: bool) -> None:
        client = Client(protocol, initial=initial)
        bound = (binding, BINDINGS[binding]) if binding else None
        name = f"{mechanism}-PLUS" if binding else mechanism
        outcome = client.scram(ScramClient(mechanism, ALICE, PASSWORD, binding=bound), name)
        assert outcome.startswith(IN[protocol])
        assert client.logged == ["login"]
        (line,) = (line for line in client.fakes.log.lines if line.what == "login")
        assert (line.fields["user"], line.fields["account"], line.fields["mechanism"]) == (ALICE, ALICE, name)

    def test_scram_refused(self, protocol: str) -> None:
        for scram in (
            ScramClient("SCRAM-SHA-256", ALICE, "wrong"),
            ScramClient("SCRAM-SHA-256", "nobody@example.org", PASSWORD),
            ScramClient("SCRAM-SHA-256", ALICE, PASSWORD, flag="y"),
            ScramClient("SCRAM-SHA-256", ALICE, PASSWORD, authzid="bob@example.org"),
        ):
            client = Client(protocol)
            assert client.scram(scram, "SCRAM-SHA-256").startswith(OUT[protocol])
            assert client.logged == ["login failed"]

    def test_the_verifier_may_be_refused(self, protocol: str) -> None:
        client, scram = Client(protocol), ScramClient("SCRAM-SHA-1", ALICE, PASSWORD)
        answer = client.begin("SCRAM-SHA-1", scram.first())
        client.challenge(client.say(base64.b64encode(scram.final(client.challenge(answer)))))
        outcome = client.say(b"*")
        assert not outcome.startswith((IN[protocol], OUT[protocol]))
        assert client.begin("PLAIN", f"\0{ALICE}\0{PASSWORD}".encode()).startswith(IN[protocol]), "nobody was in"

    @pytest.mark.parametrize("authzid", ["", ALICE])
    def test_external(self, protocol: str, authzid: str) -> None:
        client = Client(protocol)
        assert client.begin("EXTERNAL", authzid.encode()).startswith(IN[protocol])

    def test_external_of_another(self, protocol: str) -> None:
        assert Client(protocol).begin("EXTERNAL", b"bob@example.org").startswith(OUT[protocol])

    @pytest.mark.parametrize(
        ("mechanism", "response"),
        [
            ("OAUTHBEARER", b"n,a=alice@example.org,\1auth=Bearer good.token\1\1"),
            ("OAUTHBEARER", b"n,,\1auth=Bearer good.token\1\1"),
            ("XOAUTH2", b"user=alice@example.org\1auth=Bearer good.token\1\1"),
        ],
    )
    def test_tokens(self, protocol: str, mechanism: str, response: bytes) -> None:
        client = Client(protocol)
        assert client.begin(mechanism, response).startswith(IN[protocol])
        client = Client(protocol)
        answer = client.begin(mechanism, response.replace(b"good", b"evil"))
        assert b'"status"' in client.challenge(answer)
        assert client.say(base64.b64encode(b"\1")).startswith(OUT[protocol])
        assert "evil" not in str(client.fakes.log.lines)

    def test_when_nobody_can_say(self, protocol: str) -> None:
        client = Client(protocol)
        client.fakes.accounts.problem = Problem.LOGIN_UNAVAILABLE
        assert client.begin("XOAUTH2", b"user=a\1auth=Bearer good.token\1\1").startswith(LATER[protocol])
        scram = ScramClient("SCRAM-SHA-1", ALICE, PASSWORD)
        assert client.scram(scram, "SCRAM-SHA-1").startswith(LATER[protocol])

    def test_failures_of_all_mechanisms_end_the_connection(self, protocol: str) -> None:
        client = Client(protocol, max_login_failures="3")
        client.begin("PLAIN", f"\0{ALICE}\0wrong".encode())
        client.begin("EXTERNAL", b"bob@example.org")
        assert not client.over
        client.scram(ScramClient("SCRAM-SHA-1", ALICE, "wrong"), "SCRAM-SHA-1")
        assert client.over

    def test_passwords_are_in_no_log(self, protocol: str) -> None:
        client = Client(protocol)
        client.begin("PLAIN", f"\0{ALICE}\0wrong horse".encode())
        client.begin("PLAIN", f"\0{ALICE}\0{PASSWORD}".encode())
        shown = str(client.fakes.log.lines)
        assert PASSWORD not in shown and "wrong horse" not in shown
        assert client.logged == ["login failed", "login"]
