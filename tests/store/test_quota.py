"""Quotas in the store: who is refused, what is counted, and what the log says."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from transcripts import result

from mailstack.errors import Problem, Refused
from mailstack.ports import AccountName, Change, Delivery, NewMessage
from mailstack.quota import Quota, QuotaLimit
from mailstack.store.api import Store
from mailstack.store.maildir import maildirsize
from mailstack.store.workers import InlineWorkers
from mailstack.testing.log import RecordingLog

T = TypeVar("T")
ALICE, BOB = AccountName("alice@example.org"), AccountName("bob@example.org")
MESSAGE = b"Subject: one\r\n\r\n" + b"x" * 84  # 100 octets


def got(coroutine: Coroutine[Any, Any, T]) -> T:
    found: T = result(coroutine)
    return found


class Limits:
    """Alice has a limit, nobody else."""

    def __init__(self) -> None:
        self.grace = False
        self.alice = QuotaLimit(1000, 8)
        self.refreshed = 0

    def refresh(self) -> None:
        self.refreshed += 1

    def limit(self, account: AccountName) -> QuotaLimit:
        return self.alice if account == ALICE else QuotaLimit()


class Nobody:
    def changed(self, change: Change) -> None:
        pass


class Rig:
    def __init__(self, data: Path) -> None:
        self.log = RecordingLog()
        self.limits = Limits()
        self.store = Store(data, InlineWorkers(), self.log)
        self.store.quotas.use(self.limits)
        self.path = self.store.path_of(ALICE)

    def blob(self, size: int) -> Any:
        sink = self.store.spool.sink()
        got(sink.write((MESSAGE * (size // 100 + 1))[:size]))
        return got(sink.finish())

    def deliver(self, size: int, account: AccountName = ALICE, **more: Any) -> Problem | None:
        blob = self.blob(size)
        (answer,) = got(self.store.deliver(blob, [Delivery(account, "INBOX", b"", **more)]))
        blob.discard()
        return answer

    def append(self, *sizes: int, mailbox: str = "INBOX") -> tuple[int, ...]:
        blobs = [self.blob(size) for size in sizes]
        try:
            return got(self.account.append(mailbox, [NewMessage(blob) for blob in blobs])).uids
        finally:
            for blob in blobs:
                blob.discard()

    def open(self, name: str = "INBOX") -> Any:
        return got(self.account.open(name, Nobody()))

    @property
    def account(self) -> Any:
        return got(self.store.account(ALICE))

    @property
    def used(self) -> tuple[int, int]:
        """By the books, which must be right."""
        quota = got(self.account.quota())
        assert (quota.octets, quota.messages) == maildirsize.count(self.path)
        assert quota.limit is self.limits.alice
        return quota.octets, quota.messages


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    got(made.store.close())
    assert not made.log.failures


def over_quota(call: Callable[[], Any]) -> None:
    with pytest.raises(Refused) as info:
        call()
    assert info.value.problem is Problem.OVER_QUOTA


def test_a_delivery_that_does_not_fit_is_refused(rig: Rig) -> None:
    assert rig.deliver(600) is None
    assert rig.deliver(401) is Problem.OVER_QUOTA
    assert rig.deliver(400) is None
    assert rig.deliver(1) is Problem.OVER_QUOTA
    assert rig.used == (1000, 2)
    assert rig.deliver(5000, BOB) is None
    assert "delivery failed" not in rig.log.whats(), "the sender is told, and it is no trouble of ours"


def test_a_delivery_that_must_be_is_counted(rig: Rig) -> None:
    assert rig.deliver(5000, over_quota=True) is None
    assert rig.used == (5000, 1)
    assert rig.deliver(1) is Problem.OVER_QUOTA


def test_grace_is_for_deliveries_alone(rig: Rig) -> None:
    rig.limits.grace = True
    over_quota(lambda: rig.append(5000))
    assert got(rig.store.has_room(ALICE, 5000))
    assert rig.deliver(5000) is None
    assert rig.deliver(1) is Problem.OVER_QUOTA
    assert not got(rig.store.has_room(ALICE, 0))
    assert rig.used == (5000, 1)


def test_whether_there_is_room(rig: Rig) -> None:
    assert got(rig.store.has_room(ALICE, 1000))
    assert not got(rig.store.has_room(ALICE, 1001))
    rig.append(*[100] * 7)
    assert got(rig.store.has_room(ALICE, 300))
    assert not got(rig.store.has_room(ALICE, 301))
    rig.append(0)
    assert not got(rig.store.has_room(ALICE, 0)), "eight messages are all"
    assert got(rig.store.has_room(BOB, 10**15))
    assert not rig.store.path_of(BOB).exists()


def test_append_is_all_or_nothing(rig: Rig) -> None:
    over_quota(lambda: rig.append(500, 501))
    assert rig.used == (0, 0)
    assert rig.append(500, 500) == (1, 2)
    over_quota(lambda: rig.append(1))
    assert rig.used == (1000, 2)


def test_copies_count_and_moves_are_never_refused(rig: Rig) -> None:
    uids = rig.append(300, 300)
    inbox = rig.open()
    over_quota(lambda: got(inbox.copy(uids, "Archive")))
    got(inbox.copy(uids[:1], "Archive"))
    assert rig.used == (900, 3)
    assert rig.deliver(100) is None
    assert got(inbox.move(inbox.uids, "Trash", None)).source == (1, 2, 3)
    assert rig.used == (1000, 4)
    assert "account nearly full" in rig.log.whats("warning")


def test_a_copy_of_vanished_messages_is_not_counted(rig: Rig) -> None:
    rig.limits.alice = QuotaLimit(5000, 0)
    uids = rig.append(300, 300)
    inbox = rig.open()
    min((rig.path / "cur").iterdir()).unlink()
    assert got(inbox.copy(uids, "Archive")).source == (2,)
    assert got(rig.account.quota()).octets == 900, "what another program took is not known yet"
    rig.account.ledger.recalculate()
    assert rig.used == (600, 2)


def test_what_is_expunged_makes_room(rig: Rig) -> None:
    uids = rig.append(400, 300, 300)
    inbox = rig.open()
    assert list(got(inbox.expunge([*uids[:2], 99], None))) == list(uids[:2])
    assert rig.used == (300, 1)
    got(inbox.expunge(uids, None))
    assert rig.used == (0, 0)
    assert rig.deliver(1000) is None


def test_a_deleted_mailbox_makes_room(rig: Rig) -> None:
    got(rig.account.create("Old"))
    rig.append(900, mailbox="Old")
    rig.append(100)
    got(rig.account.rename("Old", "Older"))
    assert rig.used == (1000, 2)
    got(rig.account.delete("Older"))
    assert rig.used == (100, 1)


def test_renaming_a_full_inbox_is_a_move(rig: Rig) -> None:
    rig.append(900)
    got(rig.account.rename("INBOX", "All"))
    assert rig.used == (900, 1)


def test_a_delivery_that_fails_is_not_counted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rig.deliver(100) is None

    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    assert rig.deliver(900) is Problem.STORE_UNAVAILABLE
    with pytest.raises(Refused):
        rig.append(900)
    monkeypatch.undo()
    assert rig.used == (100, 1)
    assert rig.deliver(900) is None


def test_books_that_cannot_be_kept_keep_nobody_from_their_mail(rig: Rig) -> None:
    rig.append(0)
    (rig.path / "maildirsize").unlink()
    (rig.path / "maildirsize").mkdir()
    assert rig.deliver(600) is None
    assert rig.deliver(600) is None
    assert rig.append(10)
    assert "quota not counted" in rig.log.whats("warning")
    assert got(rig.account.status("INBOX")).messages == 4
    (rig.path / "maildirsize").rmdir()
    assert rig.used == (1210, 4)


def test_the_log_warns_once_at_ninety_percent(rig: Rig) -> None:
    for size in (500, 399, 1, 50):
        rig.deliver(size)
    (line,) = [line for line in rig.log.lines if line.what == "account nearly full"]
    assert line.fields == {"account": ALICE, "octets": 900, "max_octets": 1000, "messages": 3, "max_messages": 8}
    rig.limits.alice = QuotaLimit(0, 10)
    for _ in range(6):
        rig.deliver(1000)
    lines = [line.fields for line in rig.log.lines if line.what == "account nearly full"][1:]
    assert [(line["messages"], line["max_octets"]) for line in lines] == [(9, None)]


def test_what_other_programs_did_is_found_in_the_background(rig: Rig) -> None:
    rig.append(100)
    (rig.path / "maildirsize").write_bytes(b"1000S,8C\n700 7\n")
    rig.store.quotas.use(rig.limits)  # as after a restart
    assert rig.deliver(100) is None
    (line,) = [line for line in rig.log.lines if line.what == "quota counted anew"]
    assert (line.fields["octets_before"], line.fields["octets"]) == (800, 200)
    assert rig.used == (200, 2)
    rig.deliver(100)
    assert rig.log.whats().count("quota counted anew") == 1


def test_without_a_limit_nothing_is_kept(rig: Rig) -> None:
    rig.limits.alice = QuotaLimit()
    rig.append(5000)
    rig.deliver(5000)
    got(rig.open().expunge([1], None))
    assert not (rig.path / "maildirsize").exists()
    assert rig.used == (5000, 1)
    rig.limits.alice = QuotaLimit(1000, 0)
    assert rig.deliver(1) is Problem.OVER_QUOTA
    assert rig.used == (5000, 1)


def test_limits_are_looked_up_before_imap_is_refused(rig: Rig) -> None:
    before = rig.limits.refreshed
    rig.append(10)
    assert rig.limits.refreshed == before + 1


def test_a_quota_says_what_takes_what() -> None:
    assert not QuotaLimit()
    assert QuotaLimit(1, 0) and QuotaLimit(0, 1)
    assert QuotaLimit().takes(10**18, 10**9)
    assert QuotaLimit(5, 0).takes(5, 10**9) and not QuotaLimit(5, 0).takes(6, 0)
    assert not QuotaLimit(0, 2).takes(0, 3)
    assert Quota(1, 2, QuotaLimit()) == Quota(1, 2, QuotaLimit())
