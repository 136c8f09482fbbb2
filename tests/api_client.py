"""A client of the development mode's HTTP API that holds every answer against the OpenAPI document."""

from __future__ import annotations

import http.client
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from jsonschema import Draft202012Validator, FormatChecker


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class ApiClient:
    """One connection. Raises AssertionError for an answer that is not as described."""

    def __init__(self, host: str, port: int) -> None:
        self.connection = http.client.HTTPConnection(host, port, timeout=20)
        self.document: dict[str, Any] = {}
        self.document = self.ask("GET", "/api/v1/openapi.json").json
        self.patterns = [
            (re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))), path) for path in self.document["paths"]
        ]

    def ask(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
        **query: object,
    ) -> Reply:
        url = f"{path}?{urlencode({name.rstrip('_'): str(value) for name, value in query.items()})}" if query else path
        self.connection.request(method, url, content, headers or {})
        answer = self.connection.getresponse()
        reply = Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        if self.document and method != "HEAD":
            self.check(method, path, reply)
        return reply

    def check(self, method: str, path: str, reply: Reply) -> None:
        """That the document says that this may be answered, and that it looks so."""
        kind = reply.headers["content-type"].partition(";")[0]
        found = [name for pattern, name in self.patterns if pattern.fullmatch(path)]
        operation = self.document["paths"][found[0]].get(method.lower()) if found else None
        if operation is None:
            assert reply.status in (403, 404, 405)
            self.valid(reply.json, {"$ref": "#/components/schemas/Problem"})
            return
        content = operation["responses"][str(reply.status)]["content"]
        schema = content.get(kind) or content["*/*"]
        if kind.endswith("json"):
            self.valid(reply.json, schema["schema"])

    def valid(self, value: object, schema: dict[str, Any]) -> None:
        whole = {**schema, "components": self.document["components"]}
        Draft202012Validator(whole, format_checker=FormatChecker()).validate(value)

    def get(self, path: str, **query: object) -> Any:
        """JSON of a 200."""
        reply = self.ask("GET", f"/api/v1/{path}", **query)
        assert reply.status == 200, reply.content
        return reply.json

    def post(self, path: str, document: object = None, status: int = 201) -> Any:
        body = b"" if document is None else json.dumps(document).encode()
        reply = self.ask("POST", f"/api/v1/{path}", body, {"Content-Type": "application/json"})
        assert reply.status == status, reply.content
        return reply.json

    def delete(self, path: str, **query: object) -> Any:
        reply = self.ask("DELETE", f"/api/v1/{path}", **query)
        assert reply.status == 200, reply.content
        return reply.json

    def problem(self, method: str, path: str, status: int, kind: str, **more: Any) -> Any:
        """A problem of this kind."""
        reply = self.ask(method, path, **more)
        assert reply.status == status, reply.content
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json["type"] == f"urn:mailstack:problem:{kind}"
        return reply

    def close(self) -> None:
        self.connection.close()
