"""NOTIFY where a transcript does not reach: limits, what is left behind, trouble half-way."""

from __future__ import annotations

from typing import Any

import pytest
from imap_world import ALICE, Client, World
from transcripts import result

from mailstack.errors import Problem, Refused
from mailstack.imap import notifier
from mailstack.ports import AccountName, Flag, FlagAction, Flags
from mailstack.store.sharing import SharingStore
from mailstack.testing.acls import MemoryAcls


class Shared(World):
    """A world where sessions hear of each other's mailboxes."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = self.store
        self.store = SharingStore(self.memory, MemoryAcls(self.memory))  # type: ignore[assignment]

    def notify(self, groups: bytes, select: bytes = b"") -> Client:
        client = self.log_in(select)
        assert client.lines(b"NOTIFY SET " + groups)[-1].startswith(b"t OK")
        return client

    @property
    def listeners(self) -> int:
        return sum(len(box.listeners) for box in self.memory.of(ALICE).boxes.values())

    @property
    def alice(self) -> Any:
        return result(self.store.account(AccountName(ALICE)))


MESSAGES = b"(MessageNew MessageExpunge)"


def test_too_many_mailboxes_are_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "MAX_WATCHED", 2)
    world = Shared()
    client = world.log_in(b"")
    assert client.lines(b"NOTIFY SET (personal %s)" % MESSAGES)[-1].startswith(b"t NO [NOTIFICATIONOVERFLOW]")
    assert (world.listeners, client.session.notifier) == (0, None)
    client = world.notify(b"(subtree Sent %s)" % MESSAGES)
    for name in ("Sent/a", "Sent/b"):
        result(world.alice.create(name))
    assert client.connection.take().endswith(b"too much to be told of\r\n")
    assert (world.listeners, client.session.notifier) == (0, None)
    assert client.lines(b"NOOP") == [b"t OK NOOP completed"]


def test_too_many_messages_are_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "MAX_WATCHED_MESSAGES", 1)
    world = Shared()
    for _ in range(2):
        world.memory.put(ALICE, b"x")
    client = world.log_in(b"")
    assert client.lines(b"NOTIFY SET (mailboxes INBOX %s)" % MESSAGES)[-1].startswith(b"t NO [NOTIFICATIONOVERFLOW]")
    assert world.listeners == 0


def test_events_that_nobody_reads_are_not_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "MAX_WAITING", 3)
    world = Shared()
    client = world.notify(b"(personal (SubscriptionChange))")
    monkeypatch.setattr(client.session, "wake", lambda: None)
    for number in range(9):
        result(world.alice.subscribe(f"x{number}"))
    assert client.lines(b"NOOP")[-2].startswith(b"* OK [NOTIFICATIONOVERFLOW]")
    assert client.session.notifier is None


@pytest.mark.parametrize("end", [b"LOGOUT", b"NOTIFY NONE", None])
def test_nothing_is_left_behind(end: bytes | None) -> None:
    world = Shared()
    client = world.notify(b"(personal (MessageNew MessageExpunge MailboxName))")
    assert world.listeners == len(world.memory.of(ALICE).boxes)
    if end is None:
        client.connection.close()
    else:
        client.lines(end)
    assert world.listeners == 0
    result(world.alice.create("New"))
    assert b"LIST" not in client.connection.take()


def test_a_mailbox_that_was_made_again_is_watched_again() -> None:
    world = Shared()
    client = world.notify(b"(mailboxes Work %s)" % MESSAGES)
    result(world.alice.create("Work"))
    assert client.connection.take().startswith(b"* STATUS Work (MESSAGES 0 "), "nobody asked for names"
    result(world.alice.delete("Work"))
    result(world.alice.create("Work"))
    client.connection.take()
    world.memory.put(ALICE, b"x", "Work")
    assert b"STATUS Work (MESSAGES 1 UIDNEXT 2" in client.connection.take()


def test_the_selected_mailbox_is_told_of_by_selected_alone() -> None:
    world = Shared()
    client = world.notify(b"(personal %s)" % MESSAGES, b"SELECT INBOX")
    world.memory.put(ALICE, b"x")
    assert client.connection.take() == b""
    client.lines(b"UNSELECT")
    world.memory.put(ALICE, b"y")
    assert b"* STATUS INBOX (MESSAGES 2 UIDNEXT 3" in client.connection.take()


def test_flags_that_others_change_are_told_if_asked_for() -> None:
    world = Shared()
    uid = world.memory.put(ALICE, b"x")
    box = world.memory.box(ALICE)
    client = world.notify(b"(selected %s)" % MESSAGES, b"SELECT INBOX")
    result(box.store_flags([uid], FlagAction.ADD, Flags(Flag.SEEN), None))
    assert client.connection.take() == b""
    client.lines(b"NOTIFY NONE")
    result(box.store_flags([uid], FlagAction.ADD, Flags(Flag.FLAGGED), None))
    assert b"FLAGS (\\Flagged \\Seen" in client.lines(b"NOOP")[0]


def test_trouble_ends_the_notifications_and_not_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Shared()
    client = world.notify(b"(personal (MailboxName))")

    async def broken() -> None:
        raise Refused(Problem.STORE_UNAVAILABLE)

    monkeypatch.setattr(client.session.store, "mailboxes", broken)
    result(world.alice.create("New"))
    assert b"[NOTIFICATIONOVERFLOW]" in client.connection.take()
    assert client.lines(b"NOOP") == [b"t OK NOOP completed"]
    assert not world.log.failures


def test_a_bug_ends_the_notifications_and_not_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Shared()
    client = world.notify(b"(personal (MailboxName))")
    monkeypatch.setattr(client.session.store, "mailboxes", lambda: 1 / 0)
    result(world.alice.create("New"))
    assert b"[NOTIFICATIONOVERFLOW]" in client.connection.take()
    assert client.lines(b"NOOP") == [b"t OK NOOP completed"]
    assert [line.what for line in world.log.failures] == ["NOTIFY failed"]
