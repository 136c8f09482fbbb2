"""Shared mailboxes on disk: who shares what with whom, quotas, copies between accounts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transcripts import result

from mailstack.acl import Acl, changed
from mailstack.auth.anyone import AnyLimits
from mailstack.errors import Problem, Refused
from mailstack.ports import AccountName, Change, Flag, FlagAction, Flags, NewMessage
from mailstack.quota import QuotaLimit
from mailstack.store.acls import FILE, StoredAcls, gather
from mailstack.store.api import Store
from mailstack.store.backup.restore import restore
from mailstack.store.maildir import acl_file
from mailstack.store.maildir.attributes import AttributeFile
from mailstack.store.sharing import SharingStore
from mailstack.store.workers import InlineWorkers
from mailstack.testing.log import RecordingLog

ALICE, BOB = AccountName("alice@example.org"), AccountName("bob@example.org")
WORK = f"Other Users/{ALICE}/Work"
OCTETS = b"Subject: one\r\n\r\nbody\r\n"


class Listener:
    def changed(self, change: Change) -> None:
        pass


class World:
    """Alice's mailbox Work, and Bob."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.store = Store(data, InlineWorkers(), RecordingLog())
        self.store.quotas.use(AnyLimits())
        self.acls = StoredAcls(self.store)
        self.sharing = SharingStore(self.store, self.acls)
        self.alice, self.bob = self.user(ALICE), self.user(BOB)
        result(self.alice.create("Work"))

    def user(self, name: AccountName) -> Any:
        return result(self.sharing.account(name))

    def give(self, rights: str, mailbox: str = "Work", who: str = BOB) -> None:
        result(self.alice.access.change(mailbox, who, lambda _: frozenset(rights)))

    def append(self, account: Any, mailbox: str, flags: Flags | None = None) -> int:
        sink = self.store.spool.sink()
        result(sink.write(OCTETS))
        blob = result(sink.finish())
        uids = result(account.append(mailbox, [NewMessage(blob, flags or Flags())])).uids
        blob.discard()
        return int(uids[0])

    @property
    def listed(self) -> dict[bytes, bytes]:
        return dict(AttributeFile(self.data / FILE).read())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    result(world.store.close())


def refused(coroutine: Any) -> Problem:
    with pytest.raises(Refused) as info:
        result(coroutine)
    return info.value.problem


def test_who_shares_is_in_one_file_as_dovecot_has_it(world: World) -> None:
    assert not (world.data / FILE).exists()
    (world.alice.own.path / acl_file.LISTING).write_bytes(b"1 Work\n")
    world.give("lr")
    assert world.listed == {f"shared/shared-boxes/user/{BOB}/{ALICE}".encode(): b"1"}
    assert (world.alice.own.path / ".Work" / acl_file.FILE).read_bytes() == b"user=bob@example.org lr\n"
    assert not (world.alice.own.path / acl_file.LISTING).exists(), "Dovecot makes it again"
    world.give("l", who="anyone")
    assert f"shared/shared-boxes/anyone/{ALICE}".encode() in world.listed
    result(world.alice.rename("Work", "Play"))
    assert len(world.listed) == 2
    result(world.alice.delete("Play"))
    assert world.listed == {}


def test_only_accounts_that_share_are_looked_at(world: World) -> None:
    world.give("lr")
    for number in range(3):
        result(world.sharing.account(AccountName(f"u{number}@example.org")))
    asked: list[AccountName] = []
    original = world.acls.visible

    async def visible(owner: AccountName, user: AccountName) -> Any:
        asked.append(owner)
        return await original(owner, user)

    world.acls.visible = visible  # type: ignore[method-assign]
    names = [entry.name for entry in result(world.bob.mailboxes())]
    assert names[0] == "INBOX"
    assert WORK in names
    assert asked == [ALICE]


def test_what_another_process_or_dovecot_writes_counts_at_once(world: World) -> None:
    world.give("lr")
    folder = world.alice.own.path / ".Work"
    (folder / acl_file.FILE).write_bytes(b"user=bob@example.org lrswite\n")
    assert result(world.bob.access.rights(WORK)) == frozenset("lrswite")
    (folder / acl_file.FILE).unlink()
    assert refused(world.bob.access.rights(WORK)) is Problem.NO_SUCH_MAILBOX


def test_copies_keep_the_flags_that_may_be_set_and_use_the_owners_quota(world: World) -> None:
    world.give("lrsi")
    uid = world.append(world.bob, "INBOX", Flags(Flag.SEEN | Flag.DELETED, frozenset({"$Mine"})))
    inbox = result(world.bob.open("INBOX", Listener()))
    result(inbox.copy([uid], WORK))
    work = result(world.alice.open("Work", Listener()))
    assert work.flags(1) == Flag.SEEN
    assert list(work.keywords) == []
    result(world.store.set_quota(ALICE, QuotaLimit(0, 1)))
    assert refused(inbox.copy([uid], WORK)) is Problem.OVER_QUOTA
    assert refused(inbox.move([uid], WORK, None)) is Problem.OVER_QUOTA
    assert list(inbox.uids) == [uid]
    result(world.store.set_quota(ALICE, QuotaLimit(0, 2)))
    result(inbox.move([uid], WORK, None))
    assert (list(inbox.uids), list(work.uids)) == ([], [1, 2])
    assert result(world.store.quota(ALICE)).messages == 2


