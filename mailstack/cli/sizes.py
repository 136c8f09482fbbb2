"""Sizes on the command line."""

from __future__ import annotations

import re

import click

from mailstack.config.units import Unexpected, size

_SHORT = re.compile(r"([0-9.]+) ?([KMGT])", re.IGNORECASE)


class SizeType(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in later versions
    """Octets as 2G, "2 GiB", 500MB or a whole number; K, M and G alone are KiB, MiB and GiB."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        short = _SHORT.fullmatch(value)
        try:
            if value.isascii() and value.isdigit():
                return int(value)
            return size(f"{short[1]} {short[2].upper()}iB" if short else value)
        except Unexpected:
            self.fail(f"expected a size as 2G, 500M or a number of octets, not {value!r}", param, ctx)
