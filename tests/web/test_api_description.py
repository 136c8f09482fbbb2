"""The OpenAPI document is well formed."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

from mailstack.web.api import RESOURCES
from mailstack.web.description import description

DOCUMENT = description(RESOURCES)


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*(references(each) for each in value.values()))
    return set().union(*(references(each) for each in value)) if isinstance(value, list) else set()


def test_its_schemas_are_schemas_and_its_references_lead_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    assert references(json.loads(json.dumps(DOCUMENT))) == {f"#/components/schemas/{name}" for name in schemas}


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for path in DOCUMENT["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names)) == len(RESOURCES)
