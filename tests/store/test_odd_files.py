"""What other programs may put into a Maildir."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from transcripts import result

from mailstack.ports import AccountName, Change, Flag
from mailstack.store.api import Store
from mailstack.store.workers import InlineWorkers
from mailstack.testing.log import RecordingLog

T = TypeVar("T")
ALICE = AccountName("alice@example.org")


def got(coroutine: Coroutine[Any, Any, T]) -> T:
    found: T = result(coroutine)
    return found


class Listener:
    def changed(self, change: Change) -> None:
        """Nothing to remember."""


class World:
    def __init__(self, data: Path) -> None:
        self.data = data
        self.store = Store(data, InlineWorkers(), RecordingLog())
        self.account: Any = got(self.store.account(ALICE))
        self.path: Path = self.store.path_of(ALICE)

    def put(self, place: str, text: str = "odd") -> None:
        (self.path / place).write_bytes(f"Subject: {text}\r\n\r\n".encode())

    def inbox(self) -> dict[int, tuple[str, int]]:
        """Subject and flags of each message."""
        mailbox = got(self.account.open("INBOX", listener := Listener()))
        got(mailbox.refresh())
        found = {}
        for uid in mailbox.uids:
            octets = got(mailbox.read(uid, 0, 1000)) or b""
            found[uid] = octets.split(b"\r\n")[0].removeprefix(b"Subject: ").decode(), int(mailbox.flags(uid))
        mailbox.close(listener)
        return found

    def again(self) -> World:
        """After a restart, and without what was kept to make it quick."""
        got(self.store.close())
        for path in self.path.glob("mailstack-index*"):
            path.unlink()
        return World(self.data)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    got(world.store.close())


@pytest.mark.parametrize(
    ("place", "flags"),
    [
        ("new/plain", 0),
        ("new/flags:2,FS", Flag.FLAGGED | Flag.SEEN),
        ("new/other:1,foo", 0),
        ("new/" + "n" * 252, 0),
        ("new/" + "n" * 253, 0),
        ("new/" + "n" * 255, 0),
        ("cur/no-info", 0),
        ("cur/other:1,foo", 0),
        ("cur/odd:2,XSPSza", Flag.SEEN),
        ("cur/unordered:2,SRF", Flag.SEEN | Flag.ANSWERED | Flag.FLAGGED),
        ("cur/wrong,S=9999,W=9999:2,", 0),
        ("new/wrong,S=1,W=1", 0),
        ("cur/sp ace:2,", 0),
        ("cur/\u00e9\u65e5:2,", 0),
        ("cur/latin\udce9:2,", 0),
    ],
)
def test_a_message_whatever_its_name(world: World, place: str, flags: int) -> None:
    world.put("cur/first:2,S", "first")
    assert world.inbox() == {1: ("first", Flag.SEEN)}
    world.put(place)
    found = world.inbox()
    assert found[2][0] == "odd"
    assert found[2][1] & 31 == flags
    after = world.again()
    assert after.inbox() == found
    got(after.store.close())


@pytest.mark.parametrize("name", ["a\nb", "a\n9 :first", "\n", "cr\r", "a\n3 :x:2,S"])
@pytest.mark.parametrize("directory", ["new", "cur"])
def test_a_line_end_in_a_name_harms_no_other_message(world: World, directory: str, name: str) -> None:
    world.put("cur/first:2,S", "first")
    world.inbox()
    world.put(f"{directory}/{name}")
    assert world.inbox()[1] == ("first", Flag.SEEN)
    world.put("new/last", "last")
    (last,) = [uid for uid, (text, _) in world.inbox().items() if text == "last"]
    after = world.again()
    found = after.inbox()
    assert found[1] == ("first", Flag.SEEN)
    assert found[last] == ("last", 0)
    got(after.store.close())


@pytest.mark.parametrize("place", ["new/.hidden", "cur/.hidden:2,S", "new/:2,S", "cur/:2,", ".notes", "tmp/unfinished"])
def test_what_is_no_message(world: World, place: str) -> None:
    world.put(place)
    assert world.inbox() == {}


def test_two_files_of_one_base_are_two_messages(world: World) -> None:
    world.put("cur/same:2,S", "one")
    world.put("cur/same:2,F", "two")
    assert sorted(text for text, _ in world.inbox().values()) == ["one", "two"]
    assert sorted(text for text, _ in world.again().inbox().values()) == ["one", "two"]
