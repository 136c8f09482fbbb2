"""What goes between the HTTP server and the resources: calls, answers, problems."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

JSON = "application/json"
PROBLEM = "application/problem+json"


class HttpProblem(Exception):
    """An answer that is not what was asked for (RFC 9457). `kind` is a word for programs, the end of the problem's
    `type`; `more` are further members."""

    def __init__(self, status: int, kind: str, detail: str, **more: object) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.more = more
        self.headers: dict[str, str] = {}

    def document(self) -> dict[str, object]:
        """RFC 9457 §3.1."""
        return {
            "type": f"urn:mailstack:problem:{self.kind}",
            "title": self.kind.replace("-", " "),
            "status": self.status,
            "detail": self.detail,
            **self.more,
        }


@dataclass(slots=True)
class Call:
    """One request. `path` has the values of the path's placeholders, `query` one value for each name that the row
    knows, `host` what the client called us."""

    method: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    content_type: str
    host: str
    gone: list[Callable[[], None]] = field(default_factory=list)
    """Called when the client is not there any more, before it is answered."""

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises: HttpProblem."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise HttpProblem(400, "bad-json", f"the body is no JSON: {error}") from None
        if not isinstance(document, dict):
            raise HttpProblem(400, "bad-json", "the body has to be a JSON object")
        return document


@dataclass(slots=True)
class Answer:
    """What is said to it."""

    content: bytes
    content_type: str = JSON
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def answer(document: object, status: int = 200) -> Answer:
    """A JSON document. What no UTF-8 can say, as half a surrogate pair, is a question mark."""
    return Answer(encoded(document), status=status)


def encoded(document: object) -> bytes:
    """A line of JSON."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
