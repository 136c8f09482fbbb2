"""What sessions rely on, true of the fake store and of the real one alike."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from transcripts import result

from mailstack.errors import Problem, Refused
from mailstack.ports import (
    FIRST_KEYWORD,
    AccountName,
    Added,
    Blob,
    Change,
    Delivery,
    Expunged,
    Flag,
    FlagAction,
    Flags,
    FlagsChanged,
    MailboxGone,
    MailStore,
    NewMessage,
    Spool,
    Wanted,
)
from mailstack.quota import Quota, QuotaLimit
from mailstack.store.api import Store
from mailstack.store.workers import InlineWorkers
from mailstack.testing.log import RecordingLog
from mailstack.testing.store import MemorySpool, MemoryStore

T = TypeVar("T")
ALICE = AccountName("alice@example.org")
OCTETS = b"Subject: one\r\n\r\nbody\r\n"


def got(coroutine: Coroutine[Any, Any, T]) -> T:
    """Its result; none of the stores waits here."""
    found: T = result(coroutine)
    return found


class Both:
    """A store and its spool."""

    def __init__(self, store: MailStore, spool: Spool) -> None:
        self.store = store
        self.spool = spool

    def blob(self, octets: bytes = OCTETS) -> Blob:
        sink = self.spool.sink()
        got(sink.write(octets))
        return got(sink.finish())

    def append(self, mailbox: str = "INBOX", octets: bytes = OCTETS, flags: Flags | None = None) -> int:
        blob = self.blob(octets)
        appended = got(self.account.append(mailbox, [NewMessage(blob, flags or Flags(), 1_000_000_000.0)]))
        blob.discard()
        return appended.uids[0]

    def deliver(self, mailbox: str = "INBOX") -> Problem | None:
        blob = self.blob()
        (answer,) = got(self.store.deliver(blob, [Delivery(ALICE, mailbox, b"Return-Path: <>\r\n")]))
        blob.discard()
        return answer

    @property
    def account(self) -> Any:
        return got(self.store.account(ALICE))

    def limit(self, octets: int, messages: int) -> None:
        """Alice's quota from now on."""
        limit = QuotaLimit(octets, messages)
        if isinstance(self.store, Store):
            self.store.quotas.use(OneLimit(limit))
        else:
            self.account.limit = limit


class OneLimit:
    """Everybody may use as much."""

    grace = False

    def __init__(self, limit: QuotaLimit) -> None:
        self._limit = limit

    def refresh(self) -> None:
        pass

    def limit(self, account: AccountName) -> QuotaLimit:
        return self._limit

    def knows(self, account: AccountName) -> bool:
        return True

    def set_limit(self, account: AccountName, limit: QuotaLimit) -> None:
        self._limit = limit


class Listener:
    """Remembers what changed."""

    def __init__(self) -> None:
        self.heard: list[Change] = []

    def changed(self, change: Change) -> None:
        self.heard.append(change)


