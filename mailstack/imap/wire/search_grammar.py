"""What SEARCH asks (RFC 9051 §9: search-program and below; RFC 3501 for RECENT, NEW and OLD)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mailstack.imap.wire.cursor import Cursor, astring, atom, date_, number, sequence_set, sp
from mailstack.imap.wire.values import (
    All,
    And,
    BodyHas,
    DateOrder,
    HasFlag,
    HasKeyword,
    HeaderHas,
    InSequence,
    InternalDay,
    InUids,
    IsRecent,
    Larger,
    Not,
    Or,
    SearchKey,
    SentDay,
    SequenceSet,
    Smaller,
    TextHas,
)  # fmt: skip
from mailstack.ports import Flag

MAX_DEPTH = 50
"""Nesting of parentheses, NOT and OR."""
MAX_KEYS = 2000
"""Search keys of one command."""
_WORD = re.compile(rb"[A-Za-z0-9.-]+")
RETURN_OPTIONS = (b"MIN", b"MAX", b"ALL", b"COUNT", b"SAVE")

SAVED: SequenceSet = ((-1, -1),)
"""The "$" of RFC 5182: the result that was saved."""


class BadCharset(Exception):
    """A charset that text cannot be searched in (RFC 9051 §6.4.4)."""


KeyRule = Callable[[Cursor], SearchKey]
"""What stands behind the word of a search key, with the space before it if there is any."""
PrefixRule = Callable[[SearchKey], SearchKey]
"""What a word before a search key makes of it, as NOT does."""
ReturnRule = Callable[[Cursor], object]
"""What stands behind the word of a search return option, with the space before it; None if nothing does."""
ReturnOptions = Mapping[bytes, object]
"""Words in upper case, and the arguments of each."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What extensions add to the grammar (RFC 4466 §2.6), by words in upper case."""

    keys: Mapping[bytes, KeyRule]
    prefixes: Mapping[bytes, PrefixRule]
    returns: Mapping[bytes, ReturnRule]


PLAIN = Vocabulary({}, {}, {})


@dataclass(frozen=True, slots=True)
class SearchProgram:
    """SEARCH's argument. `returns` is None without RETURN, as in RFC 3501; RETURN () is ALL."""

    key: SearchKey
    returns: ReturnOptions | None


def numbers(cur: Cursor) -> SequenceSet:
    # sequence-set =/ seq-last-command ; "$"
    return SAVED if cur.skip(b"$") else sequence_set(cur)


def search_program(cur: Cursor, vocabulary: Vocabulary = PLAIN) -> SearchProgram:
    # search = "SEARCH" [SP search-return-opts] SP search-program
    # search-program = ["CHARSET" SP charset SP] search-key *(SP search-key)
    returns = return_options(cur, vocabulary)
    start = cur.position
    if cur.skip(b"CHARSET "):
        if cur.accepts:
            raise cur.expected("no CHARSET after ENABLE UTF8=ACCEPT", start)
        charset(cur)
        sp(cur)
    return SearchProgram(criteria(cur, vocabulary), returns)


def charset(cur: Cursor) -> None:
    """Text is decoded as UTF-8 in either. Raises: BadCharset."""
    start = cur.position
    found = astring(cur).upper()
    if cur.accepts and found != b"UTF-8":
        raise cur.expected("UTF-8, after ENABLE UTF8=ACCEPT", start)
    if found not in (b"US-ASCII", b"UTF-8"):
        raise BadCharset


def criteria(cur: Cursor, vocabulary: Vocabulary = PLAIN) -> SearchKey:
    # search-key *(SP search-key)
    keys = _Keys(vocabulary)
    found = [keys.search_key(cur, 0)]
    while cur.skip(b" ") and not cur.at_end:
        found.append(keys.search_key(cur, 0))
    return found[0] if len(found) == 1 else And(tuple(found))


def return_options(cur: Cursor, vocabulary: Vocabulary = PLAIN) -> ReturnOptions | None:
    # search-return-opts = "RETURN" SP "(" [search-return-opt *(SP search-return-opt)] ")" ; and the space behind
    if not cur.skip(b"RETURN ("):
        return None
    options: dict[bytes, object] = {}
    while not cur.skip(b")"):
        start = cur.position
        word = cur.match(_WORD, "a search return option")[0].upper()
        rule = vocabulary.returns.get(word)
        if rule is None and word not in RETURN_OPTIONS:
            *most, last = (known.decode() for known in (*RETURN_OPTIONS, *vocabulary.returns))
            raise cur.expected(f"{', '.join(most)} or {last}", start)
        if rule is not None and word in options:
            raise cur.expected("each search return option once", start)
        options[word] = None if rule is None else rule(cur)
        if not cur.skip(b" ") and cur.peek() != b")":
            raise cur.expected('a space or ")"')
    sp(cur)
    return options or {b"ALL": None}


