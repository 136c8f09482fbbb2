"""Addresses on the command line: what an account or an alias may be called."""

from __future__ import annotations

import re
from unicodedata import normalize

import click

MAX_LOCAL_PART = 64
"""Octets (RFC 5321 §4.5.3.1.1)."""
MAX_DOMAIN = 255
"""Octets (RFC 5321 §4.5.3.1.2)."""
# Dot-string of RFC 5321 §4.1.2 with UTF8-non-ascii of RFC 6531 §3.3, without "/", which no directory may have
_ATOM = r"(?:[A-Za-z0-9!#$%&'*+=?^_`{|}~-]|[^\x00-\xa0\ud800-\udfff])+"
_LOCAL_PART = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL = r"(?!-)(?:[A-Za-z0-9-]|[^\x00-\xa0\ud800-\udfff])+(?<!-)"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


class AddressType(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in later versions
    """An address as alice@example.org, in lower case; `catch_all` allows @example.org too."""

    name = "address"

    def __init__(self, *, catch_all: bool = False) -> None:
        self._catch_all = catch_all

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        local, at, domain = normalize("NFC", value.lower()).rpartition("@")
        example = "alice@example.org" + (" or @example.org" if self._catch_all else "")
        if not at or not _DOMAIN.fullmatch(domain) or len(domain.encode()) > MAX_DOMAIN:
            self.fail(f"expected an address as {example}, not {value!r}", param, ctx)
        if not local and self._catch_all:
            return f"@{domain}"
        if not _LOCAL_PART.fullmatch(local):
            self.fail(
                f"expected an address as {example}, without quotes, blanks and slashes, not {value!r}", param, ctx
            )
        if len(local.encode()) > MAX_LOCAL_PART:
            self.fail(
                f"what stands before the @ may have {MAX_LOCAL_PART} octets, not {len(local.encode())}", param, ctx
            )
        return f"{local}@{domain}"


class DomainType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A domain as example.org, in lower case."""

    name = "domain"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _DOMAIN.fullmatch(value) or len(value.encode()) > MAX_DOMAIN:
            self.fail(f"expected a domain as example.org, not {value!r}", param, ctx)
        return value.lower()


def domain_of(address: str) -> str:
    """What stands behind the last @."""
    return address.rpartition("@")[2]
