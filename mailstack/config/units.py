"""Values as people write them in a configuration: sizes and durations. Pure."""

from __future__ import annotations

import re

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+)")
SIZES = {
    "B": 1,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
}
"""IEC 80000-13: KiB is 1024 octets, kB is 1000."""
DURATIONS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class Unexpected(ValueError):
    """A value is not what its key takes; the text says what would be."""


def size(value: object) -> int:
    """Octets of a whole number or of text as "50 MiB". Raises: Unexpected."""
    expected = 'a size as "50 MiB", or a whole number of octets'
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] not in SIZES:
        raise Unexpected(f"expected {expected}, not {shown(value)}")
    return int(float(match[1]) * SIZES[match[2]])


def duration(value: object) -> float:
    """Seconds of a number or of text as "10 min". Raises: Unexpected."""
    expected = 'a duration as "30 s" or "10 min", or a number of seconds'
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] not in DURATIONS:
        raise Unexpected(f"expected {expected}, not {shown(value)}")
    return float(match[1]) * DURATIONS[match[2]]


def size_text(octets: int) -> str | int:
    """The shortest exact way to write a size."""
    for unit in ("GiB", "MiB", "KiB"):
        if octets and octets % SIZES[unit] == 0:
            return f"{octets // SIZES[unit]} {unit}"
    return octets


def about(octets: int) -> str:
    """A size for people, as "1.2 GiB"."""
    for unit in ("GiB", "MiB", "KiB"):
        if octets >= SIZES[unit]:
            return f"{octets / SIZES[unit]:.1f} {unit}".replace(".0 ", " ")
    return f"{octets} octets"


def duration_text(seconds: float) -> str | float:
    """The shortest exact way to write a duration."""
    for unit in ("d", "h", "min", "s"):
        if seconds and seconds % DURATIONS[unit] == 0:
            return f"{int(seconds // DURATIONS[unit])} {unit}"
    return seconds


def shown(value: object) -> str:
    """A value of the file in a message about it, cut if long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value[:60]}"'
    if isinstance(value, dict):
        return "a table"
    return "a list" if isinstance(value, list) else str(value)[:60]
