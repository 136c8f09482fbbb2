"""A power cut at every moment: what the store's calls leave behind, in every way that a file system may keep
them, still holds what was told.

Each run is recorded (`disk_record`), each tree that a cut may leave is made (`disk_states`), and a new store
is opened on it (`promises`). By default some trees of each moment are tried; MAILSTACK_REPLAY=500 says how
many of one moment, MAILSTACK_REPLAY_SEED which."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from disk_record import Killed, Recorder, Told
from disk_states import State, states
from promises import ALICE, Asked, Client, Delivered, Placed, Promises
from transcripts import result

from mailstack.ports import Flag, Flags
from mailstack.store.maildir import sync

OF_ONE_MOMENT = int(os.environ.get("MAILSTACK_REPLAY", "4"))
SEED = int(os.environ.get("MAILSTACK_REPLAY_SEED", "1"))
SYNCS = 24
"""Times that `killed_at_sync` may be killed: all of them with a larger MAILSTACK_REPLAY, else two."""
TELLING_SYNCS = (3, 17)
"""That of a record of the uidlist, and that of the directory with a uidlist just made."""


def new_account(client: Client) -> None:
    """The first message makes the account, the first login the rest of it."""
    client.deliver()
    client.look()


def deliver(client: Client) -> None:
    client.deliver()
    client.look()
    client.deliver()
    client.deliver(size=150_000)
    client.look()


def append(client: Client) -> None:
    client.append(keywords=("$Work",))
    client.append(count=3)
    client.look()


def copy_and_move(client: Client) -> None:
    client.append(count=2, keywords=("$Work",))
    client.deliver()
    inbox = client.look()
    client.create("There")
    client.copy(inbox, [1, 2], "There")
    client.move(inbox, [1, 3], "There")
    client.look()
    client.look("There")


def expunge(client: Client) -> None:
    client.deliver()
    client.deliver()
    client.append(count=2)
    inbox = client.look()
    client.expunge(inbox, [1, 3])
    client.deliver()
    client.look()


def flags_and_a_uidlist_written_anew(client: Client) -> None:
    client.append(count=5)
    inbox = client.look()
    client.flag(inbox, [1, 2], Flags(Flag.SEEN))
    client.flag(inbox, [1], Flags(Flag.FLAGGED, frozenset({"$Later"})))
    client.expunge(inbox, [1, 5])
    client.deliver()
    client.look()
    client.deliver()
    client.look()


def mailboxes(client: Client) -> None:
    client.create("A/B")
    client.append("A/B")
    client.look("A")
    client.rename({"A": "C", "A/B": "C/B"})
    client.create("A")
    client.append("A")
    client.append("C/B")
    client.delete("C/B")
    client.create("C/B")
    client.append("C/B")
    client.look("C")


def the_next_process(client: Client) -> None:
    """The first one is killed and leaves to the next what was not synced."""
    client.deliver()
    client.look()
    second = Client(client.store.mail_path.parent, client.record)
    inbox = second.look()
    second.flag(inbox, [1], Flags(Flag.SEEN))
    second.expunge(inbox, [1])
    second.deliver()
    second.look()
    second.end()


def killed_at_sync(number: int) -> Callable[[Client], None]:
    """The first process is killed before it syncs something for this time; the next one tells of what it left."""

    def run(client: Client) -> None:
        assert client.record is not None
        data = client.store.mail_path.parent
        first = Client(data, client.record)
        client.record.killed_at_sync = number
        with pytest.raises(Killed):
            first.deliver()
            first.look()
            first.append(keywords=("$Work",))
            first.create("There")
            first.append("There")
            first.copy(first.open(), [2], "There")
            first.rename({"There": "Away"})
        second = Client(data, client.record)
        names = [entry.name for entry in result(second.account.mailboxes())]
        for name in names:
            mailbox = second.look(name)
            # Nobody was told that these were stored, but that their UIDs are theirs.
            unconfirmed = [uid for uid in mailbox.uids if second.octets(mailbox, uid) not in confirmed(client.record)]
            second.tell(Asked(mailbox.mailbox_id, tuple(unconfirmed)))
        second.expunge(second.open(), list(second.open().uids))

    run.__name__ = f"killed_at_sync_{number}"
    return run


def confirmed(record: Recorder) -> set[bytes]:
    told = [step.what for step in record.steps if isinstance(step, Told)]
    delivered = {what.message for what in told if isinstance(what, Delivered)}
    return delivered | {octets for what in told if isinstance(what, Placed) for _, octets in what.messages}


RUNS: list[Callable[[Client], None]] = [
    deliver, append, copy_and_move, expunge, flags_and_a_uidlist_written_anew, mailboxes, the_next_process,
    *map(killed_at_sync, range(1, SYNCS + 1) if OF_ONE_MOMENT >= SYNCS else TELLING_SYNCS),
]  # fmt: skip


class Replay:
    """Records runs, and plays what is left of them."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.monkeypatch = monkeypatch
        self.tried = 0

    def record(self, run: Callable[[Client], None], data: Path) -> Recorder:
        record = Recorder(data)
        with self.monkeypatch.context() as patch:
            record.patch(patch)
            client = Client(data, record)
            base = self._base(client, record, run)
            run(client)
            client.end()
        self.base = base
        return record

    def _base(self, client: Client, record: Recorder, run: Callable[[Client], None]) -> int:
        """What is there before, long since written."""
        if run is new_account:
            return 0
        path = client.store.path_of(ALICE)
        path.mkdir()
        fd = os.open(path / "special-use", os.O_WRONLY | os.O_CREAT)  # no mailboxes but INBOX
        os.close(fd)
        client.look()
        return len(record.steps)

    def play(self, record: Recorder, limit: int = OF_ONE_MOMENT) -> None:
        place = self.directory / "left"
        with self.quick():
            for state in states(record, self.base, limit, random.Random(SEED)):
                place.mkdir()
                state.make(place)
                self._check(record, state, place)
                shutil.rmtree(place)
                self.tried += 1

    def _check(self, record: Recorder, state: State, place: Path) -> None:
        told = [step.what for step in record.steps[: state.cut] if isinstance(step, Told)]
        try:
            Promises(told).check(place)
        except Exception as error:
            raise AssertionError(f"{error!r}\nseed {SEED}, {state.describe(record)}") from error

    @contextmanager
    def quick(self) -> Iterator[None]:
        """Nothing is kept of what the tries write."""
        with self.monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda fd: None)
            yield


@pytest.fixture
def replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replay]:
    # The uidlist is written anew as soon as one record in it is of a message that is gone.
    monkeypatch.setattr(sync, "COMPACT_AFTER", 1)
    memory = Path("/dev/shm")  # trees are made and removed there five times as fast
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as directory:
        yield Replay(Path(directory), monkeypatch)


@pytest.mark.parametrize("run", [new_account, *RUNS], ids=lambda run: run.__name__)
def test_what_was_told_survives_a_power_cut(run: Callable[[Client], None], replay: Replay, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    record = replay.record(run, data)
    replay.play(record)
    assert replay.tried > len(record.steps) // 4