@pytest.fixture(params=["memory", "maildir"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "memory":
        return Both(MemoryStore(), MemorySpool())
    workers = InlineWorkers()
    store = Store(tmp_path, workers, RecordingLog())
    request.addfinalizer(lambda: got(store.close()))
    return Both(store, store.spool)


def refused(problem: Problem, call: Callable[[], Any]) -> None:
    with pytest.raises(Refused) as info:
        call()
    assert info.value.problem is problem


def test_a_new_account_has_inbox_first_and_special_folders(both: Both) -> None:
    entries = got(both.account.mailboxes())
    assert entries[0].name == "INBOX"
    assert [entry.name for entry in entries[1:]] == sorted(entry.name for entry in entries[1:])
    assert {"\\Sent", "\\Drafts", "\\Trash", "\\Junk"} <= {entry.special_use for entry in entries}


def test_a_delivery_is_heard_and_read(both: Both) -> None:
    listener = Listener()
    inbox = got(both.account.open("inbox", listener))
    assert both.deliver() is None
    assert listener.heard == [Added((1,))]
    assert list(inbox.uids) == [1]
    assert inbox.uid_next == 2
    assert inbox.claim_recent() == {1}
    assert inbox.claim_recent() == frozenset()
    got(inbox.measure([1]))
    whole = b"Return-Path: <>\r\n" + OCTETS
    assert inbox.size(1) == len(whole)
    assert got(inbox.read(1, 0, 1000)) == whole
    assert got(inbox.examine([1, 7], lambda octets: octets[8:12])) == [whole[8:12], None]


def test_a_delivery_to_a_missing_mailbox_falls_back_to_inbox(both: Both) -> None:
    assert both.deliver("Nowhere") is None
    assert got(both.account.status("INBOX")).messages == 1


def test_flags_and_keywords(both: Both) -> None:
    mine, other = Listener(), Listener()
    uid = both.append(flags=Flags(Flag.SEEN, frozenset({"$Old"})))
    inbox = got(both.account.open("INBOX", mine))
    got(both.account.open("INBOX", other))
    assert inbox.flags(uid) == Flag.SEEN | 1 << FIRST_KEYWORD
    got(inbox.store_flags([uid, 99], FlagAction.ADD, Flags(Flag.FLAGGED, frozenset({"$old", "New"})), mine))
    assert list(inbox.keywords) == ["$Old", "New"]
    assert inbox.flags(uid) == Flag.SEEN | Flag.FLAGGED | 3 << FIRST_KEYWORD
    assert mine.heard == other.heard == [FlagsChanged((uid,), mine)]
    got(inbox.store_flags([uid], FlagAction.ADD, Flags(Flag.FLAGGED), mine))
    assert len(mine.heard) == 1, "nothing changed"
    got(inbox.store_flags([uid], FlagAction.REMOVE, Flags(Flag.SEEN), None))
    got(inbox.store_flags([uid], FlagAction.REPLACE, Flags(Flag.DELETED), None))
    assert inbox.flags(uid) == Flag.DELETED
    assert inbox.flags(99) is None


def test_too_many_keywords(both: Both) -> None:
    uid = both.append()
    inbox = got(both.account.open("INBOX", Listener()))
    got(inbox.store_flags([uid], FlagAction.ADD, Flags(keywords=frozenset(f"k{i}" for i in range(26))), None))
    refused(
        Problem.TOO_MANY_KEYWORDS,
        lambda: got(inbox.store_flags([uid], FlagAction.ADD, Flags(keywords=frozenset({"more"})), None)),
    )


def test_expunge_keeps_uids_unique(both: Both) -> None:
    listener = Listener()
    uids = [both.append() for _ in range(3)]
    inbox = got(both.account.open("INBOX", listener))
    snapshot = list(inbox.uids)
    assert list(got(inbox.expunge([uids[1], uids[2], 99], listener))) == uids[1:]
    assert list(snapshot) == uids
    assert list(inbox.uids) == uids[:1]
    assert listener.heard == [Expunged((uids[1], uids[2]), listener)]
    assert inbox.size(uids[2]) is None
    assert got(inbox.read(uids[2], 0, 10)) is None
    assert both.append() == uids[2] + 1


def test_copy_and_move(both: Both) -> None:
    uids = [both.append(flags=Flags(Flag.SEEN, frozenset({"Key"}))) for _ in range(2)]
    inbox = got(both.account.open("INBOX", Listener()))
    refused(Problem.NO_SUCH_MAILBOX, lambda: got(inbox.copy(uids, "Nowhere")))
    there = Listener()
    trash = got(both.account.open("Trash", there))
    copied = got(inbox.copy([*uids, 99], "Trash"))
    assert copied.uid_validity == trash.uid_validity
    assert (copied.source, copied.destination) == (tuple(uids), (1, 2))
    assert there.heard == [Added((1, 2))]
    assert trash.flags(1) == Flag.SEEN | 1 << FIRST_KEYWORD
    assert list(trash.keywords) == ["Key"]
    got(trash.measure([1]))
    assert trash.internal_date(1) == 1_000_000_000.0
    moved = got(inbox.move([uids[0]], "Trash", None))
    assert moved.destination == (3,)
    assert list(inbox.uids) == [uids[1]]
    assert list(trash.uids) == [1, 2, 3]


def test_mailboxes_come_and_go(both: Both) -> None:
    account = both.account
    made = got(account.create("Work/2024"))
    assert made
    refused(Problem.MAILBOX_EXISTS, lambda: got(account.create("Work/2024")))
    names = [entry.name for entry in got(account.mailboxes())]
    assert "Work" in names and "Work/2024" in names
    refused(Problem.NO_SUCH_MAILBOX, lambda: got(account.delete("Nowhere")))
    refused(Problem.CANNOT, lambda: got(account.delete("INBOX")))
    listener = Listener()
    uid = both.append("Work/2024")
    box = got(account.open("Work/2024", listener))
    assert box.mailbox_id == made
    got(account.rename("Work", "Play"))
    assert listener.heard[-1] == MailboxGone()
    status = got(account.status("Play/2024"))
    assert (status.messages, status.uid_next, status.mailbox_id) == (1, uid + 1, made)
    refused(Problem.NO_SUCH_MAILBOX, lambda: got(account.status("Work/2024")))
    got(account.delete("Play/2024"))
    refused(Problem.NO_SUCH_MAILBOX, lambda: got(account.open("Play/2024", Listener())))


def test_inbox_is_moved_out_of(both: Both) -> None:
    both.append()
    got(both.account.rename("INBOX", "Old"))
    assert got(both.account.status("INBOX")).messages == 0
    assert got(both.account.status("Old")).messages == 1


def test_a_mailbox_made_again_is_another_one(both: Both) -> None:
    got(both.account.create("Again"))
    first = got(both.account.status("Again"))
    got(both.account.delete("Again"))
    got(both.account.create("Again"))
    second = got(both.account.status("Again"))
    assert second.mailbox_id != first.mailbox_id
    assert second.uid_validity != first.uid_validity


def test_status_counts(both: Both) -> None:
    both.append(flags=Flags(Flag.SEEN | Flag.DELETED))
    both.append()
    status = got(both.account.status("INBOX"))
    assert (status.messages, status.unseen, status.deleted, status.size) == (2, 1, 1, 2 * len(OCTETS))


def test_subscriptions(both: Both) -> None:
    got(both.account.subscribe("inbox"))
    got(both.account.subscribe("Not/There"))
    assert {"INBOX", "Not/There"} <= set(got(both.account.subscriptions()))
    got(both.account.unsubscribe("Not/There"))
    assert "Not/There" not in got(both.account.subscriptions())


def test_a_closed_listener_hears_nothing(both: Both) -> None:
    listener = Listener()
    inbox = got(both.account.open("INBOX", listener))
    inbox.close(listener)
    inbox.close(listener)
    both.deliver()
    assert listener.heard == []


def test_every_change_has_a_higher_mod_sequence(both: Both) -> None:
    uids = [both.append() for _ in range(3)]
    inbox = got(both.account.open("INBOX", Listener()))
    before = inbox.highest_modseq
    assert max(inbox.columns(uids).modseqs) <= before
    got(inbox.store_flags([uids[0]], FlagAction.ADD, Flags(Flag.SEEN), None))
    assert inbox.columns([uids[0]]).modseqs[0] == inbox.highest_modseq > before
    assert max(inbox.columns(uids[1:]).modseqs) <= before
    between = inbox.highest_modseq
    got(inbox.expunge([uids[1]], None))
    assert inbox.highest_modseq > between
    assert list(inbox.vanished(between) or ()) == [uids[1]]
    assert list(inbox.vanished(inbox.highest_modseq) or ()) == []
    both.append()
    assert inbox.columns(inbox.uids).modseqs[-1] == inbox.highest_modseq
    got(inbox.store_flags([uids[0]], FlagAction.ADD, Flags(Flag.SEEN), None))
    assert inbox.columns([uids[0]]).modseqs[0] == between  # nothing changed


def test_another_flag_that_changed_does_not_fail_unchanged_since(both: Both) -> None:
    uids = [both.append() for _ in range(3)]
    inbox = got(both.account.open("INBOX", Listener()))
    before = inbox.highest_modseq
    got(inbox.store_flags(uids[:2], FlagAction.ADD, Flags(Flag.SEEN), None))
    new = both.append()

    def store(action: FlagAction, flags: Flags, since: int = before) -> list[int]:
        return list(got(inbox.store_flags([*uids, new], action, flags, None, unchanged_since=since)))

    assert store(FlagAction.ADD, Flags(Flag.SEEN)) == [*uids[:2], new]
    assert store(FlagAction.ADD, Flags(Flag.FLAGGED, frozenset({"$K"}))) == [new]
    assert store(FlagAction.REMOVE, Flags(Flag.ANSWERED)) == [new]
    assert store(FlagAction.REMOVE, Flags(Flag.FLAGGED)) == [*uids, new], "that one has changed meanwhile"
    assert store(FlagAction.REPLACE, Flags(Flag.DRAFT)) == [*uids, new]
    assert store(FlagAction.ADD, Flags(Flag.DRAFT), 0) == [*uids, new]
    assert store(FlagAction.REPLACE, Flags(Flag.DRAFT), inbox.highest_modseq) == []


def test_columns_are_those_of_the_messages_that_are_there(both: Both) -> None:
    uids = [both.append(octets=OCTETS * (n + 1), flags=Flags(Flag(n))) for n in range(4)]
    inbox = got(both.account.open("INBOX", Listener()))
    got(inbox.expunge([uids[1]], None))
    got(inbox.measure(uids))
    found = inbox.columns([*uids, 99])
    assert list(found.uids) == [uids[0], uids[2], uids[3]]
    assert list(found.flags) == [0, 2, 3]
    assert list(found.sizes) == [len(OCTETS) * n for n in (1, 3, 4)]
    assert list(found.dates) == [1_000_000_000] * 3
    assert [len(column) for column in (found.modseqs, inbox.columns([]).uids)] == [3, 0]
    assert inbox.save_date(uids[0]) is not None
    assert inbox.save_date(99) is None


def test_what_is_derived_of_a_message_is_made_of_its_octets(both: Both) -> None:
    uids = [both.append(octets=b"Subject: %d\r\n\r\n" % n) for n in range(120)]
    inbox = got(both.account.open("INBOX", Listener()))
    asked: list[int] = []

    def subject(octets: Any) -> bytes:
        asked.append(1)
        return bytes(octets[9 : len(octets) - 4])

    wanted: list[bytes] = [b"%d" % n for n in range(120)]
    assert got(inbox.derive(uids, "subject 1", subject)) == wanted
    assert len(asked) == 120
    assert got(inbox.derive([*uids[50:], 999], "subject 1", subject)) == [*wanted[50:], None]
    assert got(inbox.derive(uids[:2], "another 1", lambda octets: b"x")) == [b"x", b"x"]
    for count in (120, 120, 50):
        asking = Wanted(b"1", b"10", b"19", lambda value: value != b"12")
        found = got(inbox.grep([*uids[:count], 999], "subject 1", subject, asking))
        assert found == [uid for uid, value in zip(uids[:count], wanted, strict=False) if asking.matches(value)]
        assert len(found) == (29 if count == 120 else 9)
    got(inbox.expunge([uids[10]], None))
    assert got(inbox.grep(uids[:12], "subject 1", subject, Wanted(b"1"))) == [uids[1], uids[11]]


def test_a_mailbox_is_deleted_from_above_its_inferiors(both: Both) -> None:
    got(both.account.create("up/down"))
    uid = both.append("up")
    got(both.account.delete("up"))
    entries = {entry.name: entry.selectable for entry in got(both.account.mailboxes())}
    assert entries["up/down"]
    assert not entries.get("up", False)
    refused(Problem.NO_SUCH_MAILBOX, lambda: got(both.account.open("up", Listener())))
    refused(Problem.MAILBOX_HAS_CHILDREN, lambda: got(both.account.delete("up")))
    got(both.account.create("up"))
    inbox = got(both.account.open("up", Listener()))
    assert uid not in inbox.uids


def test_what_was_appended_or_copied_is_recent(both: Both) -> None:
    uid = both.append()
    inbox = got(both.account.open("INBOX", Listener()))
    assert inbox.claim_recent() == {uid}
    copied = got(inbox.copy([uid], "Trash"))
    trash = got(both.account.open("Trash", Listener()))
    assert trash.claim_recent() == set(copied.destination)


def test_quota_is_what_all_mailboxes_use(both: Both) -> None:
    both.append(octets=b"12345\r\n")
    both.append("Trash", octets=b"123\r\n")
    assert got(both.account.quota()) == Quota(12, 2, QuotaLimit())
    both.limit(100, 3)
    assert got(both.account.quota()) == Quota(12, 2, QuotaLimit(100, 3))


def test_who_is_full_gets_nothing_more_and_may_tidy_up(both: Both) -> None:
    size = len(OCTETS)
    both.limit(2 * size, 0)
    uids = [both.append(), both.append()]
    inbox = got(both.account.open("INBOX", Listener()))
    refused(Problem.OVER_QUOTA, both.append)
    refused(Problem.OVER_QUOTA, lambda: got(inbox.copy(uids, "Trash")))
    assert both.deliver() is Problem.OVER_QUOTA
    assert got(both.account.quota()) == Quota(2 * size, 2, QuotaLimit(2 * size, 0))
    moved = got(inbox.move(uids, "Trash", None))
    assert moved.source == tuple(uids)
    trash = got(both.account.open("Trash", Listener()))
    got(trash.expunge([1], None))
    assert got(both.account.quota()) == Quota(size, 1, QuotaLimit(2 * size, 0))
    assert both.append() == uids[-1] + 1


def test_a_delivery_may_go_over_the_quota(both: Both) -> None:
    both.limit(10, 0)
    blob = both.blob()
    deliveries = [Delivery(ALICE, "INBOX", b""), Delivery(ALICE, "INBOX", b"", over_quota=True)]
    assert got(both.store.deliver(blob, deliveries)) == [Problem.OVER_QUOTA, None]
    blob.discard()
    assert got(both.account.quota()) == Quota(len(OCTETS), 1, QuotaLimit(10, 0))


def test_room_for_a_message(both: Both) -> None:
    both.limit(100, 2)
    both.append(octets=b"x" * 60)
    assert [got(both.store.has_room(ALICE, size)) for size in (0, 40, 41)] == [True, True, False]
    both.append(octets=b"x")
    assert not got(both.store.has_room(ALICE, 0))
    both.limit(0, 0)
    assert got(both.store.has_room(ALICE, 10**12))


def test_a_message_takes_another_s_place_and_room(both: Both) -> None:
    first = both.append()
    both.limit(len(OCTETS) + 5, 1)
    seen = Listener()
    mailbox = got(both.account.open("INBOX", seen))
    blob = both.blob(OCTETS + b"12345")
    appended = got(mailbox.replace(first, "INBOX", NewMessage(blob, Flags(Flag.SEEN)), None))
    assert list(mailbox.uids) == list(appended.uids) == [first + 1]
    assert mailbox.flags(first + 1) == Flag.SEEN
    assert [type(change) for change in seen.heard] == [Added, Expunged]
    assert got(both.account.quota()) == Quota(len(OCTETS) + 5, 1, QuotaLimit(len(OCTETS) + 5, 1))


def test_what_cannot_be_replaced_stays(both: Both) -> None:
    first = both.append()
    mailbox = got(both.account.open("INBOX", Listener()))
    blob = both.blob(OCTETS + b"12345")
    message = NewMessage(blob, Flags())
    for uid, destination, problem in (
        (first + 7, "INBOX", Problem.NO_SUCH_MESSAGE),
        (first, "None", Problem.NO_SUCH_MAILBOX),
    ):
        with pytest.raises(Refused) as refused:
            got(mailbox.replace(uid, destination, message, None))
        assert refused.value.problem is problem
    both.limit(len(OCTETS) + 4, 0)
    with pytest.raises(Refused) as refused:
        got(mailbox.replace(first, "Trash", message, None))
    assert refused.value.problem is Problem.OVER_QUOTA
    assert list(mailbox.uids) == [first]
    assert got(both.account.status("Trash")).messages == 0
    assert got(both.account.quota()).octets == len(OCTETS)


def test_access_keys_are_made_when_asked_for_by_the_owner_only(both: Both) -> None:
    assert got(both.store.access_key(ALICE, "INBOX")) is None
    inbox, trash = got(both.account.access_key("inbox")), got(both.account.access_key("Trash"))
    assert inbox != trash
    assert got(both.account.access_key("INBOX")) == got(both.store.access_key(ALICE, "INBOX")) == inbox
    assert got(both.account.access_key("INBOX", renew=True)) != inbox
    assert got(both.store.access_key(ALICE, "Trash")) == trash
    assert got(both.store.access_key(AccountName("nobody@example.org"), "INBOX")) is None
    with pytest.raises(Refused) as refused:
        got(both.account.access_key("None"))
    assert refused.value.problem is Problem.NO_SUCH_MAILBOX
    got(both.account.forget_access_keys())
    assert got(both.store.access_key(ALICE, "Trash")) is None
