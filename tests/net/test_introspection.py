"""Asking an authorization server, over real sockets on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory, Protocol

from mailstack.auth.tokens import Tokens
from mailstack.config.sections import OAuth
from mailstack.errors import Problem, Refused
from mailstack.net.introspection import MAX_ANSWER, MAX_QUESTIONS, Introspection
from mailstack.testing.log import RecordingLog

NET: Any = reactor


class Endpoint(Factory):
    """Answers every request with the same octets; `requests` is what came."""

    noisy = False

    def __init__(self) -> None:
        self.answer: bytes | None = b""
        self.requests: list[bytes] = []
        self.connections: list[Protocol] = []

    def buildProtocol(self, addr: object) -> Protocol:
        return Request(self)

    def say(self, document: object, status: str = "200 OK") -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.answer = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


class Request(Protocol):
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._octets = b""

    def connectionMade(self) -> None:
        self._endpoint.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        self._octets += data
        if b"\r\n\r\ntoken=" in self._octets:
            self._endpoint.requests.append(self._octets)
            transport: Any = self.transport
            if self._endpoint.answer is not None:
                transport.write(self._endpoint.answer)
                transport.loseConnection()


class Rig:
    def __init__(self) -> None:
        self.endpoint = Endpoint()
        self.port = NET.listenTCP(0, self.endpoint, interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port.getHost().port}/introspect"
        self.log = RecordingLog()

    def asking(self, timeout: float = 10.0, client: str = "") -> Introspection:
        return Introspection(NET, self.log, self.url, client, "pass:word", timeout)

    def stop(self) -> None:
        for connection in self.endpoint.connections:
            transport: Any = connection.transport
            transport.abortConnection()
        pytest_twisted.blockon(maybeDeferred(self.port.stopListening))


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.stop()


async def problem(coroutine: Any) -> Problem:
    with pytest.raises(Refused) as caught:
        await coroutine
    return caught.value.problem


def on_the_reactor(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Any]:
    """Runs a test as a coroutine."""
    decorated: Callable[..., Any] = pytest_twisted.ensureDeferred(test)
    return decorated


@on_the_reactor
async def test_an_active_token(rig: Rig) -> None:
    rig.endpoint.say({"active": True, "username": "alice", "scope": "mail"})
    tokens = Tokens(
        OAuth(account_claim="username", scope="mail", introspection_url=rig.url), rig.asking(client="us & them")
    )
    assert await tokens.names("a+b/c==") == ("alice",)
    (request,) = rig.endpoint.requests
    assert request.startswith(b"POST /introspect HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Basic dXMlMjAlMjYlMjB0aGVtOnBhc3MlM0F3b3Jk\r\n" in request
    assert request.endswith(b"\r\n\r\ntoken=a%2Bb%2Fc%3D%3D&token_type_hint=access_token")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"active": False}, Problem.BAD_CREDENTIALS),
        ({"username": "alice"}, Problem.BAD_CREDENTIALS),
        ({"active": "true", "username": "alice"}, Problem.BAD_CREDENTIALS),
        ({"active": True, "username": "alice", "iss": "https://evil.example"}, Problem.BAD_CREDENTIALS),
        ({"active": True, "username": "alice", "aud": ["other"]}, Problem.BAD_CREDENTIALS),
        ([], Problem.LOGIN_UNAVAILABLE),
        (b"<html>", Problem.LOGIN_UNAVAILABLE),
        (b"x" * (MAX_ANSWER + 1), Problem.LOGIN_UNAVAILABLE),
    ],
    ids=["inactive", "silent", "text", "issuer", "audience", "list", "html", "long"],
)
@on_the_reactor
async def test_answers_that_are_no_login(rig: Rig, answer: object, expected: Problem) -> None:
    rig.endpoint.say(answer)
    oauth = OAuth(account_claim="username", introspection_url=rig.url, issuer="https://id.example", audience="mail")
    assert await problem(Tokens(oauth, rig.asking()).names("token-x")) is expected
    assert "token-x" not in str(rig.log.lines)


@pytest.mark.parametrize("status", ["401 Unauthorized", "500 Broken", "302 Found"])
@on_the_reactor
async def test_a_server_that_does_not_answer_well(rig: Rig, status: str) -> None:
    rig.endpoint.say({"active": True}, status)
    assert await problem(rig.asking().claims("x")) is Problem.LOGIN_UNAVAILABLE
    assert rig.log.whats("warning") == ["token not verified"]


@pytest.mark.parametrize(
    "answer",
    [None, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{", b"nonsense\r\n\r\n"],
    ids=["silent", "half", "no HTTP"],
)
@on_the_reactor
async def test_a_server_that_says_nothing_useful(rig: Rig, answer: bytes | None) -> None:
    rig.endpoint.answer = answer
    assert await problem(rig.asking(timeout=0.1).claims("x")) is Problem.LOGIN_UNAVAILABLE


@pytest.mark.parametrize(("body", "timeout"), [(b"{", 0.1), (b"x" * (MAX_ANSWER + 1), 60.0)], ids=["slow", "long"])
@on_the_reactor
async def test_a_server_that_does_not_come_to_an_end(rig: Rig, body: bytes, timeout: float) -> None:
    asked = Deferred.fromCoroutine(rig.asking(timeout).claims("x"))
    rig.endpoint.answer = None
    rig.endpoint.requests = Answering(rig.endpoint, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + body)
    began = NET.seconds()
    with pytest.raises(Refused):
        await asked
    assert NET.seconds() - began < 10


class Answering(list[bytes]):
    """Says something as soon as there is a request, and leaves the connection open."""

    def __init__(self, endpoint: Endpoint, octets: bytes) -> None:
        super().__init__()
        self._endpoint, self._octets = endpoint, octets

    def append(self, request: bytes) -> None:
        super().append(request)
        transport: Any = self._endpoint.connections[-1].transport
        transport.write(self._octets)


@on_the_reactor
async def test_nobody_there(rig: Rig) -> None:
    await rig.port.stopListening()
    assert await problem(rig.asking().claims("x")) is Problem.LOGIN_UNAVAILABLE


@on_the_reactor
async def test_questions_are_not_piled_up(rig: Rig) -> None:
    rig.endpoint.answer = None
    asking = rig.asking()
    waiting = [Deferred.fromCoroutine(asking.claims("x")) for _ in range(MAX_QUESTIONS)]
    assert await problem(asking.claims("x")) is Problem.LOGIN_UNAVAILABLE
    refused: list[object] = []
    for each in waiting:
        each.addErrback(refused.append)
        each.cancel()
    assert len(refused) == MAX_QUESTIONS
