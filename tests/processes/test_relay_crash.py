"""A server that carries mail away is killed, again and again: whatever it has acknowledged arrives, and twice only what
had just arrived when it was killed and could not be taken down any more.

Clients submit messages all the time; a next hop takes them and notes each copy, on which connection it came, and what
came before it there. A copy that was followed by another message on its connection was taken down before, so it must
not come again; that is one copy for each connection and kill, at most.

MAILSTACK_RELAY_CRASH=10000 submits so many messages with 40 kills (some minutes); MAILSTACK_CRASH_SEED chooses other
moments."""

from __future__ import annotations

import os
import random
import smtplib
import socket
import ssl
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from production import DOMAIN, PASSWORD, configuration, listeners, prepare, production
from server_process import Server

pytestmark = pytest.mark.processes

SEED = int(os.environ.get("MAILSTACK_CRASH_SEED", "1"))
MESSAGES = int(os.environ.get("MAILSTACK_RELAY_CRASH", "150"))
KILLS = 4 if MESSAGES < 1000 else 40
LANES = 5
CLIENTS = 2
UNLIMITED = f'[sending]\nunlimited = ["alice@{DOMAIN}"]\n[policy]\n' + "".join(
    f"account_{what}_per_minute = 0\n" for what in ("connections", "messages", "recipients")
)
LIMIT = 60.0 + MESSAGES / 20


@dataclass
class Connection:
    """One to the sink: the messages of which it has had the 250, in order."""

    messages: list[str] = field(default_factory=list)


class Sink:
    """A next hop that takes everything. A context manager."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.changed = threading.Condition()
        self.count = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Sink:
        self._threads[0].start()
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in list(self._open):
            connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def wait(self, count: int, seconds: float) -> bool:
        """Until so many copies are there."""
        with self.changed:
            return self.changed.wait_for(lambda: self.count >= count, seconds)

    def copies(self) -> Counter[str]:
        with self.changed:
            return Counter(message for connection in self.connections for message in connection.messages)

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._socket.accept()
            except OSError:
                return
            self._open.add(accepted)
            self._threads.append(threading.Thread(target=self._serve, args=(accepted,)))
            self._threads[-1].start()

    def _serve(self, accepted: socket.socket) -> None:
        known = Connection()
        with self.changed:
            self.connections.append(known)
        try:
            with accepted, accepted.makefile("rwb") as stream:
                self._talk(stream, known)
        except OSError:
            pass  # the server was killed
        finally:
            self._open.discard(accepted)

    def _talk(self, stream: object, known: Connection) -> None:
        assert hasattr(stream, "readline") and hasattr(stream, "write") and hasattr(stream, "flush")

        def say(line: bytes) -> None:
            stream.write(line + b"\r\n")
            stream.flush()

        say(b"220 sink")
        while line := stream.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                say(b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME")
            elif verb == b"DATA":
                say(b"354 go on")
                subject = ""
                while (line := stream.readline()) not in (b".\r\n", b""):
                    if line.startswith(b"Subject: "):
                        subject = line[9:].strip().decode()
                if not line:
                    return  # cut in the midst of it: there is no copy
                with self.changed:  # before the 250 is said, so that what was answered is in the list
                    known.messages.append(subject)
                    self.count += 1
                    self.changed.notify_all()
                say(b"250 taken")
            else:
                say(b"221 bye" if verb == b"QUIT" else b"250 ok")


class Lives:
    """One data directory, one server after the other on it, and clients that submit to whichever there is."""

    def __init__(self, directory: Path, sink: Sink) -> None:
        self.directory = directory
        route = f'[[routes]]\nname = "sink"\nhosts = ["127.0.0.1:{sink.port}"]\nconnections = {LANES}\n'
        rest = listeners(services=("submissions",))
        prepare(directory, configuration(directory, rest=rest, tables=route + UNLIMITED))
        self.sink = sink
        self.acknowledged: list[str] = []
        self.errors: list[BaseException] = []
        self.alive = threading.Condition()
        self.server: Server | None = None
        self._next = iter(range(MESSAGES))

    def begin(self) -> None:
        server = production(self.directory).wait_ready()
        with self.alive:
            self.server = server
            self.alive.notify_all()

    def kill(self) -> None:
        server = self.server
        assert server is not None
        with self.alive:
            self.server = None
        server.kill()

    def submit_all(self) -> None:
        """A client. A message that was not acknowledged is not submitted again."""
        try:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            while self._submit_to_one(context):
                pass
        except BaseException as error:
            self.errors.append(error)

    def _submit_to_one(self, context: ssl.SSLContext) -> bool:
        with self.alive:
            assert self.alive.wait_for(lambda: self.server is not None, LIMIT)
            server = self.server
        assert server is not None
        sender = f"alice@{DOMAIN}"
        try:
            where = server.host("submissions"), server.port("submissions")
            with smtplib.SMTP_SSL(*where, context=context, timeout=LIMIT) as client:
                client.login(sender, PASSWORD)
                while (subject := self._take()) is not None:
                    to = f"user{random.Random(subject).randrange(9)}@example.net"
                    text = f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\nhello\r\n"
                    client.sendmail(sender, [to], text)
                    self.acknowledged.append(subject)
            return False
        except (smtplib.SMTPServerDisconnected, ConnectionError, ssl.SSLError):
            return True  # it was killed

    def _take(self) -> str | None:
        with self.alive:
            number = next(self._next, None)
        return None if number is None else f"message {number}"


def test_what_was_acknowledged_arrives_though_the_server_is_killed(reachable: Path) -> None:
    chance = random.Random(SEED)
    with Sink() as sink:
        lives = Lives(reachable, sink)
        clients = [threading.Thread(target=lives.submit_all) for _ in range(CLIENTS)]
        lives.begin()
        for client in clients:
            client.start()
        try:
            for _ in range(KILLS):
                assert sink.wait(sink.count + chance.randint(1, MESSAGES // KILLS - 5), LIMIT), "it stands still"
                lives.kill()
                lives.begin()
            for client in clients:
                client.join(LIMIT)
                assert not client.is_alive()
            everything = set(lives.acknowledged)
            with sink.changed:
                arrived = sink.changed.wait_for(lambda: everything <= sink.copies().keys(), LIMIT)
        finally:
            assert lives.server is not None
            left = sorted((lives.directory / "data" / "queue").glob("*.msg")) if lives.server.stop() == 0 else None
        assert not lives.errors, lives.errors
        assert arrived, f"lost: {sorted(everything - sink.copies().keys())}, seed {SEED}"
        assert left == []
        check_copies(sink)
        assert len(everything) >= MESSAGES - KILLS * CLIENTS


def check_copies(sink: Sink) -> None:
    """Twice is only what was the last on its connection when the server was killed."""
    places: dict[str, list[tuple[Connection, int]]] = {}
    for connection in sink.connections:
        for number, message in enumerate(connection.messages):
            places.setdefault(message, []).append((connection, number))
    twice = {message: found for message, found in places.items() if len(found) > 1}
    for message, found in twice.items():
        for connection, number in found[:-1]:
            assert number == len(connection.messages) - 1, f"{message} was taken down, and came again; seed {SEED}"
    copies = sum(len(found) - 1 for found in twice.values())
    print(f"{len(places)} messages, {KILLS} kills, {copies} came twice")  # for those who ask with -s
    assert copies <= KILLS * LANES
