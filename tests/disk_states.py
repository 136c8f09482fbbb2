"""What a power cut may leave of a recorded run (`disk_record`).

What was synced before the cut is there. Of the rest:

* each name that was made, changed or removed since its directory was last synced may be as before or as
  after, whatever became of others; but not before a step on which it rests: a rename needs the step that
  made the old name, and of a rename from one directory to another the new name comes before the old one goes
  (it may be found under both names, never under neither, as with soft updates and every journal);
* a file that was changed since it was last synced has the new content, the old one, half of what is new,
  zeros in its place, or zeros in its first half.

`states` gives all of them where they are few, and otherwise "all of it", "none of it" and a sample."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from disk_record import ROOT, Name, Octets, Place, Recorder, Synced, Told

FEW = 4
"""So many times the limit are few enough for all of them."""


@dataclass(frozen=True)
class State:
    """A directory tree that may be left after `steps[:cut]`."""

    cut: int
    names: frozenset[tuple[Place, int]]
    contents: frozenset[tuple[int, tuple[bytes, int]]]
    lost: tuple[int, ...]
    """Steps of names that did not happen after all."""

    def describe(self, record: Recorder) -> str:
        lines = [f"power cut after step {self.cut}:"]
        for number, step in enumerate(record.steps[: self.cut]):
            where = f" of {step.number}" if isinstance(step, Octets | Synced) else ""
            lines.append(f"{'   LOST' if number in self.lost else '       '} {number} {step.call}{where}")
        for number, (content, _) in sorted(self.contents):
            lines.append(f"  file {number}: {len(content)} octets {content[:60]!r}…{content[-30:]!r}")
        return "\n".join(lines)

    def make(self, directory: Path) -> None:
        """Make this tree below `directory`, which is empty."""
        inside: dict[int, list[tuple[str, int]]] = {}
        for (where, name), number in self.names:
            inside.setdefault(where, []).append((name, number))
        contents, made = dict(self.contents), dict[int, Path]()
        waiting = [(ROOT, directory)]
        while waiting:
            where, path = waiting.pop()
            for name, number in inside.get(where, ()):
                place = path / name
                if number not in contents:
                    place.mkdir()
                    waiting.append((number, place))
                elif number in made:
                    os.link(made[number], place)
                else:
                    made[number] = place
                    octets, modified = contents[number]
                    place.write_bytes(octets)
                    if modified:
                        os.utime(place, ns=(modified, modified))


class Cut:
    """One moment of a record, and what may be left of it."""

    def __init__(self, record: Recorder, cut: int, base: int) -> None:
        """All of the first `base` steps is on disk."""
        self.record, self.cut = record, cut
        steps = record.steps
        synced = {step.number: number for number, step in enumerate(steps[:cut]) if isinstance(step, Synced)}
        self.needs: dict[int, set[int]] = {}
        durable: set[int] = set()
        last: dict[Place, int] = {}
        self.names = [number for number in range(cut) if isinstance(steps[number], Name)]
        for number in self.names:
            step = steps[number]
            assert isinstance(step, Name)
            needs = {last[place] for place, _ in step.changes if place in last} | ({step.needs} - {-1})
            self.needs[number] = needs
            last.update((place, number) for place, _ in step.changes)
            if number < base or any(synced.get(place[0], -1) > number for place, _ in step.changes):
                durable.add(number)
        for number in reversed(self.names):
            if number in durable:
                durable |= self.needs[number]
        self.free = [number for number in self.names if number not in durable]
        self.variants = self._variants(synced, base)

    def _variants(self, synced: dict[int, int], base: int) -> dict[int, list[tuple[bytes, int]]]:
        """What each file may have in it."""
        found: dict[int, list[tuple[bytes, int]]] = {}
        for number, step in enumerate(self.record.steps[: self.cut]):
            if isinstance(step, Name):
                for _, target in step.changes:
                    if target is not None and target not in self.record.directories:
                        found.setdefault(target, [(b"", 0)])
            elif isinstance(step, Octets):
                if number < base or synced.get(step.number, -1) > number:
                    found[step.number] = [(step.content, step.modified)]
                else:
                    found[step.number].append((step.content, step.modified))
        return {number: _torn(contents) for number, contents in found.items()}

    def state(self, chosen: frozenset[int], contents: dict[int, tuple[bytes, int]]) -> State:
        entries: dict[Place, int] = {}
        lost = []
        for number in self.names:
            step = self.record.steps[number]
            assert isinstance(step, Name)
            if number not in chosen:
                lost.append(number)
                continue
            for place, target in step.changes:
                if target is None:
                    entries.pop(place, None)
                else:
                    entries[place] = target
        used = set(entries.values())
        kept = frozenset((number, content) for number, content in contents.items() if number in used)
        return State(self.cut, frozenset(entries.items()), kept, tuple(lost))

    def complete(self, wanted: Sequence[bool]) -> frozenset[int]:
        """The durable steps, and of the free ones those that are wanted and that can be."""
        chosen = set(self.names) - set(self.free)
        for number, is_wanted in zip(self.free, wanted, strict=True):
            if is_wanted and self.needs[number] <= chosen:
                chosen.add(number)
        return frozenset(chosen)

    def states(self, limit: int, chance: random.Random) -> Iterator[State]:
        files = [number for number, contents in self.variants.items() if len(contents) > 1]
        certain = {number: contents[0] for number, contents in self.variants.items()}
        count = 2 ** len(self.free)
        for number in files:
            count *= len(self.variants[number])
        if count <= FEW * limit:
            for wanted in itertools.product((True, False), repeat=len(self.free)):
                for picked in itertools.product(*(self.variants[number] for number in files)):
                    yield self.state(self.complete(wanted), certain | dict(zip(files, picked, strict=True)))
            return
        newest = certain | {number: self.variants[number][-1] for number in files}
        yield self.state(self.complete([True] * len(self.free)), newest)
        yield self.state(self.complete([False] * len(self.free)), certain)
        for _ in range(limit - 2):
            weight = chance.choice((0.3, 0.6, 0.9))
            some = [chance.random() < weight for _ in self.free]
            sampled = {number: chance.choice(self.variants[number]) for number in files}
            yield self.state(self.complete(some), certain | sampled)


def _torn(contents: list[tuple[bytes, int]]) -> list[tuple[bytes, int]]:
    """The synced content first, the newest last."""
    if len(contents) == 1:
        return contents
    (old, _), (new, modified) = contents[0], contents[-1]
    found = dict.fromkeys(contents[:-1])
    if new.startswith(old) and len(new) > len(old):
        tail = new[len(old) :]
        half = len(tail) // 2
        for torn in (tail[:half], bytes(len(tail)), bytes(half) + tail[half:]):
            found[(old + torn, modified)] = None
    found.pop((new, modified), None)
    return [*found, (new, modified)]


def states(record: Recorder, base: int, limit: int, chance: random.Random) -> Iterator[State]:
    """Different trees that a cut after any step may leave, with what had been told by then. `limit` bounds
    those of one moment."""
    seen: set[object] = set()
    told = 0
    for cut in range(base, len(record.steps) + 1):
        if cut > base and isinstance(record.steps[cut - 1], Told):
            told = cut
        for state in Cut(record, cut, base).states(limit, chance):
            key = (told, state.names, state.contents)
            if key not in seen:
                seen.add(key)
                yield state
