"""Mod-sequences: above all earlier ones, whatever crashes and whatever the clock does."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailstack.store.maildir import modseq
from mailstack.store.maildir.modseq import BLOCK, FILE, MAX_MODSEQ, SECOND, ModSequences

NOW = 1_790_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def begun(folder: Path, clock: Clock) -> ModSequences:
    made = ModSequences(folder, clock)
    made.load()
    return made


def test_numbers_ascend_within_one_tick_of_the_clock(tmp_path: Path, clock: Clock) -> None:
    one = begun(tmp_path, clock)
    numbers = [one.next() for _ in range(5)]
    assert numbers == list(range(numbers[0], numbers[0] + 5))
    assert numbers[0] > NOW * SECOND


@pytest.mark.parametrize("moved", [0.001, 5.0, -5.0, -86400.0 * 400])
def test_a_crash_repeats_no_number(tmp_path: Path, clock: Clock, moved: float) -> None:
    last = [begun(tmp_path, clock).next() for _ in range(1)][-1]
    clock.now += moved
    assert begun(tmp_path, clock).last >= last or moved > 0
    assert begun(tmp_path, clock).next() > last


def test_the_mark_is_on_disk_before_a_number_above_it_is_used(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = begun(tmp_path, clock)
    first = one.next()
    assert int((tmp_path / FILE).read_text()) >= first

    def broken(path: Path, content: bytes) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(modseq, "replace_file", broken)
    assert one.next() == first + 1  # below the mark: nothing to write
    clock.now += 2 * BLOCK / SECOND
    with pytest.raises(OSError, match="full"):
        one.next()
    assert one.last == first + 1


def test_after_an_orderly_end_it_goes_on_where_it_was(tmp_path: Path, clock: Clock) -> None:
    one = begun(tmp_path, clock)
    last = one.next()
    one.settle()
    clock.now += 10
    other = ModSequences(tmp_path, clock)
    assert other.resume(last)
    assert other.last == last
    assert other.next() == int(clock.now * SECOND)


def test_numbers_used_after_the_orderly_end_are_not_used_again(tmp_path: Path, clock: Clock) -> None:
    one = begun(tmp_path, clock)
    settled = one.next()
    one.settle()
    used = one.next()  # it went on after all, and then it crashed
    other = ModSequences(tmp_path, clock)
    assert not other.resume(settled)
    assert other.next() > used


@pytest.mark.parametrize("content", [b"", b"-5", b"nonsense", b"9" * 19, b"9" * 40, b"\xff\x00"])
def test_a_file_that_makes_no_sense_is_the_same_as_none(tmp_path: Path, clock: Clock, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    number = begun(tmp_path, clock).next()
    assert NOW * SECOND <= number <= NOW * SECOND + 10 or number > int(content)
    assert number <= MAX_MODSEQ


def test_two_processes_agree_by_the_clock(tmp_path: Path, clock: Clock) -> None:
    one, other = begun(tmp_path, clock), begun(tmp_path, clock)
    first = one.next()
    clock.now += 0.01
    second = other.next()
    clock.now += 0.01
    third = one.next()
    assert first < second < third
