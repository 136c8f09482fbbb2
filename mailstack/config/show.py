"""Config → TOML: what a configuration comes to, with every default. Nothing in it is secret:
passwords live in the accounts database, as hashes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from mailstack.config.sections import Config
from mailstack.config.units import duration_text, size_text


def show(config: Config) -> str:
    """The whole file. Reading it gives an equal Config."""
    return "\n".join(_table(config, "", "")).strip("\n") + "\n"


def scalar(value: object) -> str:
    """One value in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(int(value)) if value == int(value) else repr(value)
    if isinstance(value, Enum):
        return scalar(value.value)
    if isinstance(value, tuple):
        return "[" + ", ".join(scalar(item) for item in value) + "]"
    # a JSON string is a basic string of TOML but for DEL
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def text_of(section: type[Any], key: str, value: object) -> str:
    """One value in TOML, with the unit that its key has."""
    hint = get_type_hints(section, include_extras=True)[key]
    if get_origin(hint) is Annotated and isinstance(value, int | float):
        return scalar(size_text(int(value)) if get_args(hint)[1] == "size" else duration_text(value))
    return scalar(value)


def _table(section: Any, name: str, header: str) -> Iterator[str]:
    if header:
        yield from ("", header)
    inner: list[str] = []
    for field in fields(section):
        value = getattr(section, field.name)
        path = f"{name}.{field.name}" if name else field.name
        if is_dataclass(value):
            inner.extend(_table(value, path, f"[{path}]"))
        elif isinstance(value, tuple) and value and is_dataclass(value[0]):
            for item in value:
                inner.extend(_table(item, path, f"[[{path}]]"))
        elif value is None:
            yield f"# {field.name} is not set"
        else:
            yield f"{field.name} = {text_of(type(section), field.name, value)}"
    yield from inner
