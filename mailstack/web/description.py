"""The OpenAPI document, made from the rows that also serve the requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import mailstack
from mailstack.web.rows import Parameter, Row
from mailstack.web.schemas import SCHEMAS, ref
from mailstack.web.values import PROBLEM

EVERYWHERE = {
    "401": "the token is missing or wrong, where one is needed",
    "403": "the Host or Origin of the request may not use this server",
}
_PLACE = re.compile(r"\{(\w+)\}")


def description(rows: Sequence[Row]) -> dict[str, Any]:
    """OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mailstack's development mode",
            "version": mailstack.__version__,
            "description": "Mail that a program under test has sent or is to get. Errors are problems as of RFC 9457.",
        },
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(row: Row) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(row.status): {
            "description": "done",
            "content": {media: {"schema": schema} for media, schema in row.answers.items()},
        }
    }
    for status in sorted({*map(str, row.problems), *EVERYWHERE}):
        responses[status] = {
            "description": EVERYWHERE.get(status, "a problem"),
            "content": {PROBLEM: {"schema": ref("Problem")}},
        }
    operation: dict[str, Any] = {
        "operationId": row.run.__name__,
        "summary": row.about,
        "parameters": [*_of_path(row), *(_parameter(each) for each in row.query)],
        "responses": responses,
    }
    if row.body is not None:
        content = {media: {"schema": schema} for media, schema in row.body.media.items()}
        operation["requestBody"] = {"required": row.body.required, "content": content}
    return operation


def _of_path(row: Row) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "description": about, "schema": {"type": "string"}}
        for name, about in zip(_PLACE.findall(row.path), row.names, strict=True)
    ]


def _parameter(each: Parameter) -> dict[str, Any]:
    return {"name": each.name, "in": "query", "description": each.about, "schema": dict(each.schema)}
