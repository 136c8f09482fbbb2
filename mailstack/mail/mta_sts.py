"""MTA-STS in text: the TXT record and the policy (RFC 8461 §3.1, §3.2), read and written. Pure.

What is written may be more than we know: unknown fields are skipped. What is against the grammar is no policy."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from mailstack.mail.address import ascii_domain

MAX_AGE = 31_557_600
"""Seconds, about a year: more is this (RFC 8461 §3.2)."""
MAX_PATTERNS = 200
"""Patterns of hosts that a policy may have; one domain has ten servers, or perhaps fifty."""
POLICY_PATH = "/.well-known/mta-sts.txt"
_VERSION = b"v=STSv1"
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}"
_RECORD_FIELD = re.compile(rf"({_NAME})=([!-:<>-~]+)")
_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_POLICY_FIELD = re.compile(rf"({_NAME}):[ \t]*([!-~\u0080-\U0010ffff](?:[ !-~\u0080-\U0010ffff]*)?)")
_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
_PATTERN = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")


class BadPolicy(ValueError):
    """Not a policy; the message says why, in one line."""


class StsMode(Enum):
    """What becomes of a host that does not comply with the policy (RFC 8461 §5)."""

    ENFORCE = "enforce"
    """It gets no mail."""
    TESTING = "testing"
    """It is in the report."""
    NONE = "none"
    """There is no policy any more."""


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """`max_age` in seconds; `patterns` are host names in lower case, some beginning with "*."."""

    mode: StsMode
    max_age: int
    patterns: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """As reports quote it (RFC 8460 §4.4)."""
        hosts = (f"mx: {pattern}" for pattern in self.patterns)
        return ("version: STSv1", f"mode: {self.mode.value}", *hosts, f"max_age: {self.max_age}")

    @property
    def text(self) -> str:
        """As it is published."""
        return "".join(f"{line}\r\n" for line in self.lines)

    @property
    def id(self) -> str:
        """For the TXT record: another one for each other policy."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:20]


def record_id(records: Iterable[bytes]) -> str:
    """The id of the one valid record, "" where there is none, or not one (RFC 8461 §3.1)."""
    ours = [record for record in records if re.match(_VERSION + rb"[ \t]*;", record)]
    if len(ours) != 1 or not ours[0].isascii():
        return ""
    _, *fields = ours[0].decode("ascii").split(";")
    found = ""
    if not fields[-1].strip(" \t"):
        fields.pop()
    for field in fields:
        match = _RECORD_FIELD.fullmatch(field.strip(" \t"))
        if match is None:
            return ""
        if match[1] == "id":
            if found or not _ID.fullmatch(match[2]):
                return ""
            found = match[2]
    return found


def parse_policy(octets: bytes) -> StsPolicy:
    """Raises: BadPolicy."""
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise BadPolicy("expected text in UTF-8") from None
    values: dict[str, str] = {}
    patterns: dict[str, None] = {}
    lines = text.rstrip("\r\n \t").split("\n")  # empty lines at its end, which many have, do no harm
    for number, line in enumerate(lines, 1):
        match = _POLICY_FIELD.fullmatch(line.removesuffix("\r").rstrip(" \t"))
        if match is None:
            raise BadPolicy(f'line {number}: expected a field as "mode: enforce"')
        key, value = match[1], match[2]
        if key == "mx":
            patterns[_pattern(value, number)] = None
        else:
            values.setdefault(key, value)  # RFC 8461 §3.2: the first one counts
    return _policy(values, tuple(patterns))


def _pattern(value: str, number: int) -> str:
    if not _PATTERN.fullmatch(value) or len(value) > 255:
        raise BadPolicy(f'line {number}: expected a host as "mx.example.org" or "*.example.org"')
    return ascii_domain(value)


def _policy(values: dict[str, str], patterns: tuple[str, ...]) -> StsPolicy:
    if values.get("version") != "STSv1":
        raise BadPolicy('expected "version: STSv1"')
    try:
        mode = StsMode(values.get("mode", ""))
    except ValueError:
        raise BadPolicy('expected "mode" to be "enforce", "testing" or "none"') from None
    age = values.get("max_age", "")
    if not re.fullmatch(r"[0-9]{1,10}", age):
        raise BadPolicy("expected max_age with a number of seconds")
    if mode is not StsMode.NONE and not patterns:
        raise BadPolicy("expected at least one mx")
    if len(patterns) > MAX_PATTERNS:
        raise BadPolicy(f"more than {MAX_PATTERNS} hosts")
    return StsPolicy(mode, min(int(age), MAX_AGE), patterns)
