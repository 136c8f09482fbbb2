"""The queue at the start: databases that are damaged, lost or of others, damaged files, and former versions."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
from queue_steps import Crash, Steps
from queue_world import EPOCH, MESSAGE, QueueWorld, envelope, result

from mailstack.mail.parameters import DeliverBy, MailParameters, Notify, RcptParameters, Return
from mailstack.ports import Envelope
from mailstack.queue.content import Damaged
from mailstack.queue.database import DATABASE, QueueDatabase, QueueDatabaseError
from mailstack.queue.envelopes import document

FULL = Envelope(
    None,
    envelope("bob@example.net", "jörg@sub.example.org").recipients,
    parameters=MailParameters(Return.FULL, "id", True, DeliverBy(1_700_000_060, False, True), 1_700_000_900, -3, "x@y"),
    rcpt_parameters=(
        RcptParameters(),
        RcptParameters(frozenset({Notify.SUCCESS, Notify.DELAY}), "utf-8;jörg@example.org"),
    ),
)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], QueueWorld]]:
    made: list[QueueWorld] = []

    def process() -> QueueWorld:
        while made:
            made.pop().close()
        made.append(QueueWorld(tmp_path))
        return made[-1]

    yield process
    while made:
        made.pop().close()


def stopped_with(directory: Path, number: int) -> list[str]:
    """A queue of so many messages, closed; their ids."""
    world = QueueWorld(directory)
    names = sorted(world.send(f"user{each}@example.net") for each in range(number))
    world.close()
    return names


def ids(world: QueueWorld) -> list[str]:
    return [row.item.id for row in world.rows()]


# --- the database


def zeroed_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\0" * 100)


def zeroed_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\xff" * 4096 * 3)


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def nonsense(path: Path) -> None:
    path.write_bytes(b"this is no database\n" * 1000)


@pytest.mark.parametrize("damage", [zeroed_header, zeroed_page, cut_short, nonsense])
def test_a_damaged_database_is_set_aside_and_made_anew(
    start: Callable[[], QueueWorld], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    names = stopped_with(tmp_path, 5)
    path = tmp_path / "queue" / DATABASE
    damage(path)
    damaged = path.read_bytes()
    world = start()
    assert ids(world) == sorted(names) == world.on_disk()
    assert world.log.whats("warning") == [
        "queue database is damaged and was set aside",
        "queue database was not there; its rows were made of the files",
    ]
    (aside,) = (tmp_path / "queue").glob(f"{DATABASE}.damaged-*[0-9]")
    assert aside.read_bytes() == damaged
    world.start()
    assert len(world.carrier.sent) == 5


def test_a_database_that_goes_away_while_it_is_set_aside_is_made_anew(
    start: Callable[[], QueueWorld], tmp_path: Path
) -> None:
    """The process died between the database and its log: the log says nothing to a new database."""
    world = QueueWorld(tmp_path)
    name = world.send("bob@example.net")
    log = tmp_path / "queue" / f"{DATABASE}-wal"
    octets = log.read_bytes()
    world.close()
    assert octets
    log.write_bytes(octets)
    (tmp_path / "queue" / DATABASE).unlink()
    world = start()
    assert ids(world) == [name] == world.on_disk()


@pytest.mark.parametrize("change", ["PRAGMA user_version = 99"])
def test_a_database_of_a_later_version_is_left_alone(tmp_path: Path, change: str) -> None:
    names = stopped_with(tmp_path, 1)
    path = tmp_path / "queue" / DATABASE
    database = apsw.Connection(str(path))
    database.execute(change)
    database.close()
    with pytest.raises(QueueDatabaseError, match="another version"):
        QueueWorld(tmp_path)
    assert [each.name for each in (tmp_path / "queue").glob("*.msg")] == [f"{name}.msg" for name in names]
    assert not list((tmp_path / "queue").glob("*damaged*"))


def test_a_database_that_cannot_be_opened_is_not_damaged(tmp_path: Path) -> None:
    stopped_with(tmp_path, 1)
    path = tmp_path / "queue" / DATABASE
    path.unlink()
    path.mkdir()
    with pytest.raises(QueueDatabaseError, match="unable to open"):
        QueueWorld(tmp_path)
    assert len(list((tmp_path / "queue").glob("*.msg"))) == 1


def test_a_process_that_died_before_it_made_the_rows_loses_nothing(
    start: Callable[[], QueueWorld], tmp_path: Path
) -> None:
    names = stopped_with(tmp_path, 3)
    path = tmp_path / "queue" / DATABASE
    path.unlink()
    QueueDatabase(path).close()  # its tables are there, and nothing in them
    assert ids(start()) == sorted(names)


def test_a_file_that_no_row_speaks_of_is_swept(start: Callable[[], QueueWorld], tmp_path: Path) -> None:
    (name,) = stopped_with(tmp_path, 1)
    place = tmp_path / "queue"
    shutil.copy(place / f"{name}.msg", place / "done.msg")
    (place / "tmp" / "half").write_bytes(b"half")
    world = start()
    assert world.on_disk() == [name] and not list((place / "tmp").iterdir())
    assert "queue swept" in world.log.whats("event")


@pytest.mark.parametrize(
    "octets", [b"", b"mailstack-queue", b"mailstack-queue {}\r\n", b"mailstack-queue []\r\nx", b"x"]
)
def test_a_file_that_cannot_be_read_stays_for_people(
    start: Callable[[], QueueWorld], tmp_path: Path, octets: bytes
) -> None:
    names = stopped_with(tmp_path, 2)
    (tmp_path / "queue" / DATABASE).unlink()
    (tmp_path / "queue" / f"{names[0]}.msg").write_bytes(octets)
    for _ in range(2):
        assert ids(start()) == [names[1]]
        assert (tmp_path / "queue" / f"{names[0]}.damaged").read_bytes() == octets


def test_a_file_that_was_cut_short_is_not_taken_for_a_whole_one(
    start: Callable[[], QueueWorld], tmp_path: Path
) -> None:
    (name,) = stopped_with(tmp_path, 1)
    (tmp_path / "queue" / DATABASE).unlink()
    path = tmp_path / "queue" / f"{name}.msg"
    os.truncate(path, path.stat().st_size - 1)
    world = start()
    assert ids(world) == []
    (warning,) = [line for line in world.log.lines if "set aside" in line.what]
    assert "the message has 33 octets, not 34" in str(warning.fields["reason"])


def test_a_file_that_is_gone_is_returned_to_its_sender(start: Callable[[], QueueWorld], tmp_path: Path) -> None:
    (name,) = stopped_with(tmp_path, 1)
    (tmp_path / "queue" / f"{name}.msg").unlink()
    world = start()
    (row,) = world.rows()
    with pytest.raises(Damaged, match="it is not there"):
        result(world.queue.read(row.item, 0, 1))
    world.start()
    assert [destination for destination, _, _ in world.carrier.sent] == ["example.org"]
    assert world.rows() == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE item SET document = '{' WHERE id = ?",
        "UPDATE item SET document = '[]' WHERE id = ?",
        "UPDATE item SET document = '{\"version\": 2}' WHERE id = ?",
        "UPDATE waiting SET recipients = '[7]' WHERE item = ?",
        "UPDATE waiting SET recipients = '0' WHERE item = ?",
        "UPDATE waiting SET last = '[[0, \"maybe\"]]' WHERE item = ?",
    ],
)
def test_a_row_that_cannot_be_read_stops_nobody(start: Callable[[], QueueWorld], tmp_path: Path, change: str) -> None:
    names = stopped_with(tmp_path, 65)
    database = apsw.Connection(str(tmp_path / "queue" / DATABASE))
    for name in names[:55]:  # more than are read at once
        database.execute(change, (name,))
    database.close()
    world = start()
    assert ids(world) == names[55:]
    world.start()
    world.pass_time(130)
    assert len(world.carrier.sent) == 10
    assert world.log.whats("warning").count("queue row cannot be read and is held") == 55
    assert len(world.on_disk()) == 55, "they wait for people"


# --- several processes on one directory


def test_who_starts_beside_others_sweeps_nothing_of_theirs(tmp_path: Path) -> None:
    first = QueueWorld(tmp_path)
    name = first.send("bob@example.net")
    half = tmp_path / "queue" / "tmp" / "half"
    half.write_bytes(b"being written by the first")
    shutil.copy(first.files.path(name), first.files.path("0a"))  # and this is about to be committed
    second = QueueWorld(tmp_path)
    assert not second.alone
    assert half.exists() and second.on_disk() == ["0a", name]
    other = second.send("eve@example.net")
    assert {row.item.id for row in first.rows()} == {name, other}
    first.close()
    second.close()
    third = QueueWorld(tmp_path)
    assert third.alone and not half.exists() and third.on_disk() == sorted([name, other])
    third.close()


def test_one_process_sends_and_the_next_one_when_it_is_gone(tmp_path: Path) -> None:
    first, second = QueueWorld(tmp_path), QueueWorld(tmp_path)
    assert first.queue.may_send() and first.queue.may_send()
    assert not second.queue.may_send()
    first.start()
    first.pass_time(3, 1)
    second.send("bob@example.net")
    first.pass_time(3, 1)
    assert first.carrier.recipients == ["bob@example.net"], "it sees what the other one has queued"
    first.close()
    assert second.queue.may_send()
    second.close()


def test_a_damaged_database_is_not_set_aside_under_others(tmp_path: Path) -> None:
    first = QueueWorld(tmp_path)
    first.send("bob@example.net")
    first.database.close()
    nonsense(tmp_path / "queue" / DATABASE)
    with pytest.raises(QueueDatabaseError):
        QueueWorld(tmp_path)
    assert not list((tmp_path / "queue").glob("*damaged*"))
    first.files.close()
    QueueWorld(tmp_path).close()
    assert list((tmp_path / "queue").glob("*damaged*"))


# --- of former versions


def former(directory: Path, name: str, found: Envelope, octets: bytes = MESSAGE) -> None:
    place = directory / "queue"
    (place / "tmp").mkdir(parents=True, exist_ok=True)
    (place / f"{name}.eml").write_bytes(octets)
    (place / f"{name}.json").write_text(json.dumps(document(found, EPOCH - 60)))


def pairs(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "queue").iterdir() if path.suffix in (".eml", ".json"))


def test_queues_of_former_versions_are_taken_over(start: Callable[[], QueueWorld], tmp_path: Path) -> None:
    former(tmp_path, "0a", FULL, MESSAGE * 9)
    former(tmp_path, "0b", envelope("bob@example.net"))
    world = start()
    first, last = world.rows()[0], world.rows()[-1]
    assert (first.item.envelope, first.item.arrived, last.item.envelope) == (
        FULL,
        EPOCH - 60,
        envelope("bob@example.net"),
    )
    assert result(world.queue.read(first.item, 0, first.item.size)) == MESSAGE * 9
    assert pairs(tmp_path) == [] and world.on_disk() == ["0a", "0b"]
    world = start()
    assert set(ids(world)) == {"0a", "0b"}
    world.send("eve@example.net")
    world.start()
    assert sorted(world.carrier.recipients) == ["bob@example.net", "eve@example.net"]


def test_half_pairs_are_swept_and_unreadable_ones_left_alone(start: Callable[[], QueueWorld], tmp_path: Path) -> None:
    former(tmp_path, "0a", FULL)
    former(tmp_path, "0b", FULL)
    (tmp_path / "queue" / "0b.json").write_text("{")
    for name in ("0c.eml", "0d.json", "tmp/0e.eml"):
        (tmp_path / "queue" / name).write_bytes(b"")
    world = start()
    assert set(ids(world)) == {"0a"}
    assert pairs(tmp_path) == ["0b.eml", "0b.json"]
    assert world.log.whats("warning").count("queue item of a former version cannot be read") == 1
    assert not list((tmp_path / "queue" / "tmp").iterdir())


@pytest.mark.parametrize("step", range(13))
def test_a_crash_while_pairs_are_taken_over_loses_none_and_doubles_none(
    start: Callable[[], QueueWorld], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    former(tmp_path, "0a", envelope("bob@example.net"))
    former(tmp_path, "0b", envelope("eve@example.net"))
    with monkeypatch.context() as patched:
        crashing = Steps(tmp_path / "queue", step, Crash())
        crashing.install(patched)
        with pytest.raises(Crash):
            QueueWorld(tmp_path)
    world = start()
    assert ids(world) == ["0a", "0b"] == world.on_disk()
    assert pairs(tmp_path) == []
    world.start()
    assert sorted(world.carrier.recipients) == ["bob@example.net", "eve@example.net"]


def test_pairs_are_durably_gone_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    former(tmp_path, "0a", FULL)
    with monkeypatch.context() as patched:
        seen = Steps(tmp_path / "queue")
        seen.install(patched)
        QueueWorld(tmp_path).close()
    place = seen.done.index("rename tmp/* *.msg")
    assert seen.done[place:] == [
        "rename tmp/* *.msg", "fsync the directory", "commit", "unlink *.json", "unlink *.eml", "fsync the directory",
        "fsync the directory", "commit",
    ]  # fmt: skip


def test_what_is_written_is_what_is_read(start: Callable[[], QueueWorld]) -> None:
    world = start()
    made = replace(FULL, parameters=replace(FULL.parameters, require_tls=False))
    result(world.queue.enqueue(made, b"Received: x\r\n", world.blob()))
    found = world.files.read_envelope(world.on_disk()[0])
    assert found[0] == made == world.rows()[0].item.envelope
    assert found[1] == EPOCH and found[3] == len(b"Received: x\r\n" + MESSAGE)
    (path,) = (world.directory / "queue").glob("*.msg")
    assert path.stat().st_mode & 0o077 == 0
