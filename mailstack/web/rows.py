"""The table of resources: what there is, how it is called, and what it answers. Requests and the OpenAPI document are
both made from it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from mailstack.web.values import Answer, Call, HttpProblem

if TYPE_CHECKING:
    from mailstack.web.mail_api import MailApi

Schema = Mapping[str, Any]
"""JSON Schema (2020-12), in which "$ref" names one of `schemas.SCHEMAS`."""
Run = Callable[["MailApi", Call], Coroutine[Any, Any, Answer]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One of the query or of the path."""

    name: str
    about: str
    schema: Schema


@dataclass(frozen=True, slots=True)
class Body:
    """What may be sent: media types, and the schema of JSON."""

    media: Mapping[str, Schema]
    required: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that can be done. `answers` maps a media type to the schema of what comes; `problems` are the
    statuses that may come instead, beside those of every row."""

    method: str
    path: str
    run: Run
    about: str
    answers: Mapping[str, Schema]
    status: int = 200
    query: tuple[Parameter, ...] = ()
    body: Body | None = None
    problems: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    """What the path's placeholders are, in words."""


class Routes:
    """Finds the row of a request."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._exact: dict[str, dict[str, Row]] = {}
        self._patterns: list[tuple[list[str], dict[str, Row]]] = []
        by_path: dict[str, dict[str, Row]] = {}
        for row in rows:
            by_path.setdefault(row.path, {})[row.method] = row
        for path, methods in by_path.items():
            if "{" in path:
                self._patterns.append((path.split("/"), methods))
            else:
                self._exact[path] = methods

    def find(self, method: str, path: str) -> tuple[Row, dict[str, str]]:
        """The row, and what its placeholders stand for. Raises: HttpProblem."""
        methods, values = self._exact.get(path), dict[str, str]()
        if methods is None:
            methods, values = self._matching(path)
        row = methods.get("GET" if method == "HEAD" else method)
        if row is None:
            allowed = [*methods, "HEAD"] if "GET" in methods else list(methods)
            problem = HttpProblem(405, "method-not-allowed", f"{path} knows {', '.join(sorted(allowed))}")
            problem.headers["Allow"] = ", ".join(sorted(allowed))
            raise problem
        return row, values

    def _matching(self, path: str) -> tuple[dict[str, Row], dict[str, str]]:
        parts = path.split("/")
        for pattern, methods in self._patterns:
            if len(pattern) == len(parts):
                pairs = list(zip(pattern, parts, strict=True))
                if all(want == got or (want[:1] == "{" and got) for want, got in pairs):
                    return methods, {want[1:-1]: unquote(got) for want, got in pairs if want[:1] == "{"}
        raise HttpProblem(404, "no-such-resource", f"there is no {path}; /api/v1/openapi.json says what there is")
