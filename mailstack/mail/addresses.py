"""The address-list of From, To and their like (RFC 5322 §3.4), as ENVELOPE shows it.

Linear in the length of the value, tolerant of everything, and nothing raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from mailstack.mail.words import unquote

MAX_LIST = 128 * 1024
"""Octets of one address-list that are taken apart; ours: some two thousand addresses."""
MAX_ADDRESSES = 10_000
"""Addresses and group marks of one list; ours: MAX_LIST holds so many only if they are made up."""


class ListedAddress(NamedTuple):
    """The four members of an address structure (RFC 9051 §7.5.2), without quotes, encoded-words as they
    are. `host` None marks a group: its start if `mailbox` has its name, its end if that is None."""

    name: bytes | None
    adl: bytes | None
    mailbox: bytes | None
    host: bytes | None


GROUP_END = ListedAddress(None, None, None, None)

# One address as nearly all are, and the comma behind it: a phrase of atoms or one quoted-string, then an angle-addr;
# or a bare addr-spec. Spaces belong to exactly one repeat, so that none is tried twice.
_SIMPLE = re.compile(
    rb"[ \t]*+(?:(?:\"([^\"\\\x00]*+)\"|([^\"\\\x00\s()<>@,:;\[\]]++(?: [^\"\\\x00\s()<>@,:;\[\]]++)*+))?+[ \t]*+"
    rb"<([^\"\\\x00-\x20()<>@,:;\[\]]++)@([A-Za-z0-9.\-]++)>"
    rb"|([^\"\\\x00-\x20()<>@,:;\[\]]++)@([A-Za-z0-9.\-]++))[ \t]*+(?:,|\Z)"
)
# An unended string takes the rest, a lone backslash included: tried once, not again from every octet.
_TOKEN = re.compile(
    rb"[ \t\r\n]+|\"(?P<quoted>(?:[^\"\\]|\\.)*+)(?:\"|\\?\Z)|(?P<literal>\[(?:[^\]\\\[]|\\.)*+(?:\]|\\?\Z))"
    rb"|(?P<special>[()<>@,:;\]\"\\])|(?P<atom>[^ \t\r\n()<>@,:;\[\]\"\\]+)",
    re.DOTALL,
)
_COMMENT = re.compile(rb"\\.|[()]", re.DOTALL)


class _Token(NamedTuple):
    kind: str
    """"special", "word" or "comment"."""
    text: bytes
    spaced: bool
    """Whether white space stood before it."""


def address_list(value: bytes) -> list[ListedAddress]:
    """The addresses of an unfolded value in their order, groups as markers."""
    value = value[:MAX_LIST]
    found: list[ListedAddress] = []
    at, end = 0, len(value)
    while at < end and len(found) < MAX_ADDRESSES:
        match = _SIMPLE.match(value, at)
        if match is None:
            return _Parse(_tokens(value)).result
        quoted, atoms, local, host, bare_local, bare_host = match.groups()
        if bare_local is not None:
            found.append(ListedAddress(None, None, bare_local, bare_host))
        else:
            found.append(ListedAddress(quoted or atoms or None, None, local, host))
        at = match.end()
    return found


def _tokens(value: bytes) -> Iterator[_Token]:
    at, spaced = 0, False
    while at < len(value):
        match = _TOKEN.match(value, at)
        if match is None:
            at += 1
            continue
        at = match.end()
        kind = match.lastgroup
        if kind is None:
            spaced = True
            continue
        text = match[kind]
        if kind == "special" and text == b"(":
            at, inside = _comment(value, at)
            yield _Token("comment", inside, spaced)
        elif kind == "special" and text != b"\\":
            yield _Token("special", text, spaced)
        else:
            yield _Token("word", unquote(text) if kind == "quoted" else text, spaced)
        spaced = False


def _comment(value: bytes, start: int) -> tuple[int, bytes]:
    """The end of the comment whose inside begins at `start`, and that inside (RFC 5322 §3.2.2)."""
    depth = 1
    for match in _COMMENT.finditer(value, start):
        if match[0] == b"(":
            depth += 1
        elif match[0] == b")":
            depth -= 1
            if not depth:
                return match.end(), unquote(value[start : match.start()])
    return len(value), unquote(value[start:])


class _Parse:
    """The list, token by token. Outside angle brackets words gather in `before`; inside, in `angle`."""

    def __init__(self, tokens: Iterator[_Token]) -> None:
        self.result: list[ListedAddress] = []
        self.in_group = False
        self.before: list[_Token] = []
        self.angle: list[_Token] | None = None
        self.in_angle = False
        self.comment: bytes | None = None
        for token in tokens:
            self._take(token)
            if len(self.result) >= MAX_ADDRESSES:
                break
        self._end_of_address()
        if self.in_group:
            self.result.append(GROUP_END)

    def _take(self, token: _Token) -> None:
        kind, text, _ = token
        if kind == "comment":
            self.comment = text
        elif kind == "word":
            (self.angle if self.in_angle and self.angle is not None else self.before).append(token)
        elif self.in_angle and self.angle is not None and self._belongs(text):
            self.angle.append(token)
        else:
            self._special(token)

    def _belongs(self, text: bytes) -> bool:
        """Whether a special goes on with an angle-addr; a comma does only in a route, as the rest of
        the list should not be lost for a forgotten ">"."""
        if text == b",":
            return bool(self.angle) and self.angle is not None and self.angle[0].text == b"@"
        return text in b":@"

    def _special(self, token: _Token) -> None:
        text = token.text
        if text == b"<":
            self.angle, self.in_angle = [], True
        elif text == b">":
            self.in_angle = False
        elif text == b",":
            self._end_of_address()
        elif text == b":" and not self.in_group:
            name = _phrase(self.before)
            self.before, self.comment = [], None
            self.result.append(ListedAddress(None, None, name, None))
            self.in_group = True
        elif text == b";":
            self._end_of_address()
            if self.in_group:
                self.result.append(GROUP_END)
                self.in_group = False
        else:
            self.before.append(token)

    def _end_of_address(self) -> None:
        before, angle, comment = self.before, self.angle, self.comment
        self.before, self.angle, self.in_angle, self.comment = [], None, False, None
        if angle is not None:
            adl, spec = _route(angle)
            self.result.append(ListedAddress(_phrase(before) or comment or None, adl, *_addr_spec(spec)))
        elif before:
            self.result.append(ListedAddress(comment or None, None, *_addr_spec(before)))


def _phrase(tokens: list[_Token]) -> bytes:
    """Words with one space where there was white space."""
    return b"".join((b" " if token.spaced else b"") + token.text for token in tokens).strip(b" ")


def _addr_spec(tokens: list[_Token]) -> tuple[bytes, bytes]:
    # addr-spec = local-part "@" domain   ; RFC 5322 §3.4.1; no domain gives "", as None would mark a group
    at = next((i for i in range(len(tokens) - 1, -1, -1) if tokens[i].text == b"@" and _special(tokens[i])), -1)
    if at < 0:
        return _phrase(tokens), b""
    return b"".join(token.text for token in tokens[:at]), b"".join(token.text for token in tokens[at + 1 :])


def _route(tokens: list[_Token]) -> tuple[bytes | None, list[_Token]]:
    # obs-route = obs-domain-list ":"   ; RFC 5322 §4.4
    if not tokens or tokens[0].text != b"@" or not _special(tokens[0]):
        return None, tokens
    colon = next((i for i, token in enumerate(tokens) if token.text == b":" and _special(token)), -1)
    if colon < 0:
        return None, tokens
    return b"".join(token.text for token in tokens[:colon]), tokens[colon + 1 :]


def _special(token: _Token) -> bool:
    return token.kind == "special"
