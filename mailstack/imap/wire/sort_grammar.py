"""What SORT and THREAD ask (RFC 5256 §5, RFC 5957 §5, RFC 5267 §5)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailstack.imap.wire.cursor import Cursor, sp
from mailstack.imap.wire.search_grammar import ReturnOptions, Vocabulary, charset, criteria, return_options
from mailstack.imap.wire.values import Criteria, Criterion, SearchKey, SortKey

MAX_CRITERIA = 50
"""Sort criteria of one command."""
_WORD = re.compile(rb"[A-Za-z]+")
_ALGORITHM = re.compile(rb"[A-Za-z0-9-]+")
_SORT_KEYS = {key.value.encode(): key for key in SortKey}


@dataclass(frozen=True, slots=True)
class SortProgram:
    """SORT's arguments. `returns` is None without RETURN."""

    criteria: Criteria
    key: SearchKey
    returns: ReturnOptions | None


@dataclass(frozen=True, slots=True)
class ThreadProgram:
    """THREAD's arguments; the algorithm in upper case."""

    algorithm: bytes
    key: SearchKey


def sort_program(cur: Cursor, vocabulary: Vocabulary) -> SortProgram:
    # extended-sort = ["UID" SP] "SORT" search-return-opts SP sort-criteria SP search-criteria   ; RFC 5267 §5
    returns = return_options(cur, vocabulary)
    by = sort_criteria(cur)
    sp(cur)
    return SortProgram(by, search_criteria(cur, vocabulary), returns)


def thread_program(cur: Cursor, vocabulary: Vocabulary, algorithms: tuple[bytes, ...]) -> ThreadProgram:
    # thread = ["UID" SP] "THREAD" SP thread-alg SP search-criteria
    start = cur.position
    algorithm = cur.match(_ALGORITHM, "a threading algorithm")[0].upper()
    if algorithm not in algorithms:
        *most, last = (known.decode() for known in algorithms)
        raise cur.expected(f"{', '.join(most)} or {last}", start)
    sp(cur)
    return ThreadProgram(algorithm, search_criteria(cur, vocabulary))


def sort_criteria(cur: Cursor) -> Criteria:
    # sort-criteria = "(" sort-criterion *(SP sort-criterion) ")"
    """A key that comes again is left out: it decides nothing."""
    cur.expect(b"(")
    found: dict[SortKey, Criterion] = {}
    for _ in range(MAX_CRITERIA):
        criterion = _criterion(cur)
        found.setdefault(criterion.key, criterion)
        if cur.skip(b")"):
            return tuple(found.values())
        if not cur.skip(b" "):
            raise cur.expected('a space or ")"')
    raise cur.expected(f'")" after {MAX_CRITERIA} sort criteria')


def _criterion(cur: Cursor) -> Criterion:
    # sort-criterion = ["REVERSE" SP] sort-key
    reverse = cur.skip(b"REVERSE ")
    start = cur.position
    key = _SORT_KEYS.get(cur.match(_WORD, "a sort key")[0].upper())
    if key is None:
        *most, last = (known.decode() for known in _SORT_KEYS)
        raise cur.expected(f"{', '.join(most)} or {last}", start)
    return Criterion(key, reverse)


def search_criteria(cur: Cursor, vocabulary: Vocabulary) -> SearchKey:
    # search-criteria = charset 1*(SP search-key)
    charset(cur)
    sp(cur)
    return criteria(cur, vocabulary)
