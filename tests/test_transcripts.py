"""Plays every transcript over the fakes, and tests the player itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from transcript_sessions import factory
from transcripts import Fakes, FakeSession, FakeWorld, ScriptError, matcher, parse, play, result, transcripts, unescape

from mailstack.auth.anyone import AnyLimits
from mailstack.errors import SessionEnded
from mailstack.store.acls import StoredAcls
from mailstack.store.api import Store
from mailstack.store.sharing import SharingStore
from mailstack.store.workers import InlineWorkers
from mailstack.testing.acls import MemoryAcls
from mailstack.testing.connection import MemoryConnection
from mailstack.testing.store import MemoryStore


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", transcripts(), ids=named)
def test_transcript_over_fakes(path: Path) -> None:
    script = parse(path)
    world = FakeWorld(script, factory(script.protocol, script.settings))
    store = MemoryStore()
    if script.protocol == "imap":
        world.use_store(SharingStore(store, MemoryAcls(store)), world.fakes.spool)
    play(script, world)


@pytest.mark.parametrize("path", transcripts(), ids=named)
def test_transcript_over_a_maildir(path: Path, tmp_path: Path) -> None:
    script = parse(path)
    world = FakeWorld(script, factory(script.protocol, script.settings))
    store = Store(tmp_path, InlineWorkers(), world.fakes.log)
    store.quotas.use(AnyLimits())
    sharing = SharingStore(store, StoredAcls(store)) if script.protocol == "imap" else store
    world.use_store(sharing, store.spool)
    try:
        play(script, world)
    finally:
        result(store.close())


class Parrot:
    """A session that says everything twice, and stops at QUIT."""

    def __init__(self, connection: MemoryConnection, fakes: Fakes) -> None:
        self.connection = connection

    async def run(self) -> None:
        self.connection.write(b"hello\r\n")
        try:
            while (data := await self.connection.receive()) != b"QUIT\r\n":
                self.connection.write(data + data)
        except SessionEnded as ended:
            self.connection.write(b"bye " + type(ended).__name__.encode() + b"\r\n")


class Crashing(Parrot):
    async def run(self) -> None:
        await self.connection.receive()
        raise ZeroDivisionError


def played(tmp_path: Path, text: str, session: type[FakeSession] = Parrot) -> None:
    (tmp_path / "smtp").mkdir()
    path = tmp_path / "smtp" / "x.txt"
    path.write_text(text)
    script = parse(path)
    play(script, FakeWorld(script, session))


def test_a_right_dialogue_passes(tmp_path: Path) -> None:
    played(
        tmp_path,
        "# parrot\nS: hello\nC: a\nS: a\nS: /[a]/\nS2: hel<...>\nC2- x\\x00\nC2- \\x0d\\x0a\nS2: x\\x00\nS2: x<...>\n"
        + "C: *shutdown*\nS: bye ShuttingDown\nS: *close*\nC2: QUIT\nS2: *close*\n",
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("S: hullo\n", 1),
        ("S: hello\nC: a\nS: a\n", 3),
        ("S: hello\nS: *close*\n", 2),
        ("C: a\n", 1),
        ("S: hello\nS: more\n", 2),
        ("S: hello\n\nnonsense\n", 3),
    ],
)
def test_a_wrong_dialogue_fails_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(ScriptError, match=rf"x\.txt:{line}: "):
        played(tmp_path, text)


def test_a_session_that_raises_fails(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="ZeroDivisionError"):
        played(tmp_path, "C: a\n", Crashing)


def test_escapes_and_wildcards() -> None:
    assert unescape("a\\x00\\xFFé\\Seen") == b"a\x00\xff\xc3\xa9\\Seen"
    assert matcher("* <...> EXISTS")(b"* 12 EXISTS")
    assert not matcher("* <...> EXISTS")(b"* 12 EXISTS.")