class _Keys:
    """Counts what it parses."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._count = 0

    def search_key(self, cur: Cursor, depth: int) -> SearchKey:
        self._count += 1
        if depth > MAX_DEPTH:
            raise cur.expected(f"at most {MAX_DEPTH} levels of parentheses, NOT and OR")
        if self._count > MAX_KEYS:
            raise cur.expected(f"at most {MAX_KEYS} search keys")
        if cur.skip(b"("):
            inside = [self.search_key(cur, depth + 1)]
            while cur.skip(b" "):
                inside.append(self.search_key(cur, depth + 1))
            cur.expect(b")")
            return And(tuple(inside))
        if cur.peek() in (b"*", b"$") or cur.peek().isdigit():
            return InSequence(numbers(cur))
        start = cur.position
        word = cur.match(_WORD, "a search key")[0].upper()
        if word == b"NOT":
            sp(cur)
            return Not(self.search_key(cur, depth + 1))
        if word == b"OR":
            sp(cur)
            left = self.search_key(cur, depth + 1)
            sp(cur)
            return Or(left, self.search_key(cur, depth + 1))
        plain = _PLAIN.get(word)
        if plain is not None:
            return plain
        rule = _WITH_ARGUMENT.get(word)
        if rule is not None:
            sp(cur)
            return rule(cur)
        return self._of_extension(word, cur, start, depth)

    def _of_extension(self, word: bytes, cur: Cursor, start: int, depth: int) -> SearchKey:
        rule, prefix = self._vocabulary.keys.get(word), self._vocabulary.prefixes.get(word)
        if rule is not None:
            return rule(cur)
        if prefix is not None:
            sp(cur)
            return prefix(self.search_key(cur, depth + 1))
        raise cur.expected("a search key", start)


def _wanted(cur: Cursor) -> str:
    return astring(cur).decode("utf-8", "replace")


def _header(cur: Cursor) -> SearchKey:
    name = astring(cur)
    sp(cur)
    return HeaderHas(name.lower(), _wanted(cur))


def _field(name: bytes) -> Callable[[Cursor], SearchKey]:
    return lambda cur: HeaderHas(name, _wanted(cur))


def _keyword(cur: Cursor) -> SearchKey:
    return HasKeyword(atom(cur).decode("ascii"))


_PLAIN: dict[bytes, SearchKey] = {
    b"ALL": All(),
    b"ANSWERED": HasFlag(Flag.ANSWERED),
    b"DELETED": HasFlag(Flag.DELETED),
    b"DRAFT": HasFlag(Flag.DRAFT),
    b"FLAGGED": HasFlag(Flag.FLAGGED),
    b"SEEN": HasFlag(Flag.SEEN),
    b"UNANSWERED": Not(HasFlag(Flag.ANSWERED)),
    b"UNDELETED": Not(HasFlag(Flag.DELETED)),
    b"UNDRAFT": Not(HasFlag(Flag.DRAFT)),
    b"UNFLAGGED": Not(HasFlag(Flag.FLAGGED)),
    b"UNSEEN": Not(HasFlag(Flag.SEEN)),
    b"RECENT": IsRecent(),
    b"OLD": Not(IsRecent()),
    b"NEW": And((IsRecent(), Not(HasFlag(Flag.SEEN)))),
}
_WITH_ARGUMENT: dict[bytes, Callable[[Cursor], SearchKey]] = {
    b"BCC": _field(b"bcc"),
    b"CC": _field(b"cc"),
    b"FROM": _field(b"from"),
    b"SUBJECT": _field(b"subject"),
    b"TO": _field(b"to"),
    b"HEADER": _header,
    b"BODY": lambda cur: BodyHas(_wanted(cur)),
    b"TEXT": lambda cur: TextHas(_wanted(cur)),
    b"KEYWORD": _keyword,
    b"UNKEYWORD": lambda cur: Not(_keyword(cur)),
    b"BEFORE": lambda cur: InternalDay(DateOrder.BEFORE, date_(cur)),
    b"ON": lambda cur: InternalDay(DateOrder.ON, date_(cur)),
    b"SINCE": lambda cur: InternalDay(DateOrder.SINCE, date_(cur)),
    b"SENTBEFORE": lambda cur: SentDay(DateOrder.BEFORE, date_(cur)),
    b"SENTON": lambda cur: SentDay(DateOrder.ON, date_(cur)),
    b"SENTSINCE": lambda cur: SentDay(DateOrder.SINCE, date_(cur)),
    b"LARGER": lambda cur: Larger(number(cur)),
    b"SMALLER": lambda cur: Smaller(number(cur)),
    b"UID": lambda cur: InUids(numbers(cur)),
}
