"""/.well-known/acme-challenge/TOKEN: what shows an authority that a host is ours (RFC 8555 §8.3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from mailstack.ports import Log
from mailstack.web.site import not_found

PREFIX = b"/.well-known/acme-challenge/"
Find = Callable[[str], Awaitable[bytes | None]]
"""The key authorization of a token; None: there is none."""


class AcmeChallenge(Resource):
    """The proofs of orders under way."""

    isLeaf = True

    def __init__(self, find: Find, log: Log) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._find = find
        self._log = log

    def render_GET(self, request: Request) -> Any:
        gone = request.notifyFinish()
        answering = Deferred.fromCoroutine(self._answer(request))
        answering.addErrback(self._failed, request)
        gone.addErrback(lambda _: answering.cancel())  # the client has gone away
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        token = request.path.removeprefix(PREFIX).decode("ascii", "replace")
        found = await self._find(token)
        self._log.event("authority asked", token=token[:60], found=found is not None)
        if found is None:
            request.write(not_found(request))  # type: ignore[no-untyped-call]
        else:
            request.setHeader(b"content-type", b"application/octet-stream")  # type: ignore[no-untyped-call]
            request.write(found)  # type: ignore[no-untyped-call]
        request.finish()  # type: ignore[no-untyped-call]

    def _failed(self, failure: Failure, request: Request) -> None:
        channel: Any = request.channel
        if channel is None:
            return
        try:
            failure.raiseException()
        except Exception:
            self._log.failure("request failed", path=request.path.decode("ascii", "replace")[:100])
        channel.loseConnection()
