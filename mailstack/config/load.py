"""TOML → Config. Every error of the file is reported, each with file, table, key and what was expected."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from cattrs import (
    AttributeValidationNote,
    ClassValidationError,
    Converter,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, override

from mailstack.config.combinations import Mistake, mistakes
from mailstack.config.sections import USUAL_PORTS, Config, Listener, Network, ServiceName, usual_tls
from mailstack.config.units import Unexpected, duration, shown, size

MAX_FILE = 1024 * 1024
"""Octets of a configuration file; a longer one is some other file."""


class ConfigError(Exception):
    """The configuration cannot be used. `mistakes` has one entry an error, in the file's order."""

    def __init__(self, path: Path, found: tuple[Mistake, ...]) -> None:
        super().__init__("\n".join(f"{path}: {mistake}" for mistake in found))
        self.path = path
        self.mistakes = found


def load(path: Path) -> Config:
    """Read a configuration file. Relative paths in it start at its own directory.
    Raises: ConfigError."""
    try:
        with open(path, "rb") as file:
            octets = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        hint = 'there is no such file; "mailstack quickstart ADDRESS" writes one'
        raise ConfigError(path, (Mistake("", hint),)) from None
    except OSError as error:
        raise ConfigError(path, (Mistake("", error.strerror or str(error)),)) from error
    if len(octets) > MAX_FILE:
        raise ConfigError(path, (Mistake("", "too large for a configuration"),))
    return parse(octets, path)


def parse(octets: bytes, path: Path) -> Config:
    """The same, of octets; `path` is named in errors. Raises: ConfigError."""
    try:
        document = tomllib.loads(octets.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(path, (Mistake("", f"not UTF-8 at octet {error.start}"),)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, (Mistake("", f"not TOML: {error}"),)) from None
    converter = _converter(path.absolute().parent)
    try:
        config = converter.structure(document, Config)
    except ClassValidationError as error:
        raise ConfigError(path, tuple(_found(error, (), document))) from None
    found = mistakes(config)
    if found:
        raise ConfigError(path, found)
    return config


def _converter(directory: Path) -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    for kind, words in ((str, "text in quotes"), (int, "a whole number"), (bool, "true or false")):
        converter.register_structure_hook(kind, partial(_exactly, kind, words))
    converter.register_structure_hook(float, lambda value, _: _number(value))
    converter.register_structure_hook(Path, lambda value, _: _path(directory, value))
    converter.register_structure_hook(Network, lambda value, _: _network(value))
    converter.register_structure_hook_func(lambda kind: isinstance(kind, type) and issubclass(kind, Enum), _one_of)
    converter.register_structure_hook_func(_is_tuple, lambda value, kind: _several(converter, value, kind))
    converter.register_structure_hook_factory(is_dataclass, partial(_section, converter))
    return converter


def _section(converter: Converter, section: type[Any]) -> Any:
    """The hook of a section: its annotated fields are read by their units."""
    units = {"size": size, "duration": duration}
    hints = get_type_hints(section, include_extras=True)
    overrides = {
        name: override(struct_hook=partial(_unit, units[get_args(hint)[1]]))
        for name, hint in hints.items()
        if get_origin(hint) is Annotated
    }
    structure = make_dict_structure_fn(
        section,
        converter,
        _cattrs_forbid_extra_keys=True,
        _cattrs_detailed_validation=True,
        **overrides,  # type: ignore[arg-type]  # its keywords are the fields' names
    )

    def hook(value: object, kind: type[Any]) -> Any:
        if not isinstance(value, dict):
            raise Unexpected(f"expected a table, not {shown(value)}")
        return structure(_with_usual(value) if section is Listener else value, kind)

    return hook


def _with_usual(listener: dict[str, Any]) -> dict[str, Any]:
    """A listener's table with port and TLS as its service usually has them."""
    try:
        service = ServiceName(listener.get("service"))
    except ValueError:  # reported where the key is read; any port and mode do until then
        service = ServiceName.SMTP
    return {"port": USUAL_PORTS[service], "tls": usual_tls(service).value, **listener}


def _is_tuple(kind: Any) -> bool:
    origin: object = get_origin(kind)
    return origin is tuple


def _exactly(kind: type[Any], words: str, value: object, _: object) -> Any:
    if type(value) is not kind:
        raise Unexpected(f"expected {words}, not {shown(value)}")
    return value


def _number(value: object) -> float:
    if type(value) not in (int, float):
        raise Unexpected(f"expected a number, not {shown(value)}")
    return float(value)  # type: ignore[arg-type]  # it is one of both


def _unit(read: Any, value: object, _: object) -> Any:
    return read(value)


def _path(directory: Path, value: object) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise Unexpected(f"expected the path of a file or directory, not {shown(value)}")
    return directory / value


def _network(value: object) -> Network:
    try:
        if not isinstance(value, str):
            raise ValueError
        return ip_network(value)
    except ValueError:
        raise Unexpected(f'expected a network as "10.0.0.0/8" or "::1", not {shown(value)}') from None


def _one_of(value: object, kind: type[Enum]) -> Enum:
    for member in kind:
        if member.value == value:
            return member
    words = ", ".join(f'"{member.value}"' for member in kind)
    raise Unexpected(f"expected one of {words}, not {shown(value)}")


def _several(converter: Converter, value: object, kind: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise Unexpected(f"expected a list, not {shown(value)}")
    element = get_args(kind)[0]
    results, errors = [], []
    for index, item in enumerate(value):
        try:
            results.append(converter.structure(item, element))
        except (Unexpected, ClassValidationError) as error:
            error.add_note(IterableValidationNote("", index, element))
            errors.append(error)
    if errors:
        raise IterableValidationError("", errors, kind)
    return tuple(results)


def _found(error: BaseException, place: tuple[str | int, ...], document: object) -> list[Mistake]:
    """The leaves of cattrs' tree of errors, as Mistakes."""
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            place = (*place, note.name)
        elif isinstance(note, IterableValidationNote) and isinstance(note.index, int):
            place = (*place, note.index)
    if isinstance(error, ClassValidationError | IterableValidationError):
        return [mistake for inner in error.exceptions for mistake in _found(inner, place, document)]
    if isinstance(error, ForbiddenExtraKeysError):
        return [Mistake(_named((*place, key)), _unknown(key, error.cl)) for key in sorted(error.extra_fields)]
    if isinstance(error, KeyError):
        return [Mistake(_named(place), "missing; it has no default")]
    return [Mistake(_named(place), str(error))]


def _unknown(key: str, section: type[Any]) -> str:
    known = [field.name for field in fields(section)]
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        return f"unknown key; did you mean {close[0]}?"
    return f"unknown key; known are {', '.join(known)}"


def _named(place: tuple[str | int, ...]) -> str:
    """ "[limits] connections", "[[listeners]] number 2, port", or "hostname"."""
    if len(place) == 1:
        return str(place[0])
    keys: list[str] = []
    number = ""
    for step in place[:-1] if isinstance(place[-1], str) else place:
        if isinstance(step, int):
            number = f"number {step + 1}"
        else:
            keys.append(step)
    last = str(place[-1]) if isinstance(place[-1], str) else ""
    table = ".".join(keys)
    if not number:
        return f"[{table}] {last}"
    return ", ".join(part for part in (f"[[{table}]] {number}", last) if part)


def required(section: type[Any]) -> frozenset[str]:
    """Keys of a section that have no default."""
    return frozenset(
        field.name for field in fields(section) if field.default is MISSING and field.default_factory is MISSING
    )
