"""Counts what a regular expression costs: the steps of a backtracking matcher, written out.

`re` has no count of its steps, and a clock is no test. `steps` walks the parsed expression as `re`
does, octet by octet, and says how often it looked at one: the same number on every machine. It has
what the expressions of mailstack use, and raises NotImplementedError for anything else."""

from __future__ import annotations

import re
import re._constants as sre
import re._parser as parser
import sys
from collections.abc import Iterator, Sequence
from typing import Any

Op = tuple[Any, Any]
SINGLE = (sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN)
"""What looks at one octet."""


class Matcher:
    """One expression on one value."""

    def __init__(self, pattern: re.Pattern[Any], value: Sequence[Any]) -> None:
        text = isinstance(value, str)
        self.value = [ord(char) for char in value] if text else value
        self.flags = pattern.flags
        self.ops: list[Op] = list(parser.parse(pattern.pattern, pattern.flags))  # type: ignore[attr-defined]
        self.steps = 0
        self.sets: dict[int, frozenset[int]] = {}

    def ends(self, ops: Sequence[Op], at: int, pos: int) -> Iterator[int]:
        """Where ops[at:] may end that begin at `pos`, in the order in which `re` tries."""
        if at == len(ops):
            yield pos
            return
        for end in self.one(*ops[at], pos):
            yield from self.ends(ops, at + 1, end)

    def first(self, ops: Sequence[Op], pos: int) -> int | None:
        return next(self.ends(ops, 0, pos), None)

    def one(self, op: Any, argument: Any, pos: int) -> Iterator[int]:
        if op in SINGLE:
            if self.octet(op, argument, pos):
                yield pos + 1
        elif op is sre.SUBPATTERN:
            yield from self.ends(argument[3], 0, pos)
        elif op is sre.BRANCH:
            for branch in argument[1]:
                yield from self.ends(branch, 0, pos)
        elif op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            yield from self.repeat(op, *argument, pos)
        elif op in (sre.ASSERT, sre.ASSERT_NOT):
            direction, ops = argument
            start = pos if direction > 0 else pos - ops.getwidth()[0]
            holds = start >= 0 and self.first(ops, start) is not None
            if holds == (op is sre.ASSERT):
                yield pos
        elif op is sre.AT:
            if self.here(argument, pos):
                yield pos
        else:
            raise NotImplementedError(op)

    def repeat(self, op: Any, least: int, most: Any, ops: Sequence[Op], pos: int) -> Iterator[int]:
        if op is sre.MIN_REPEAT:
            found = pos
            for count in range(len(self.value) + 2):
                if count >= least:
                    yield found
                following = self.first(ops, found) if count < most else None
                if following is None:
                    return
                found = following
            return
        # Where each round of the greedy repeat ended. Rounds are not tried in other ways than their
        # first: no repeat here has a body that could end in several places.
        ended = [pos]
        single = len(ops) == 1 and ops[0][0] in SINGLE
        while len(ended) - 1 < most:
            if single:
                if not self.octet(*ops[0], ended[-1]):
                    break
                ended.append(ended[-1] + 1)
                continue
            following = self.first(ops, ended[-1])
            if following is None or following == ended[-1]:
                break
            ended.append(following)
        if op is sre.POSSESSIVE_REPEAT:
            ended = [ended[-1]] if len(ended) > least else []
        else:
            ended = ended[least:]
        yield from reversed(ended)

    def octet(self, op: Any, argument: Any, pos: int) -> bool:
        self.steps += 1
        if pos >= len(self.value):
            return False
        char = self.value[pos]
        if op is sre.LITERAL and not self.flags & re.IGNORECASE:
            return bool(char == argument)
        if op is sre.ANY:
            return bool(self.flags & re.DOTALL) or char != 10
        if op is sre.IN:
            negated = argument[0][0] is sre.NEGATE
            members = self.sets.get(id(argument))
            if members is None:
                members = self.sets[id(argument)] = self.members(argument[negated:])
        else:
            negated, members = op is sre.NOT_LITERAL, self.members([(sre.LITERAL, argument)])
        return negated != (char in members)

    def members(self, argument: Sequence[Op]) -> frozenset[int]:
        found = set[int]()
        for kind, what in argument:
            if kind is sre.LITERAL:
                found.add(what)
            elif kind is sre.RANGE:
                found.update(range(what[0], what[1] + 1))
            elif kind is sre.CATEGORY:
                found.update({sre.CATEGORY_DIGIT: b"0123456789", sre.CATEGORY_SPACE: b" \t\n\r\f\v"}[what])
            else:
                raise NotImplementedError(kind)
        if self.flags & re.IGNORECASE:
            found.update(char ^ 32 for char in tuple(found) if chr(char).isalpha() and char < 128)
        return frozenset(found)

    def here(self, what: Any, pos: int) -> bool:
        self.steps += 1
        end = len(self.value)
        if what is sre.AT_BEGINNING:
            multiline = bool(self.flags & re.MULTILINE) and pos > 0 and self.value[pos - 1] == 10
            return pos == 0 or multiline
        if what is sre.AT_END_STRING:
            return pos == end
        if what is sre.AT_END:
            return pos == end or (pos == end - 1 and self.value[pos] == 10)
        raise NotImplementedError(what)

    def search(self) -> list[tuple[int, int]]:
        """As finditer."""
        found, pos = list[tuple[int, int]](), 0
        while pos <= len(self.value):
            end = self.first(self.ops, pos)
            if end is not None:
                found.append((pos, end))
            pos = pos + 1 if end is None or end == pos else end
        return found


def steps(pattern: re.Pattern[Any], value: Any, how: str) -> int:
    """How many steps `pattern.match`, `fullmatch` or `finditer` takes; the outcome is compared with re's."""
    matcher = Matcher(pattern, value)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    try:
        if how == "finditer":
            assert matcher.search() == [found.span() for found in pattern.finditer(value)], (pattern, value)
        elif how == "match":
            found = pattern.match(value)
            assert matcher.first(matcher.ops, 0) == (found.end() if found else None), (pattern, value)
        else:
            whole = any(end == len(value) for end in matcher.ends(matcher.ops, 0, 0))
            assert whole == (pattern.fullmatch(value) is not None), (pattern, value)
    finally:
        sys.setrecursionlimit(limit)
    return matcher.steps
