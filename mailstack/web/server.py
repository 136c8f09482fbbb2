"""HTTP/1.1 by Twisted: the only place that knows its requests. Bodies and heads are bounded, silence is too."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ServerFactory
from twisted.python.failure import Failure
from twisted.web import http

from mailstack.errors import Problem, Refused
from mailstack.ports import Log
from mailstack.web.guards import Guards
from mailstack.web.mail_api import MailApi
from mailstack.web.rows import Routes, Row
from mailstack.web.values import JSON, PROBLEM, Answer, Call, HttpProblem, encoded

IDLE = 60.0
"""Seconds without an octet of a request before the connection is closed. Who waits for mail is not idle."""
MAX_QUERY = 8 * 1024
_SAFE = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
_STATUS = {
    Problem.NO_SUCH_ACCOUNT: 404, Problem.NO_SUCH_MAILBOX: 404, Problem.NO_SUCH_MESSAGE: 404,
    Problem.BAD_MAILBOX_NAME: 400, Problem.OVER_QUOTA: 507, Problem.DISK_FULL: 507,
}  # fmt: skip


class ApiFactory(ServerFactory):
    """Serves the rows. `most` is how many octets a body may have."""

    noisy = False

    def __init__(self, api: MailApi, routes: Routes, guards: Guards, log: Log, reactor: Any, most: int) -> None:
        self.api = api
        self.routes = routes
        self.guards = guards
        self.logger = log
        self.most = most
        self._reactor = reactor

    def buildProtocol(self, addr: object) -> http.HTTPChannel:
        channel: Any = http.HTTPChannel()  # type: ignore[no-untyped-call]
        channel.factory = channel.site = self
        channel.requestFactory = ApiRequest
        channel.timeOut = IDLE
        channel.callLater = self._reactor.callLater
        made: http.HTTPChannel = channel
        return made

    def log(self, request: http.Request) -> None:
        """Twisted calls it after each request; there is no log of accesses."""


class ApiRequest(http.Request):
    """One request, and its answer."""

    _refused = False

    @property
    def _factory(self) -> ApiFactory:
        factory: ApiFactory = self.channel.factory
        return factory

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()
        if length is not None and length > self._factory.most:
            self._too_large()

    def handleContentChunk(self, data: bytes) -> None:
        if self._refused or self.content is None:
            return
        if self.content.tell() + len(data) > self._factory.most:
            self._too_large()
            return
        self.content.write(data)

    def _too_large(self) -> None:
        """It is said before the rest comes, which nobody waits for."""
        self._refused = True
        body = encoded(HttpProblem(413, "too-large", f"a body has at most {self._factory.most} octets").document())
        head = f"HTTP/1.1 413 Content Too Large\r\nContent-Type: {PROBLEM}\r\nContent-Length: {len(body)}"
        transport = self.channel.transport
        assert transport is not None
        transport.write(f"{head}\r\nConnection: close\r\n\r\n".encode() + body)
        self.channel.loseConnection()  # type: ignore[no-untyped-call]

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self._refused:
            return
        self.method, self.uri, self.clientproto = command, path, version
        self.process()

    def process(self) -> None:
        try:
            row, call = self._call()
        except HttpProblem as problem:
            self._say_problem(problem)
            return
        waiting: Deferred[Any] = Deferred.fromCoroutine(row.run(self._factory.api, call))
        if not waiting.called:
            self.notifyFinish().addErrback(lambda _: [tell() for tell in call.gone])
        waiting.addCallbacks(self._say, self._failed)

    def _call(self) -> tuple[Row, Call]:
        """Raises: HttpProblem."""
        host = self._field("host")
        if self._count("host") != 1:
            raise HttpProblem(400, "bad-request", "expected one Host field")
        self._factory.guards.check(
            host, self._field("origin") if self._count("origin") else None,
            self._field("sec-fetch-site") if self._count("sec-fetch-site") else None, self._field("authorization"),
        )  # fmt: skip
        path, _, query = self.uri.decode("latin-1").partition("?")
        method = self.method.decode("latin-1")
        row, values = self._factory.routes.find(method, path)
        assert self.content is not None
        body = self.content.getvalue()
        return row, Call(method, values, _query(row, query), body, self._field("content-type"), host)

    def _field(self, name: str) -> str:
        found = self.requestHeaders.getRawHeaders(name)
        return found[0] if found else ""

    def _count(self, name: str) -> int:
        return len(self.requestHeaders.getRawHeaders(name) or ())

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, HttpProblem):
            self._say_problem(error)
        elif isinstance(error, Refused):
            status = _STATUS.get(error.problem, 503)
            kind = error.problem.value.lower().replace("_", "-").replace(" ", "-")
            self._say_problem(HttpProblem(status, kind, error.detail or kind))
        else:
            try:
                failure.raiseException()
            except BaseException:
                self._factory.logger.failure("request failed", path=self.uri[:200].decode("latin-1"))
            self._say_problem(HttpProblem(500, "server-bug", "this is a bug; the log has it"))

    def _say_problem(self, problem: HttpProblem) -> None:
        self._say(Answer(encoded(problem.document()), PROBLEM, problem.status, problem.headers))

    def _say(self, answer: Answer) -> None:
        if self._disconnected:
            return
        self.setResponseCode(answer.status)
        headers = self.responseHeaders
        kind = answer.content_type
        headers.setRawHeaders(b"content-type", [kind.encode("ascii", "replace")])
        headers.setRawHeaders(b"content-length", [b"%d" % len(answer.content)])
        for name, value in _SAFE:
            headers.setRawHeaders(name, [value])
        for key, text in answer.headers.items():
            headers.setRawHeaders(key.encode(), [text.encode("ascii", "replace")])
        if kind in (JSON, PROBLEM):
            headers.setRawHeaders(b"content-security-policy", [b"default-src 'none'; frame-ancestors 'none'"])
        self.write(answer.content)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]


def _query(row: Row, text: str) -> dict[str, str]:
    """Raises: HttpProblem."""
    if not text:
        return {}
    if len(text) > MAX_QUERY:
        raise HttpProblem(414, "query-too-long", f"a query has at most {MAX_QUERY} octets")
    known = [parameter.name for parameter in row.query]
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise HttpProblem(400, "bad-parameter", "too many parameters") from None
    for name, value in pairs:
        if name not in known:
            expected = ", ".join(known) if known else "no parameters"
            raise HttpProblem(400, "unknown-parameter", f"{name!r} is not known here; expected {expected}")
        if name in found:
            raise HttpProblem(400, "bad-parameter", f"{name}: given twice")
        found[name] = value
    for parameter in row.query:
        choice = parameter.schema.get("enum")
        if choice and found.get(parameter.name, choice[0]) not in choice:
            raise HttpProblem(400, "bad-parameter", f"{parameter.name}: expected one of {', '.join(choice)}")
    return found
