"""Messages that expire: which, how clients hear of it, and that nobody waits for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from transcripts import result
from twisted.internet.defer import Deferred

from mailstack.config.sections import Retention
from mailstack.ports import AccountName, Added, Change, Columns, Expunged, Flag, Flags, NewMessage
from mailstack.quota import QuotaLimit
from mailstack.retention import matches, rules_for
from mailstack.store import expiry
from mailstack.store.account_directory import accounts
from mailstack.store.api import Store
from mailstack.store.columns import NO_DATE
from mailstack.store.expiry import DAY, Expired, Expiry, due
from mailstack.store.workers import InlineWorkers
from mailstack.testing.clock import ManualClock
from mailstack.testing.log import RecordingLog

T = TypeVar("T")
ALICE, BOB = AccountName("alice@example.org"), AccountName("bob@example.net")
NOW = 1_700_000_000.0
NOTHING = Flag(0)
TRASH_30 = Retention("Trash", days=30)


def got(coroutine: Coroutine[Any, Any, T]) -> T:
    found: T = result(coroutine)
    return found


class Impatient(ManualClock):
    """Sleeps for no time."""

    def __init__(self) -> None:
        super().__init__(NOW)
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Listener:
    def __init__(self) -> None:
        self.heard: list[Change] = []

    def changed(self, change: Change) -> None:
        self.heard.append(change)


class Rig:
    def __init__(self, data: Path) -> None:
        self.log = RecordingLog()
        self.store = Store(data, InlineWorkers(), self.log)
        self.clock = Impatient()

    def put(self, account: AccountName, mailbox: str, *days: float, flags: Flag = NOTHING) -> None:
        """Messages that are so many days old."""
        sink = self.store.spool.sink()
        got(sink.write(b"Subject: x\r\n\r\nx\r\n"))
        blob = got(sink.finish())
        messages = [NewMessage(blob, Flags(flags), NOW - age * DAY) for age in days]
        got(got(self.store.account(account)).append(mailbox, messages))
        blob.discard()

    def sweep(self, *rules: Retention, only: Sequence[AccountName] = (), dry_run: bool = False) -> list[Expired]:
        return got(Expiry(self.store, rules, self.clock).sweep(only, dry_run=dry_run))

    def left(self, account: AccountName, mailbox: str) -> list[int]:
        return list(got(got(self.store.account(account)).open(mailbox, Listener())).uids)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    got(made.store.close())
    assert not made.log.failures


def columns(*rows: tuple[int, float]) -> Columns:
    """Flags and age in days of messages 1, 2, …"""
    dates = [NO_DATE if age < 0 else int(NOW - age * DAY) for _, age in rows]
    return Columns(range(1, len(rows) + 1), [flags for flags, _ in rows], [1] * len(rows), [1] * len(rows), dates)


@pytest.mark.parametrize(
    ("rule", "uids"),
    [
        (Retention("x", days=30), [1]),
        (Retention("x", days=30, keep_flagged=False), [1, 2]),
        (Retention("x", days=1000), []),
        (Retention("x", days=29), [1, 4]),
        (Retention("x", messages=2), [1, 3]),
        (Retention("x", messages=2, keep_flagged=False), [1, 2, 3]),
        (Retention("x", messages=5), []),
        (Retention("x", days=40, messages=4), [1]),
    ],
)
def test_which_are_due(rule: Retention, uids: list[int]) -> None:
    # The fourth is 30 days old to the second; the date of the fifth could not be looked up.
    assert due([rule], columns((0, 50), (Flag.FLAGGED, 50), (0, 1), (0, 30), (0, -1)), NOW) == uids


def test_all_rules_that_match_are_applied() -> None:
    rules = [Retention("x", days=40), Retention("x", messages=2)]
    assert due(rules, columns((0, 1), (0, 50), (0, 2), (0, 3)), NOW) == [1, 2]


@pytest.mark.parametrize(
    ("pattern", "name", "meant"),
    [
        ("*", "anything/at all", True),
        ("Trash", "Trash", True),
        ("Trash", "Trash/2024", False),
        ("Trash", "trash", False),
        ("Archive/*", "Archive/2024/01", True),
        ("Archive/*", "Archive", False),
        ("*@example.org", "alice@example.org", True),
        ("*@example.org", "alice@example.org.evil", False),
        ("[ab]?", "[ab]?", True),
        ("[ab]?", "ax", False),
    ],
)
def test_patterns(pattern: str, name: str, meant: bool) -> None:
    assert matches(pattern, name) is meant


def test_accounts_are_meant_in_any_case_and_so_is_inbox() -> None:
    rules = [Retention("inbox", account="*@Example.ORG", days=1), Retention("Junk", days=1)]
    assert rules_for(rules, ALICE, "INBOX") == rules[:1]
    assert rules_for(rules, BOB, "INBOX") == []
    assert rules_for(rules, BOB, "Junk") == rules[1:]


def test_what_is_due_goes_and_the_rest_stays(rig: Rig) -> None:
    rig.put(ALICE, "Trash", 100, 31, 29)
    rig.put(ALICE, "Trash", 100, flags=Flag.FLAGGED)
    rig.put(ALICE, "INBOX", 100)
    rig.put(BOB, "Trash", 31, 31)
    assert rig.sweep(TRASH_30) == [Expired(ALICE, "Trash", 2), Expired(BOB, "Trash", 2)]
    assert rig.left(ALICE, "Trash") == [3, 4]
    assert rig.left(ALICE, "INBOX") == [1]
    assert rig.left(BOB, "Trash") == []
    lines = [line.fields for line in rig.log.lines if line.what == "mail expired"]
    assert lines[0] == {"account": ALICE, "mailbox": "Trash", "messages": 2}
    assert len(lines) == 2
    assert rig.sweep(TRASH_30) == []


def test_a_dry_run_expires_nothing(rig: Rig) -> None:
    rig.put(ALICE, "Trash", 31, 31, 1)
    assert rig.sweep(TRASH_30, dry_run=True) == [Expired(ALICE, "Trash", 2)]
    assert rig.left(ALICE, "Trash") == [1, 2, 3]
    assert rig.log.whats() == []


def test_only_the_accounts_that_are_asked_for(rig: Rig) -> None:
    for account in (ALICE, BOB):
        rig.put(account, "Trash", 31)
    assert rig.sweep(TRASH_30, only=[BOB]) == [Expired(BOB, "Trash", 1)]
    assert rig.sweep(Retention("Trash", account="b*", days=1)) == []


def test_the_newest_stay_and_new_mail_counts(rig: Rig) -> None:
    rig.put(ALICE, "INBOX", *[1] * 5)
    (rig.store.path_of(ALICE) / "new" / "1700000001.M1.host").write_bytes(b"Subject: x\n\nx\n")
    assert rig.sweep(Retention("*", messages=3)) == [Expired(ALICE, "INBOX", 3)]
    assert rig.left(ALICE, "INBOX") == [4, 5, 6]


def test_who_has_the_mailbox_open_hears_of_it(rig: Rig) -> None:
    rig.put(ALICE, "Trash", 31, 31, 1)
    listener = Listener()
    trash = got(got(rig.store.account(ALICE)).open("Trash", listener))
    rig.sweep(TRASH_30)
    assert listener.heard == [Expunged((1, 2), None)]
    assert list(trash.uids) == [3]
    rig.put(ALICE, "Trash", 1)
    assert listener.heard[1:] == [Added((4,))], "it is still open"


def test_it_goes_in_pieces_with_pauses_between(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "PIECE", 2)
    rig.put(ALICE, "Trash", *[31] * 5)
    listener = Listener()
    got(got(rig.store.account(ALICE)).open("Trash", listener))
    rig.sweep(TRASH_30)
    assert [change.uids for change in listener.heard if isinstance(change, Expunged)] == [(1, 2), (3, 4), (5,)]
    assert rig.clock.slept == [expiry.PAUSE] * 4


def test_mailboxes_with_nothing_due_are_not_opened(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.put(ALICE, "Trash", 1, 2)
    rig.put(ALICE, "Trash", 100, flags=Flag.FLAGGED)
    opened: list[str] = []
    original = Expiry._mailbox

    async def noted(self: Expiry, account: AccountName, name: str, *rest: Any) -> int:
        opened.append(name)
        return await original(self, account, name, *rest)

    monkeypatch.setattr(Expiry, "_mailbox", noted)
    assert rig.sweep(Retention("*", days=30, messages=10)) == []
    assert opened == []
    rig.sweep(Retention("*", days=30, keep_flagged=False))
    assert opened == ["Trash"]


def test_what_expires_makes_room(rig: Rig) -> None:
    class Limits:
        grace = False

        def refresh(self) -> None: ...

        def limit(self, account: AccountName) -> QuotaLimit:
            return QuotaLimit(0, 10)

    rig.store.quotas.use(Limits())
    rig.put(ALICE, "Trash", 31, 31)
    rig.sweep(TRASH_30)
    assert got(got(rig.store.account(ALICE)).quota()).messages == 0


def test_a_mailbox_in_trouble_keeps_no_other(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for account in (ALICE, BOB):
        rig.put(account, "Trash", 31)
    monkeypatch.setattr(expiry, "may_be_due", _failing_for(rig.store.path_of(ALICE), expiry.may_be_due))
    assert rig.sweep(TRASH_30) == [Expired(BOB, "Trash", 1)]
    (line,) = [line for line in rig.log.lines if line.what == "expiry failed"]
    assert line.fields["account"] == ALICE


def _failing_for(path: Path, fn: Callable[..., bool]) -> Callable[..., bool]:
    def looked(place: Any, *rest: Any) -> bool:
        if place.path.is_relative_to(path):
            raise OSError(5, "Input/output error", str(place.path))
        return fn(place, *rest)

    return looked


def test_it_looks_again_and_again_until_it_is_stopped(rig: Rig) -> None:
    clock = ManualClock(NOW)
    rig.put(ALICE, "Trash", 29.999)
    keeper = Expiry(rig.store, [TRASH_30], clock)
    keeper.start(60, 3600)
    clock.advance(60.1)
    assert rig.left(ALICE, "Trash") == [1]
    clock.advance(3600.1)
    assert rig.left(ALICE, "Trash") == []
    keeper.rules = [Retention("INBOX", days=1)]
    rig.put(ALICE, "INBOX", 5)
    keeper.wake()
    clock.advance(1)
    assert rig.left(ALICE, "INBOX") == []
    got(keeper.stop())
    rig.put(ALICE, "INBOX", 5)
    clock.advance(1e6)
    assert len(rig.left(ALICE, "INBOX")) == 1


def test_rules_that_change_while_it_works_are_applied_at_once(rig: Rig) -> None:
    clock = ManualClock(NOW)
    for account in (ALICE, BOB):
        rig.put(account, "Trash", 31)
    keeper = Expiry(rig.store, [Retention("Trash", account="b*", days=30)], clock)
    keeper.start(1, 1e6)
    clock.advance(1)
    assert (rig.left(ALICE, "Trash"), rig.left(BOB, "Trash")) == ([1], [])
    keeper.rules = [TRASH_30]  # Alice has been passed over already
    keeper.wake()
    clock.advance(1)
    assert rig.left(ALICE, "Trash") == []
    got(keeper.stop())
    keeper.wake()


def test_it_stops_after_the_piece_under_way(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "PIECE", 2)
    clock = ManualClock(NOW)
    rig.put(ALICE, "Trash", *[31] * 5)
    keeper = Expiry(rig.store, [TRASH_30], clock)
    keeper.start(0, 3600)
    clock.advance(0)
    assert rig.left(ALICE, "Trash") == [3, 4, 5]
    over: list[object] = []
    Deferred.fromCoroutine(keeper.stop()).addBoth(over.append)
    clock.advance(10)
    assert over == [None]
    assert rig.left(ALICE, "Trash") == [3, 4, 5]
    assert [line.fields["messages"] for line in rig.log.lines if line.what == "mail expired"] == [2]


def test_accounts_are_those_with_a_maildir(tmp_path: Path, rig: Rig) -> None:
    rig.put(AccountName("o'neil/x@example.org"), "INBOX", 1)
    (rig.store.mail_path / "lost+found").mkdir()
    (rig.store.mail_path / "note.txt").touch()
    assert accounts(rig.store.mail_path) == ["o'neil/x@example.org"]
    assert os.listdir(rig.store.mail_path / "o'neil%2Fx@example.org")
