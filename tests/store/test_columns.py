"""Columns of an open mailbox against a dictionary."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mailstack.store.arrays import joined, kept_runs
from mailstack.store.columns import MAX_HISTORY, NO_DATE, UNKNOWN, History, MessageColumns


class Row(NamedTuple):
    flags: int
    modseq: int
    size: int
    date: int


bits = st.integers(0, 2**32 - 1)
sizes = st.integers(0, 2**50)
dates = st.sampled_from([NO_DATE, -1, 0, -(2**40), 1_790_000_000])
numbers = st.integers(0, 10_000)


class ColumnsMachine(RuleBasedStateMachine):
    """`model` has UID → Row; `gone` has what vanished, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.columns = MessageColumns()
        self.model: dict[int, Row] = {}
        self.gone: list[tuple[int, int]] = []
        self.modseq = 1

    def some(self, share: float, seed: int) -> list[int]:
        return [uid for uid in sorted(self.model) if random.Random(f"{seed} {uid}").random() < share]

    @rule(flags=st.lists(bits, max_size=30), gap=st.integers(1, 9))
    def add_above(self, flags: list[int], gap: int) -> None:
        first = max(self.model, default=0) + gap
        self.add(range(first, first + 2 * len(flags), 2), flags)

    @rule(found=st.dictionaries(st.integers(1, 150), bits, min_size=1, max_size=20))
    def add_among(self, found: dict[int, int]) -> None:
        uids = sorted(found)
        self.add(uids, [found[uid] for uid in uids])

    def add(self, uids: Sequence[int], flags: Sequence[int]) -> None:
        self.modseq += 1
        new = [uid for uid in uids if uid not in self.model]
        assert list(self.columns.add(array("I", uids), array("I", flags), self.modseq)) == new
        for uid, value in zip(uids, flags, strict=True):
            self.model.setdefault(uid, Row(value, self.modseq, UNKNOWN, NO_DATE))

    @rule(share=st.floats(0, 1), seed=numbers, value=bits)
    def change(self, share: float, seed: int, value: int) -> None:
        self.modseq += 1
        wanted = [*self.some(share, seed), 10**6]
        different = [uid for uid in wanted if uid in self.model and self.model[uid].flags != value]
        assert self.columns.change([(uid, value) for uid in wanted], self.modseq) == different
        for uid in different:
            self.model[uid] = self.model[uid]._replace(flags=value, modseq=self.modseq)

    @rule(share=st.floats(0, 1), seed=numbers)
    def remove(self, share: float, seed: int) -> None:
        self.modseq += 1
        chosen = self.some(share, seed)
        shuffled = random.Random(seed).sample([*chosen, *chosen[:1], 10**6], len(chosen) + len(chosen[:1]) + 1)
        assert self.columns.remove(shuffled, self.modseq) == chosen
        for uid in chosen:
            del self.model[uid]
            self.gone.append((self.modseq, uid))

    @rule(share=st.floats(0, 1), seed=numbers, size=sizes, date=dates)
    def measured(self, share: float, seed: int, size: int, date: int) -> None:
        for uid in [*self.some(share, seed), 10**6]:
            self.columns.measured(uid, size, date)
            if uid in self.model:
                row = self.model[uid]
                self.model[uid] = row._replace(size=size, date=row.date if date == NO_DATE else date)

    @rule()
    def go_on_with_a_copy(self) -> None:
        before, self.columns = self.columns, self.columns.copy()
        before.remove(list(before.uids), 1)
        before.add(array("I", [1]), array("I", [0]), 1)

    @rule(share=st.floats(0, 1), seed=numbers, kind=st.sampled_from([list, tuple, lambda uids: array("I", uids)]))
    def select_scattered(self, share: float, seed: int, kind: type) -> None:
        self.select(kind([uid for uid in [*self.some(share, seed), 10**6] if uid]))
        self.select(kind(self.some(share, seed)))

    @rule(start=numbers, length=st.integers(0, 60))
    def select_together(self, start: int, length: int) -> None:
        uids = sorted(self.model)
        begin = start % (len(uids) + 1)
        self.select(uids[begin : begin + length])
        first = uids[begin] if begin < len(uids) else 1
        self.select(range(first, first + length))

    def select(self, wanted: Sequence[int]) -> None:
        found = self.columns.select(wanted)
        there = [uid for uid in wanted if uid in self.model]
        rows = [self.model[uid] for uid in there]
        assert list(found.uids) == there
        assert list(found.flags) == [row.flags for row in rows]
        assert list(found.modseqs) == [row.modseq for row in rows]
        assert list(found.sizes) == [row.size for row in rows]
        assert list(found.dates) == [row.date for row in rows]
        for both in (True, False):
            assert self.columns.unmeasured(wanted, dates=both) == [
                uid for uid, row in zip(there, rows, strict=True)
                if row.size == UNKNOWN or (both and row.date == NO_DATE)
            ]  # fmt: skip

    @invariant()
    def agrees(self) -> None:
        uids = sorted(self.model)
        columns = self.columns
        assert len(columns) == len(uids)
        assert list(columns.uids) == uids
        rows = zip(columns.flags, columns.modseqs, columns.sizes, columns.dates, strict=True)
        assert [Row(*row) for row in rows] == [self.model[uid] for uid in uids]
        assert all(columns.row(uid) == row for row, uid in enumerate(uids))
        assert columns.row(10**6) == columns.row(0) == -1

    @invariant()
    def knows_what_vanished(self) -> None:
        for modseq in {0, self.modseq // 2, self.modseq - 1, self.modseq}:
            expected = sorted(uid for when, uid in self.gone if when > modseq)
            assert self.columns.history.after(modseq) == expected


ColumnsMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
test_machine = ColumnsMachine.TestCase


def test_history_forgets_the_oldest_and_knows_that_it_did() -> None:
    history = History(since=5)
    assert history.after(4) is None
    assert history.after(5) == []
    for modseq in range(6, 6 + MAX_HISTORY + 1):
        history.add([modseq * 2], modseq)
    last = 6 + MAX_HISTORY
    assert len(history.uids) == MAX_HISTORY // 2
    assert history.after(5) is None
    assert history.after(history.since - 1) is None
    assert history.after(history.since) == [modseq * 2 for modseq in range(history.since + 1, last + 1)]
    assert history.after(last - 3) == [(last - 2) * 2, (last - 1) * 2, last * 2]


def test_what_vanished_at_once_is_forgotten_at_once() -> None:
    """Half of one mod-sequence's messages would be an answer that is not true."""
    history = History(since=0)
    history.add(range(1, MAX_HISTORY + 2), 7)
    assert history.after(6) is None
    assert history.after(7) == []


@given(st.sets(st.integers(0, 99)), st.integers(0, 100))
def test_rows_out_of_a_column(rows: set[int], length: int) -> None:
    gone = sorted(row for row in rows if row < length)
    column = array("I", range(1000, 1000 + length))
    kept = joined(column, kept_runs(length, gone))
    assert list(kept) == [value for row, value in enumerate(column) if row not in rows]
    assert kept.typecode == "I"
