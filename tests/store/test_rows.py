"""Rows of a mailbox's files against a dictionary."""

from __future__ import annotations

import os
import random
from array import array
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mailstack.store.maildir import names
from mailstack.store.maildir.rows import Packed, Rows

octets = st.binary(min_size=1, max_size=12).map(
    lambda raw: bytes(b for b in raw if b not in b"/\0:") or b"x"  # what a file name cannot have, and its end
)
infos = st.sampled_from(
    ["", ":2,", ":2,S", ":2,FS", ":2,SF", ":2,PS", ":2,Sab", ":1,experimental", ":", ":2", ":3,S", ":2,S:2,F", ":2,RTz"]
)
infos_of_any_octets = infos | st.text(max_size=4).map(lambda text: ":" + text.replace("/", "").replace("\0", ""))
gaps = st.integers(1, 5)


def bits_of(name: str) -> int:
    """The flags of a name, from the letters alone."""
    _, _, info = name.partition(":")
    return names.bits(info[2:]) if info.startswith("2,") else 0


class RowsMachine(RuleBasedStateMachine):
    """`model` has UID → name of the file."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = Rows()
        self.model: dict[int, str] = {}
        self.gone: list[str] = []
        self.count = 0

    def unique(self, raw: bytes) -> str:
        self.count += 1
        return os.fsdecode(raw) + f"{self.count}"

    @property
    def above(self) -> int:
        return max(self.model, default=0)

    @rule(raw=octets, info=infos_of_any_octets, gap=gaps)
    def add_above(self, raw: bytes, info: str, gap: int) -> None:
        self.add(self.above + gap, self.unique(raw) + info)

    @rule(raw=octets, info=infos, uid=st.integers(1, 200))
    def add_between(self, raw: bytes, info: str, uid: int) -> None:
        if uid not in self.model:
            self.add(uid, self.unique(raw) + info)

    def add(self, uid: int, name: str) -> None:
        assert self.rows.add(uid, name) == bits_of(name)
        self.model[uid] = name

    @rule(found=st.lists(st.tuples(octets, infos_of_any_octets, gaps), max_size=40))
    def extend(self, found: list[tuple[bytes, str, int]]) -> None:
        uid, uids = self.above, []
        for _, _, gap in found:
            uid += gap
            uids.append(uid)
        all_names = [self.unique(raw) + info for raw, info, _ in found]
        self.rows.extend(uids, all_names)
        self.model.update(zip(uids, all_names, strict=True))

    @rule(number=st.integers(0, 1000), info=infos_of_any_octets)
    def rename(self, number: int, info: str) -> None:
        if self.model:
            uid = sorted(self.model)[number % len(self.model)]
            name = self.model[uid].partition(":")[0] + info
            assert self.rows.rename(self.rows.row(uid), name) == bits_of(name)
            self.model[uid] = name

    @rule(share=st.floats(0, 1), seed=st.integers(0, 1000), unknown=st.lists(st.integers(0, 2**32 - 1), max_size=3))
    def remove(self, share: float, seed: int, unknown: list[int]) -> None:
        chosen = [uid for uid in sorted(self.model) if random.Random(f"{seed} {uid}").random() < share]
        self.rows.remove([*chosen, *chosen[:1], *(uid for uid in unknown if uid not in self.model)])
        self.gone += [self.model.pop(uid).partition(":")[0] for uid in chosen]

    @rule()
    def clear(self) -> None:
        self.rows.clear()
        self.gone += [name.partition(":")[0] for name in self.model.values()]
        self.model.clear()

    @rule(with_table=st.booleans())
    def pack_and_restore(self, with_table: bool) -> None:
        """As the index does it."""
        fresh = Rows()
        uids, flags, starts, packed, slots = self.rows.packed()
        assert packed == b"".join(base + b"/" for base in self.rows.bases())
        copies = (array(column.typecode, column) for column in (uids, flags, starts))
        kept = Packed(*copies, packed, slots[:] if with_table else array("I"))
        fresh.restore(kept, dict(self.rows.odd()))
        self.rows = fresh

    @rule(number=st.integers(0, 1000), flags=st.integers(0, 2**32 - 1))
    def name_with_other_flags(self, number: int, flags: int) -> None:
        if self.model:
            uid = sorted(self.model)[number % len(self.model)]
            before = self.model[uid]
            row = self.rows.row(uid)
            known, name = self.rows.names_with(row, flags)
            self.rows.reflag(row, flags)
            self.model[uid] = name
            assert known == before
            assert bits_of(name) == flags & ~(1 << 5), "bit 5 is no flag"
            assert name.partition(":")[0] == before.partition(":")[0]
            if ":2," in before:
                foreign = {c for c in before.partition(":2,")[2] if not c.islower() and c not in "DFRST"}
                assert foreign <= set(name.partition(":2,")[2])

    @invariant()
    def agrees(self) -> None:
        rows, uids = self.rows, sorted(self.model)
        assert list(rows.uids) == uids
        assert len(rows) == len(uids)
        assert list(rows.flags) == [bits_of(self.model[uid]) for uid in uids]
        assert [rows.name(row) for row in range(len(rows))] == [self.model[uid] for uid in uids]
        assert list(map(os.fsdecode, rows.all_names())) == [self.model[uid] for uid in uids]
        bases = [self.model[uid].partition(":")[0] for uid in uids]
        assert [rows.base(row) for row in range(len(rows))] == bases
        assert list(rows.items()) == list(zip(uids, bases, strict=True))
        assert rows.bases() == [os.fsencode(base) for base in bases]
        for uid, base in zip(uids, bases, strict=True):
            assert rows.find(base) == uid
            assert rows.name_of(uid) == self.model[uid]
        assert rows.name_of(self.above + 1) is None
        assert rows.row(self.above + 1) == rows.row(0) == -1
        absent = {*self.gone[-20:], "", "never", *(base[:-1] for base in bases[:5])} - {*bases}
        assert not any(map(rows.find, absent))


RowsMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
test_machine = RowsMachine.TestCase


@given(st.lists(st.sampled_from(["remove", "add"]), max_size=30), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_the_table_outlives_many_that_come_and_go(doings: list[str], seed: int) -> None:
    """More names than the table has slots, one after the other."""
    rows, chance = Rows(), random.Random(seed)
    rows.extend(range(1, 41), [f"first{n}:2," for n in range(1, 41)])
    assert rows.find("first7") == 7
    following = 41
    for doing in doings:
        for _ in range(20):
            if doing == "add":
                rows.add(following, f"later{following}:2,S")
                following += 1
            elif len(rows):
                uid = rows.uids[chance.randrange(len(rows))]
                base = rows.base(rows.row(uid))
                rows.remove([uid])
                assert rows.find(base) == 0
    assert all(rows.find(base) == uid for uid, base in rows.items())
    assert rows.find("missing") == 0


def packed(uids: list[int], flags: list[int], starts: list[int], found: bytes, slots: int = 0) -> Packed:
    return Packed(array("I", uids), array("I", flags), array("I", starts), found, array("I", bytes(4 * slots)))


@pytest.mark.parametrize(
    "wrong",
    [
        packed([1, 2], [0, 0], [0, 2], b"a/"),
        packed([1], [0, 0], [0], b"a/"),
        packed([1], [0], [0, 0], b"a/"),
        packed([1], [0], [0], b"a"),
        packed([], [], [], b"a/"),
        packed([1, 2], [0, 0], [0], b"a/b/"),
        packed([1], [0], [0], b"a/", slots=65),
    ],
)
def test_parts_that_do_not_fit_are_refused(wrong: Packed) -> None:
    rows = Rows()
    rows.add(9, "kept:2,")
    with pytest.raises(ValueError, match="columns|table"):
        rows.restore(wrong, {})
    assert list(rows.items()) == [(9, "kept")]


def test_many_take_few_octets_each() -> None:
    """A million messages are to be open in 120 MB."""
    rows: Any = Rows()
    count = 20_000
    found = [f"1790000000.M{n:06d}P1234R0123456789abcdefQ{n}.mail.example.org,S=1234,W=1250:2,S" for n in range(count)]
    rows.extend(range(1, count + 1), found)
    assert rows.find(found[-1].partition(":")[0]) == count
    octets_used = sum(
        memoryview(part).nbytes for part in (rows.uids, rows.flags, rows._starts, rows._buffer, rows._slots)
    )
    assert octets_used / count < 110
    assert not rows.odd()
