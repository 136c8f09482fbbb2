"""The HTTP API of a development server, asked over connections that are kept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote, urlencode

from mailstack.testing.live.failures import MailServerError

ROOT = "/api/v1"
ANSWER_TIME = 30.0
"""Seconds that the server has to answer, beside the time for which it was asked to wait."""
IDLE_CONNECTIONS = 8


class ApiProblem(Exception):
    """The server said no (RFC 9457)."""

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        super().__init__(f"{status}: {document.get('detail', document)}")
        self.status = status
        self.document = document


class Control:
    """Thread-safe; in a forked child it makes connections of its own. `explain` says why the server does not answer."""

    def __init__(self, host: str, port: int, explain: Callable[[], str]) -> None:
        self._host = host
        self._port = port
        self._explain = explain
        self._idle: list[HTTPConnection] = []
        self._process = os.getpid()

    def ask(
        self, method: str, path: str, query: Mapping[str, object] | None = None, *, waiting: float = 0.0
    ) -> dict[str, Any]:
        """The JSON that is answered. Raises: ApiProblem, MailServerError."""
        status, body = self._exchange(method, _target(path, query), waiting)
        document = json.loads(body)
        if status >= 400:
            raise ApiProblem(status, document)
        return dict(document)

    def octets(self, path: str) -> bytes:
        """What is there. Raises: ApiProblem, MailServerError."""
        status, body = self._exchange("GET", path, 0.0)
        if status >= 400:
            raise ApiProblem(status, json.loads(body))
        return body

    def close(self) -> None:
        """Idempotent."""
        while self._idle:
            self._idle.pop().close()

    def _exchange(self, method: str, target: str, waiting: float) -> tuple[int, bytes]:
        if os.getpid() != self._process:  # the parent goes on to use what was open
            self.close()
            self._process = os.getpid()
        while self._idle:
            try:
                return self._over(self._idle.pop(), method, target, waiting)
            except (HTTPException, ConnectionError):
                continue  # the server had closed it, as it does when nothing is asked for a while
        connection = HTTPConnection(self._host, self._port)
        try:
            return self._over(connection, method, target, waiting)
        except (HTTPException, OSError) as error:
            raise MailServerError(f"the mail server does not answer: {error}{self._explain()}") from error

    def _over(self, connection: HTTPConnection, method: str, target: str, waiting: float) -> tuple[int, bytes]:
        """The connection is kept only if all went well: after an interrupt nobody knows what comes on it."""
        done = False
        try:
            connection.timeout = ANSWER_TIME + waiting
            if connection.sock is not None:
                connection.sock.settimeout(connection.timeout)
            connection.request(method, target)
            response = connection.getresponse()
            answer = response.status, response.read()
            done = not response.will_close and len(self._idle) < IDLE_CONNECTIONS
        finally:
            if done:
                self._idle.append(connection)
            else:
                connection.close()
        return answer


def _target(path: str, query: Mapping[str, object] | None) -> str:
    if not query:
        return path
    return f"{path}?{urlencode(query, quote_via=quote)}"
