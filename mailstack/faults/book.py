"""The faults that are set now, and whether one of them strikes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from random import Random
from threading import Lock

from mailstack.faults.rules import LAST, Action, Moment, Rule

MARK = "fault"
"""Is in all addresses that name their fault."""
MAX_RULES = 1000
MAX_COUNTED = 10_000
"""Greylisted triplets of a rule, or addresses that name their fault, of which it is known how often they struck."""


class TooManyFaults(Exception):
    """There are MAX_RULES of them."""


@dataclass(slots=True)
class Standing:
    """A rule that is set. `hits` is how often it struck."""

    id: str
    rule: Rule
    hits: int = 0
    _chance: Random = field(init=False, repr=False)
    _counted: dict[tuple[str, ...], int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._chance = Random(self.rule.seed)

    @property
    def left(self) -> int | None:
        """How often it will strike yet; None: for ever, or nobody can say."""
        return None if self.rule.times is None or self.rule.each else max(0, self.rule.times - self.hits)

    def strikes(self, moment: Moment) -> bool:
        """Whether it does now, which counts."""
        rule = self.rule
        if not rule.strikes_at(moment):
            return False
        key = (moment.client, moment.sender, *moment.recipients) if rule.each else ()
        before = self._counted.get(key, 0)
        if rule.times is not None and before >= rule.times:
            return False
        if rule.probability < 1.0 and self._chance.random() >= rule.probability:
            return False
        self.hits += 1
        if rule.times is not None:
            if len(self._counted) >= MAX_COUNTED and key not in self._counted:
                del self._counted[next(iter(self._counted))]
            self._counted[key] = before + 1
        return True


class FaultBook:
    """Owns the faults of one server. Sessions ask it in the reactor's thread; rules may come and go from any."""

    def __init__(self) -> None:
        self._standing: tuple[Standing, ...] = ()
        self._spoken: dict[str, list[Standing]] = {}
        self._ids = count(1)
        self._changing = Lock()

    @property
    def is_empty(self) -> bool:
        """Whether nothing can strike but what addresses say."""
        return not self._standing

    @property
    def standing(self) -> tuple[Standing, ...]:
        """What is set, the oldest first."""
        return self._standing

    def add(self, rule: Rule) -> Standing:
        """Raises: TooManyFaults."""
        with self._changing:
            if len(self._standing) >= MAX_RULES:
                raise TooManyFaults(f"there are {MAX_RULES} faults")
            made = Standing(f"f{next(self._ids)}", rule)
            self._standing = (*self._standing, made)
            return made

    def find(self, id_: str) -> Standing | None:
        """The one of that id."""
        return next((each for each in self._standing if each.id == id_), None)

    def remove(self, id_: str) -> bool:
        """Whether it was there."""
        with self._changing:
            kept = tuple(each for each in self._standing if each.id != id_)
            removed, self._standing = len(kept) < len(self._standing), kept
            return removed

    def clear(self) -> int:
        """Remove all, and forget how often those of addresses struck; returns how many there were."""
        with self._changing:
            removed, self._standing = len(self._standing), ()
            self._spoken = {}
            return removed

    def actions(self, moment: Moment, among: Callable[[Action], bool] = lambda _: True) -> list[Action]:
        """What happens at this moment, of those actions that the caller can do; one after which the command is not
        done is the last."""
        found: list[Action] = []
        for each in (*self._standing, *self._said(moment)):
            if among(each.rule.action) and each.strikes(moment):
                found.append(each.rule.action)
                if isinstance(each.rule.action, LAST):
                    break
        return found

    def _said(self, moment: Moment) -> Iterable[Standing]:
        for address in dict.fromkeys((*moment.recipients, moment.sender, moment.login)):
            if MARK in address:
                yield from self._of(address)

    def _of(self, address: str) -> list[Standing]:
        standing = self._spoken.get(address)
        if standing is None:
            if len(self._spoken) >= MAX_COUNTED:
                del self._spoken[next(iter(self._spoken))]
            from mailstack.faults.spoken import rules_of  # few addresses do

            standing = self._spoken[address] = [Standing(address, rule) for rule in rules_of(address)]
        return standing
