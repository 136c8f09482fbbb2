"""Two processes on one mailbox: who was told by one of them comes back to the other and misses nothing (RFC 7162)."""

from __future__ import annotations

import os
import random
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from imap_client import Imap
from mailbox_copy import Cache, Copy, Moment, come_back
from server_process import Server

pytestmark = pytest.mark.processes

USER = "alice@example.org"
SEED = int(os.environ.get("SEED", "1"))
OPERATIONS = int(os.environ.get("OPERATIONS", "25"))
MOMENTS = 30
"""Of each client, chosen at random."""


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        started: list[Server] = []
        for number in range(2):
            place = tmp_path / str(number)
            place.mkdir()
            arguments = ("dev", "--data", str(tmp_path / "data"), "--ports", "0")
            started.append(stack.enter_context(Server(place, arguments)))
        yield started


def write(number: int, servers: list[Server]) -> None:
    """Append, set flags and expunge, through one process and the other."""
    chance = random.Random(f"{SEED} {number}")
    clients = [Imap(server.port("imap"), USER, "x") for server in servers]
    for client in clients:
        client.select("INBOX")
    for _ in range(OPERATIONS):
        client = chance.choice(clients)
        responses = client.command(b"UID SEARCH ALL")
        uids = [int(uid) for line in responses if line.startswith(b"* SEARCH") for uid in line.split()[2:]]
        what = chance.choice(["append", "append", "flag", "flag", "remove"])
        if what == "append" or not uids:
            client.append("INBOX", b"Subject: x\r\n\r\nx\r\n")
        elif what == "flag":
            flag = chance.choice([b"\\Seen", b"\\Flagged", b"\\Draft"])
            client.command(
                b"UID STORE %d %b (%b)" % (chance.choice(uids), chance.choice([b"+FLAGS", b"-FLAGS"]), flag), ok=b""
            )
        else:
            uid = chance.choice(uids)
            client.command(b"UID STORE %d +FLAGS (\\Deleted)" % uid, ok=b"")
            client.command(b"UID EXPUNGE %d" % uid)
    for client in clients:
        client.close()


class Watcher:
    """A QRESYNC client that keeps a copy, and remembers how it stood."""

    def __init__(self, server: Server) -> None:
        self.client = Imap(server.port("imap"), USER, "x")
        self.copy = Copy(qresync=True)
        self.moments: list[Moment] = []
        self.client.command(b"ENABLE QRESYNC")
        opened = self.client.select("INBOX")
        self.validity = int(re.search(rb"UIDVALIDITY (\d+)", b"".join(opened))[1])  # type: ignore[index]
        self.copy.hear(opened)

    def look(self) -> None:
        self.hear(b"NOOP")
        unknown = [number for number, entry in enumerate(self.copy.entries, 1) if not entry.uid or entry.flags is None]
        if unknown:
            self.hear(b"FETCH %d:* (UID FLAGS MODSEQ)" % unknown[0])

    def hear(self, command: bytes) -> None:
        self.copy.hear(self.client.command(command, ok=b""))
        self.moments.append(Moment(self.validity, self.copy.highest, self.copy.kept()))

    def watch(self, over: threading.Event) -> None:
        while not over.is_set():
            self.look()


def returned(server: Server, moment: Moment) -> Cache:
    """What a client that was away since that moment knows from this process."""
    client = Imap(server.port("imap"), USER, "x")
    client.command(b"ENABLE QRESYNC")
    lines = client.command(b"SELECT INBOX (QRESYNC (%d %d))" % (moment.validity, moment.highest))
    lines += client.command(b"UID FETCH %d:* (FLAGS)" % (max(moment.cache, default=0) + 1))
    client.close()
    return come_back(moment.cache, lines)


def test_who_was_told_by_one_process_comes_back_to_another(servers: list[Server]) -> None:
    watchers = [Watcher(server) for server in servers]
    over = threading.Event()
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                errors.append(error)

        return run

    writing = [threading.Thread(target=guarded(lambda n=n: write(n, servers))) for n in range(2)]
    watching = [threading.Thread(target=guarded(lambda w=w: w.watch(over))) for w in watchers]
    for thread in (*writing, *watching):
        thread.start()
    for thread in writing:
        thread.join(60)
    over.set()
    for thread in watching:
        thread.join(60)
    assert not errors, errors
    for watcher in watchers:
        watcher.look()
    whole = watchers[0].copy.kept()
    assert watchers[1].copy.kept() == whole
    assert [len(watcher.copy.entries) for watcher in watchers] == [len(whole)] * 2
    chance = random.Random(SEED)
    for watcher, other in zip(watchers, reversed(servers), strict=True):
        moments = {(moment.highest, *moment.cache.items()): moment for moment in watcher.moments}
        for moment in chance.sample(list(moments.values()), min(MOMENTS, len(moments))):
            assert returned(other, moment) == whole
    for watcher in watchers:
        watcher.client.close()
