"""Three processes on one data directory: clients of all of them, at random, and a model of what they did."""

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
from server_process import Server, send_message

pytestmark = pytest.mark.processes

USER = "alice@example.org"
SEED = int(os.environ.get("SEED", "1"))
PROCESSES = 3
OPERATIONS = int(os.environ.get("OPERATIONS", "25"))
FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "one", "two", "three")


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        started: list[Server] = []
        for number in range(PROCESSES):
            place = tmp_path / str(number)
            place.mkdir()
            arguments = ("dev", "--data", str(tmp_path / "data"), "--ports", "0")
            started.append(stack.enter_context(Server(place, arguments)))
        yield started


def octets(subject: str) -> bytes:
    return f"Subject: {subject}\r\n\r\n{subject}\r\n".encode()


class Actor:
    """One who changes only messages of his own, through any of the processes. `model` has the subject of
    each of them → its flags."""

    def __init__(self, name: str, servers: list[Server]) -> None:
        self.name = name
        self.servers = servers
        self.chance = random.Random(f"{SEED} {name}")
        self.model: dict[str, frozenset[str]] = {}
        self.uids: dict[int, str] = {}
        """Every UID that was told, and of what."""
        self.count = 0
        self.error: BaseException | None = None

    def subject(self) -> str:
        self.count += 1
        return f"{self.name}-{self.count}"

    def run(self) -> None:
        try:
            self.act()
        except BaseException as error:
            self.error = error

    def act(self) -> None:
        raise NotImplementedError


class Sender(Actor):
    """Sends by SMTP."""

    def act(self) -> None:
        for _ in range(OPERATIONS):
            subject = self.subject()
            send_message(self.chance.choice(self.servers), USER, octets(subject))
            self.model[subject] = frozenset()


class Reader(Actor):
    """Appends, sets flags, and expunges, each through another process than before."""

    def act(self) -> None:
        self.clients = [Imap(server.port("imap"), USER, "x") for server in self.servers]
        for client in self.clients:
            client.select("INBOX")
        doings: list[Callable[[Imap], None]] = [self.append, self.append, self.store, self.store, self.expunge]
        for _ in range(OPERATIONS):
            self.chance.choice(doings)(self.chance.choice(self.clients))
        for client in self.clients:
            client.close()

    def append(self, client: Imap) -> None:
        subject, flags = self.subject(), self.some_flags()
        uid = client.append("INBOX", octets(subject), " ".join(sorted(flags)))
        assert self.uids.setdefault(uid, subject) == subject
        self.model[subject] = flags

    def some_flags(self) -> frozenset[str]:
        return frozenset(flag for flag in FLAGS if self.chance.random() < 0.3)

    def pick(self, client: Imap) -> int:
        """A message of ours that is there; 0 if none is."""
        there = [uid for uid, subject in self.uids.items() if subject in self.model]
        if there:
            client.select("INBOX")
        return self.chance.choice(there) if there else 0

    def store(self, client: Imap) -> None:
        if uid := self.pick(client):
            subject, flags = self.uids[uid], self.some_flags()
            sign = self.chance.choice(["", "+", "-"])
            client.command(f"UID STORE {uid} {sign}FLAGS ({' '.join(sorted(flags))})".encode())
            before = self.model[subject]
            self.model[subject] = {"": flags, "+": before | flags, "-": before - flags}[sign]

    def expunge(self, client: Imap) -> None:
        if uid := self.pick(client):
            client.command(f"UID STORE {uid} +FLAGS.SILENT (\\Deleted)".encode())
            client.command(f"UID EXPUNGE {uid}".encode())
            del self.model[self.uids[uid]]