def test_messages_move_out_of_a_shared_mailbox(world: World) -> None:
    uid = world.append(world.alice, "Work", Flags(Flag.FLAGGED))
    world.give("lrte")
    opened = result(world.bob.open(WORK, Listener()))
    copied = result(opened.move([uid], "Trash", None))
    assert list(opened.uids) == []
    trash = result(world.bob.open("Trash", Listener()))
    assert trash.flags(copied.destination[0]) == Flag.FLAGGED


def test_rights_that_are_taken_away_count_at_the_next_look(world: World) -> None:
    uid = world.append(world.alice, "Work")
    world.give("lrs")
    opened = result(world.bob.open(WORK, Listener()))
    result(opened.store_flags([uid], FlagAction.ADD, Flags(Flag.SEEN), None))
    world.give("lr")
    result(opened.refresh())
    assert refused(opened.store_flags([uid], FlagAction.ADD, Flags(Flag.SEEN), None)) is Problem.NOT_PERMITTED
    world.give("l")
    assert refused(opened.refresh()) is Problem.NO_SUCH_MAILBOX


def test_a_new_mailbox_has_the_list_of_its_superior(world: World) -> None:
    world.give("lrk")
    result(world.alice.create("Work/a/b"))
    assert result(world.bob.access.rights(f"{WORK}/a")) == frozenset("lrk")
    assert result(world.bob.access.rights(f"{WORK}/a/b")) == frozenset("lrk")
    result(world.alice.create("Alone"))
    assert refused(world.bob.access.rights(f"Other Users/{ALICE}/Alone")) is Problem.NO_SUCH_MAILBOX


def test_nothing_of_an_account_that_shares_nothing_is_told_or_made(world: World) -> None:
    for name in ("Other Users/carl@example.org/INBOX", "Other Users/carl@example.org", "Other Users/../x/y"):
        assert refused(world.bob.open(name, Listener())) is Problem.NO_SUCH_MAILBOX
    assert not (world.data / "mail" / "carl@example.org").exists()


def test_subscriptions_of_shared_mailboxes(world: World) -> None:
    result(world.bob.subscribe(WORK))
    assert WORK in result(world.user(BOB).subscriptions())
    result(world.bob.unsubscribe(WORK))
    assert WORK not in result(world.user(BOB).subscriptions())


def test_a_list_has_so_many_entries(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailstack.store.acls.MAX_ENTRIES", 3)

    def four(acl: Acl) -> Acl:
        for name in "abcd":
            acl = changed(acl, name, frozenset("l"), negative=False)
        return acl

    assert refused(world.acls.change(ALICE, "Work", four)) is Problem.LIMIT
    assert result(world.acls.acl(ALICE, "Work")) == ()


def test_a_restored_account_shares_as_before(world: World, tmp_path: Path) -> None:
    world.append(world.alice, "Work")
    result(world.alice.annotations.change("Work", {"/shared/comment": b"x"}))
    world.give("lr")
    path = world.alice.own.path
    backup = tmp_path / "backup"
    path.rename(backup)
    (world.data / FILE).unlink()
    assert [done.same_uids for done in restore(backup, path, mailbox="Work", other_account=False, age=0.0)] == [True]
    gather(AttributeFile(world.data / FILE), ALICE, path)
    again = Store(world.data, InlineWorkers(), RecordingLog())
    sharing = SharingStore(again, StoredAcls(again))
    bob = result(sharing.account(BOB))
    assert result(bob.status(WORK)).messages == 1
    assert result(bob.annotations.of(WORK)) == {"/shared/comment": b"x"}
    result(again.close())


def test_who_may_change_some_flags_alone_changes_them_if_nobody_else_has(world: World) -> None:
    """UNCHANGEDSINCE (RFC 7162 §3.1.3), where FLAGS leaves some of the flags as they are."""
    world.give("lrs")
    uids = [world.append(world.alice, "Work", Flags(Flag.FLAGGED)) for _ in range(3)]
    theirs, ours = (result(user.open(name, Listener())) for user, name in ((world.bob, WORK), (world.alice, "Work")))
    known = ours.highest_modseq
    assert theirs.since(known) == known
    result(ours.store_flags([uids[0]], FlagAction.ADD, Flags(Flag.DRAFT), None))
    storing = theirs.store_flags(uids, FlagAction.REPLACE, Flags(Flag.SEEN), None, unchanged_since=known)
    assert result(storing) == [uids[0]]
    assert [ours.flags(uid) for uid in uids] == [
        Flag.FLAGGED | Flag.DRAFT, Flag.FLAGGED | Flag.SEEN, Flag.FLAGGED | Flag.SEEN,
    ]  # fmt: skip
    storing = theirs.store_flags(uids, FlagAction.ADD, Flags(Flag.SEEN), None, unchanged_since=known)
    assert result(storing) == uids[1:], "Seen has changed, and of the first not that"
