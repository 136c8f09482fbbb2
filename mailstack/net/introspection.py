"""Asking the authorization server whether a token is good (RFC 7662), without holding up anybody else."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from mailstack.errors import Problem, Refused
from mailstack.ports import Log

MAX_ANSWER = 64 * 1024
"""Octets of an answer."""
MAX_QUESTIONS = 64
"""Questions under way at once; who comes then is told to try again."""
_UNREACHABLE = (
    ConnectError, ConnectionDone, ConnectionLost, DNSLookupError, ResponseFailed, CancelledError, TimedOut,
)  # fmt: skip


class Introspection:
    """One endpoint. `secret` is our password there, for HTTP's Basic with `client`."""

    def __init__(self, reactor: Any, log: Log, url: str, client: str, secret: str, timeout: float) -> None:
        self._reactor = reactor
        self._log = log
        self._url = url.encode("ascii")
        self._timeout = timeout
        agent: Any = Agent  # Twisted's web client has no annotations
        self._agent = agent(reactor, connectTimeout=timeout)
        self._under_way = 0
        self._headers = Headers({
            b"Content-Type": [b"application/x-www-form-urlencoded"],
            b"Accept": [b"application/json"],
            b"User-Agent": [b"mailstack"],
        })  # fmt: skip
        if client:
            # RFC 6749 §2.3.1: both are form-encoded before they are joined
            pair = f"{quote(client, safe='')}:{quote(secret, safe='')}"
            self._headers.addRawHeader(b"Authorization", b"Basic " + base64.b64encode(pair.encode()))

    async def claims(self, token: str) -> Mapping[str, Any]:
        """What is known of a token that is active. Raises: Refused(BAD_CREDENTIALS | LOGIN_UNAVAILABLE)."""
        if self._under_way >= MAX_QUESTIONS:
            raise Refused(Problem.LOGIN_UNAVAILABLE, "too many questions to the authorization server under way")
        self._under_way += 1
        try:
            answer = await Deferred.fromCoroutine(self._ask(token)).addTimeout(self._timeout, self._reactor)
        except _UNREACHABLE as error:
            reason = str(error) or type(error).__name__
            self._log.warning("token not verified", reason=reason)
            raise Refused(Problem.LOGIN_UNAVAILABLE, f"introspection: {reason}") from error
        finally:
            self._under_way -= 1
        # RFC 7662 §2.2: what is not active, for whatever reason, has only this member
        if answer.get("active") is not True:
            raise Refused(Problem.BAD_CREDENTIALS, "token: not active")
        return answer

    async def _ask(self, token: str) -> Mapping[str, Any]:
        body = urlencode({"token": token, "token_type_hint": "access_token"}).encode()
        response = await self._agent.request(b"POST", self._url, self._headers, _Form(body))
        gathering = _Limited()
        response.deliverBody(gathering)
        text = await gathering.done
        if response.code != 200:
            raise self._unusable(f"status {response.code}")
        try:
            document = json.loads(text)
        except ValueError:
            raise self._unusable("no JSON") from None
        if not isinstance(document, dict):
            raise self._unusable("no JSON object")
        return document

    def _unusable(self, reason: str) -> Refused:
        self._log.warning("token not verified", reason=f"introspection: {reason}")
        return Refused(Problem.LOGIN_UNAVAILABLE, f"introspection: {reason}")


@implementer(IBodyProducer)
class _Form:
    """A body of some octets."""

    def __init__(self, octets: bytes) -> None:
        self.length = len(octets)
        self._octets = octets

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._octets)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass


class _Limited(Protocol):
    """Gathers a body up to MAX_ANSWER octets."""

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._end())
        self._pieces: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= MAX_ANSWER:
            self._pieces.append(data)
        else:
            self._pieces.clear()
            self._end()

    def _end(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        if self.done.called:
            return
        if reason is not None and not isinstance(reason.value, ResponseDone):
            self.done.errback(reason)
        elif self._size > MAX_ANSWER:
            self.done.errback(ConnectionLost("the answer is too long"))
        else:
            self.done.callback(b"".join(self._pieces))