class Popper(Actor):
    """Sends by SMTP to one process and deletes half of it by POP3 at another."""

    def act(self) -> None:
        for _ in range(OPERATIONS // 5):
            subjects = [self.subject() for _ in range(2)]
            for subject in subjects:
                send_message(self.chance.choice(self.servers), USER, octets(subject))
                self.model[subject] = frozenset()
            self.delete(subjects[0])

    def delete(self, subject: str) -> None:
        while True:
            with self.chance.choice(self.servers).connect("pop3") as client:
                client.send(b"USER %s\r\nPASS x\r\n" % USER.encode())
                client.until(b"+OK")
                if not client.line().startswith(b"+OK"):
                    continue  # another session has it locked
                client.send(b"LIST\r\n")
                numbers = [int(line.split()[0]) for line in client.until(b".")[1:-1]]
                seen: list[bytes] = []
                for number in reversed(numbers):
                    client.send(b"TOP %d 0\r\n" % number)
                    answer = client.line()
                    if not answer.startswith(b"+OK"):
                        seen.append(answer)
                        continue  # expunged meanwhile
                    header = client.until(b".")
                    seen.append(next(line for line in header if line.startswith(b"Subject: ")))
                    if b"Subject: %s" % subject.encode() in header:
                        client.send(b"DELE %d\r\nQUIT\r\n" % number)
                        client.until(b"+OK")
                        client.until(b"+OK")
                        del self.model[subject]
                        return
                raise AssertionError(f"{subject} was accepted, and is not there: {seen}")


def test_all_processes_see_the_same(servers: list[Server]) -> None:
    kinds: list[tuple[str, type[Actor]]] = [
        ("a", Reader), ("b", Reader), ("c", Reader), ("s", Sender), ("t", Sender), ("p", Popper),
    ]  # fmt: skip
    send_message(servers[0], USER, octets("first"))
    actors = [kind(name, servers) for name, kind in kinds]
    threads = [threading.Thread(target=actor.run) for actor in actors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for actor in actors:
        if actor.error is not None:
            raise actor.error
    model = {"first": frozenset[str]()}
    told: dict[int, str] = {}
    for actor in actors:
        model |= actor.model
        assert not told.keys() & actor.uids.keys(), "a UID was given twice"
        told |= actor.uids
    check(servers, model, told)
    for server in servers:
        assert "Traceback" not in server.log.read_text()


def check(servers: list[Server], model: dict[str, frozenset[str]], told: dict[int, str]) -> None:
    """Everything is in its place, whichever process one asks."""
    seen = [look(server) for server in servers]
    assert seen[0] == seen[1] == seen[2]
    _, messages = seen[0]
    assert dict(messages.values()) == model
    assert len(messages) == len(model), "a message is there twice"
    for uid, (subject, _) in messages.items():
        assert told.get(uid, subject) == subject, "a UID means another message"
    uidls = [uidl(server) for server in servers]
    assert uidls[0] == uidls[1] == uidls[2]
    assert len(set(uidls[0])) == len(model)
    assert [path for path in (servers[0].data / "mail" / USER / "tmp").iterdir() if path.is_file()] == []


def look(server: Server) -> tuple[int, dict[int, tuple[str, frozenset[str]]]]:
    """UIDVALIDITY, and UID → subject and flags."""
    client = Imap(server.port("imap"), USER, "x")
    mailbox = client.mailbox("INBOX")
    client.close()
    found: dict[int, tuple[str, frozenset[str]]] = {}
    for uid, message in mailbox.messages.items():
        subject = re.search(rb"^Subject: (\S+)", message.octets, re.MULTILINE)
        assert subject is not None
        assert message.octets.endswith(b"\r\n\r\n" + subject[1] + b"\r\n")
        names = {flag.lower(): flag for flag in FLAGS}
        found[uid] = subject[1].decode(), frozenset(names[flag] for flag in message.flags)
        assert uid < mailbox.uid_next
    return mailbox.uid_validity, found


def uidl(server: Server) -> list[bytes]:
    with server.connect("pop3") as client:
        client.send(b"USER %s\r\nPASS x\r\nUIDL\r\n" % USER.encode())
        for _ in range(3):
            assert client.line().startswith(b"+OK")
        return [line.split()[1] for line in client.until(b".")[:-1]]
