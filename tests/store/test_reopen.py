"""A mailbox that is opened again by another process: what is remembered, and what has to be."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from transcripts import result

from mailstack.ports import AccountName, Change, Delivery, Flag, FlagAction, Flags, Mailbox
from mailstack.store.api import Store
from mailstack.store.index import FILE as INDEX
from mailstack.store.maildir import sync as sync_module
from mailstack.store.workers import InlineWorkers
from mailstack.testing.log import RecordingLog

ALICE = AccountName("alice@example.org")


class Quiet:
    def changed(self, change: Change) -> None:
        """It only has the mailbox open."""


class Life:
    """One life of a process on the data."""

    def __init__(self, data: Path) -> None:
        self.log = RecordingLog()
        self.store = Store(data, InlineWorkers(), self.log)
        self.path = data / "mail" / ALICE

    def deliver(self, count: int) -> None:
        for number in range(count):
            sink = self.store.spool.sink()
            result(sink.write(b"Subject: %d\r\n\r\n" % number))
            assert result(self.store.deliver(result(sink.finish()), [Delivery(ALICE, "INBOX", b"")])) == [None]

    def inbox(self) -> Any:
        return result(result(self.store.account(ALICE)).open("INBOX", Quiet()))

    def end(self) -> None:
        result(self.store.close())


def state(inbox: Mailbox) -> tuple[object, ...]:
    columns = inbox.columns(inbox.uids)
    return (
        list(columns.uids),
        list(columns.flags),
        list(columns.modseqs),
        list(columns.dates),
        inbox.uid_validity,
        inbox.uid_next,
        inbox.highest_modseq,
        inbox.mailbox_id,
    )


def settled(data: Path) -> None:
    """As if some time had passed since the last change of the directories."""
    for directory in ("new", "cur"):
        os.utime(data / "mail" / ALICE / directory, (1_700_000_000, 1_700_000_000))


@pytest.fixture
def filled(tmp_path: Path) -> tuple[Path, tuple[object, ...], int]:
    """A mailbox of 20 messages in which something happened; its state, and a mod-sequence from between."""
    life = Life(tmp_path)
    life.deliver(20)
    inbox = life.inbox()
    got_before = inbox.highest_modseq
    result(inbox.store_flags([3, 4], FlagAction.ADD, Flags(Flag.SEEN, frozenset({"Work"})), None))
    result(inbox.expunge([7, 9], None))
    result(inbox.measure(inbox.uids))
    settled(tmp_path)
    result(inbox.refresh())
    before = state(inbox)
    life.end()
    return tmp_path, before, got_before


def test_everything_is_as_it_was_and_no_directory_is_read(
    filled: tuple[Path, tuple[object, ...], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, before, modseq = filled
    monkeypatch.setattr(sync_module._Sync, "look_everywhere", None)  # it would fail if it were called
    life = Life(data)
    inbox = life.inbox()
    assert state(inbox) == before
    assert list(inbox.vanished(modseq) or ()) == [7, 9]
    assert list(inbox.keywords) == ["Work"]
    life.end()


def test_without_the_index_nothing_but_memory_of_the_past_is_lost(filled: tuple[Path, tuple[object, ...], int]) -> None:
    data, before, modseq = filled
    (data / "mail" / ALICE / INDEX).unlink()
    life = Life(data)
    inbox = life.inbox()
    result(inbox.measure(inbox.uids))
    after = state(inbox)
    assert [after[n] for n in (0, 1, 3, 4, 5, 7)] == [before[n] for n in (0, 1, 3, 4, 5, 7)]
    assert inbox.highest_modseq > modseq
    assert inbox.vanished(modseq) is None  # it cannot be ruled out that more vanished
    life.end()


def test_what_was_done_meanwhile_is_noticed(filled: tuple[Path, tuple[object, ...], int]) -> None:
    data, before, modseq = filled
    last = before[6]
    cur = data / "mail" / ALICE / "cur"
    names = sorted(os.listdir(cur))
    (cur / names[0]).unlink()
    (cur / names[5]).rename(cur / (names[5] + "F"))
    life = Life(data)
    inbox = life.inbox()
    assert inbox.flags(6) == Flag.FLAGGED
    assert 1 not in inbox.uids
    assert list(inbox.vanished(last) or ()) == [1]
    assert list(inbox.vanished(modseq) or ()) == [1, 7, 9]
    assert inbox.columns([6]).modseqs[0] == inbox.highest_modseq > last
    assert inbox.columns([8]).modseqs[0] <= last
    life.end()


def test_a_crash_makes_every_message_news(filled: tuple[Path, tuple[object, ...], int]) -> None:
    data, before, _ = filled
    life = Life(data)
    inbox = life.inbox()
    result(inbox.store_flags([5], FlagAction.ADD, Flags(Flag.SEEN), None))
    result(inbox.store_flags([5], FlagAction.REMOVE, Flags(Flag.SEEN), None))
    told = inbox.highest_modseq  # the process is killed here: nothing is saved
    life = Life(data)
    inbox = life.inbox()
    assert inbox.highest_modseq > told
    assert min(inbox.columns(inbox.uids).modseqs) > told
    assert state(inbox)[:2] == before[:2]
    life.end()


def test_an_account_whose_directory_is_removed_is_new(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.deliver(3)
    before = life.inbox().uid_validity
    shutil.rmtree(life.path)
    inbox = life.inbox()
    assert list(inbox.uids) == []
    assert inbox.uid_validity >= before
    life.deliver(1)
    assert list(life.inbox().uids) == [1]
    assert "Sent" in [entry.name for entry in result(result(life.store.account(ALICE)).mailboxes())]
    life.end()
