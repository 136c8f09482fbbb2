"""No regular expression that sees strangers' octets takes more than linear time, whatever they are.

Steps are counted, not seconds: `regex_steps`."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import pytest
from regex_steps import steps

from mailstack.imap import search_content
from mailstack.imap.wire import cursor, fetch_grammar, framing, url
from mailstack.mail import addresses, binary, dates, header, lines, message_ids, mime, transfer, words
from mailstack.smtp.wire import framing as smtp_framing

USES = [
    (addresses, "_SIMPLE", "match"),
    (addresses, "_TOKEN", "match"),
    (addresses, "_COMMENT", "finditer"),
    (dates, "_COMMENT", "finditer"),
    (dates, "_DATE", "finditer"),
    (dates, "_TIME", "match"),
    (dates, "_ZONE", "match"),
    (message_ids, "_ANGLE", "finditer"),
    (message_ids, "_QUOTED", "finditer"),
    (message_ids, "_OBSOLETE_SPACE", "finditer"),
    (message_ids, "_INSIDE", "fullmatch"),
    (header, "_FIELD", "finditer"),
    (header, "_WHOLE_FIELD", "finditer"),
    (header, "_FOLD", "finditer"),
    (header, "_COMMON", "finditer"),
    (mime, "_FIELD", "finditer"),
    (mime, "_TYPE", "match"),
    (mime, "_TOKEN", "match"),
    (transfer, "_TRAILING_SPACE", "finditer"),
    (words, "_COMMENTED", "match"),
    (words, "_ENCODED_WORD", "finditer"),
    (words, "_PARAMETER", "finditer"),
    (words, "_QUOTED_PAIR", "finditer"),
    (words, "_SECTION", "match"),
    (search_content, "_DATE", "finditer"),
    (framing, "_LITERAL", "finditer"),
    (cursor, "_QUOTED", "match"),
    (cursor, "_ASTRING", "match"),
    (cursor, "_LIST_CHARS", "match"),
    (cursor, "_ESCAPE", "finditer"),
    (fetch_grammar, "_PART", "match"),
    (url, "_SERVER", "match"),
    (url, "_MAILBOX", "match"),
    (url, "_SECTION", "match"),
    (url, "_ACCESS", "match"),
    (binary, "_ENCODING", "finditer"),
    (smtp_framing, "_BARE_NEWLINE", "finditer"),
]
"""Module, expression, and how it is used there."""
COMPLETE = (addresses, dates, header, lines, message_ids, mime, transfer, words)
"""Modules of which every expression must be in USES: they see what strangers send."""
HEADS = ["x", 'a/b;"', "Content-Type: "]
PIECES = [
    " ", "\t", "a", "a ", "; ", ';a="\\', ";a", '"', '"\\', "\\", "(", "<", "[", "[\\", "a,", "@", ":", "=", "=?",
    "=?a?q?", "=?a?q?b?= ", "=\r\n", " \r\n", "\r\n ", "\r", "\n", "{", "{1", "1 ", "1-", "1.", "*", "a*", "%", "-",
]  # fmt: skip
TAILS = ["", "y\r\n\0"]
SIZE = 48
WORST = 2.6
"""How the steps for twice as much may grow: 2 is linear, 4 is quadratic."""


@pytest.mark.parametrize(("module", "name", "how"), USES, ids=lambda value: getattr(value, "__name__", value))
def test_steps_grow_as_the_value_does(module: Any, name: str, how: str) -> None:
    pattern: re.Pattern[bytes] = getattr(module, name)
    for head, piece, tail in product(HEADS, PIECES, TAILS):
        once, twice = (
            steps(pattern, (head + piece * (size // len(piece)) + tail).encode(), how) for size in (SIZE, 2 * SIZE)
        )
        assert twice <= WORST * max(once, SIZE), (head, piece, tail, once, twice)


@pytest.mark.parametrize("module", COMPLETE, ids=lambda module: module.__name__)
def test_every_expression_is_watched(module: Any) -> None:
    there = {name for name, value in vars(module).items() if isinstance(value, re.Pattern)}
    assert there == {name for used, name, _ in USES if used is module}


@pytest.mark.parametrize(
    "slow", [rb"([a-z ]*?)[ ]*<", rb"[ ]+<", rb"\"(?:[^\"\\]|\\.)*\"", rb"a.*b"], ids=["lazy", "run", "open", "any"]
)
def test_a_slow_expression_is_noticed(slow: bytes) -> None:
    pattern = re.compile(slow)
    piece = {b"\\": b'"\\', b"a": b"a"}.get(slow[:1], b" ")
    once, twice = (steps(pattern, piece * size + b"\n", "finditer") for size in (SIZE // 2, SIZE))
    assert twice > 3.4 * once
