"""A server under load is killed, again and again on the same data: nothing that was acknowledged is lost,
nothing is there twice, no UID means another message, and what was told to be gone is gone.

Clients (`crash_load`) deliver by SMTP, and APPEND, COPY, MOVE, STORE, EXPUNGE, CREATE, RENAME and DELETE by
IMAP, until the server is gone; what they were told (`crash_truth`) is compared with what the next one says.

It is killed at random moments, and at POINTS: just before each system call with which the store delivers, takes
in, appends, copies, moves, expunges, flags, makes, renames and deletes, and after those on which an answer waits
(`crashing_server` says how).

By default the server is killed at some of them, chosen by the seed; MAILSTACK_CRASH=all takes all (a minute),
MAILSTACK_CRASH=<number> so many. MAILSTACK_CRASH_SEED chooses others."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from crash_load import Acknowledged, Changes, Died, Imap, deliver
from crash_truth import Truth
from server_process import Server

pytestmark = pytest.mark.processes

SEED = int(os.environ.get("MAILSTACK_CRASH_SEED", "1"))
WANTED = os.environ.get("MAILSTACK_CRASH", "4")
RANDOM_MOMENTS = 2
LIMIT = 60.0
"""Seconds until a point must have been passed."""
MOST_ANSWERS = 100
OFTEN = (
    # delivery; after the last of them comes the 250
    "deliver.deliver:open", "deliver.deliver:write", "deliver.copy:sendfile", "deliver.deliver:fsync file",
    "deliver.deliver:rename", "deliver.deliver:fsync directory", "deliver.deliver:fsync directory+",
    # taking in
    "locks.link:link", "locks.link:link+", "uidlist.append:write", "uidlist.append:fsync file",
    "uidlist.append:fsync file+", "locks.dotlock:unlink", "locks.dotlock:unlink+", "folder.take_in:rename",
    "folder.take_in:rename+",
    # APPEND, COPY, MOVE: after the UIDs are synced comes the directory, and then the answer
    "change._write_together:open", "change._write:write", "change._write_together:fsync file", "change.append:rename",
    "change._link:link", "arrivals.admit:fsync directory", "arrivals.admit:fsync directory+",
    # EXPUNGE, MOVE
    "folder.remove:unlink", "folder.remove:unlink+", "change.expunge:fsync directory",
    "change.expunge:fsync directory+",
    # STORE
    "folder.reflag:rename", "folder.reflag:rename+",
)  # fmt: skip
SELDOM = (
    # a keyword that is new in a mailbox
    "keywords._write:open", "keywords._write:fsync file", "keywords._write:rename", "keywords._write:fsync directory",
    # CREATE, and the first change in a mailbox
    "layout.make:mkdir", "layout.make:mkdir+", "layout.make:open", "layout.make:fsync directory",
    "layout.make:fsync directory+", "uidlist.next_validity:rename", "uidlist.next_validity:open",
    "uidlist.next_validity:fsync file", "uidlist.next_validity:fsync directory", "uidlist._replace:open",
    "uidlist._replace:fsync file", "uidlist._replace:rename",
    "uidlist._replace:fsync directory", "uidlist._replace:fsync directory+", "modseq.next:open",
    "modseq.next:fsync file", "modseq.next:rename", "modseq.next:fsync directory", "modseq.next:fsync directory+",
    # RENAME and DELETE
    "account.rename:rename", "account.rename:fsync directory", "account.rename:fsync directory+",
    "account.delete:rename", "account.delete:fsync directory", "account.delete:unlink", "account.delete:rmdir",
    "account.delete:rmdir+", "account.write_special_uses:open", "account.write_special_uses:rename",
)  # fmt: skip
POINTS = OFTEN + SELDOM
USERS = ("alice@example.org", "bob@example.org")
SENDERS = 2
PROGRAM = Path(__file__).parents[1] / "crashing_server.py"


class Clients:
    """Threads at a server until it is gone."""

    def __init__(self, server: Server, truths: dict[str, Truth], seed: str) -> None:
        self.acknowledged = Acknowledged()
        self.errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        for number in range(SENDERS):
            chance = random.Random(f"{seed} sender {number}")
            self._start(lambda chance=chance: deliver(server, truths, chance, self.acknowledged))  # type: ignore[misc]
        for user, truth in truths.items():
            arguments = (server, user, truth, random.Random(f"{seed} {user}"), self.acknowledged)
            self._start(lambda arguments=arguments: Changes(*arguments).run())  # type: ignore[misc]

    def _start(self, run: Callable[[], None]) -> None:
        def until_it_died() -> None:
            try:
                run()
            except Died:
                return
            except BaseException as error:
                self.errors.append(error)

        self._threads.append(threading.Thread(target=until_it_died))
        self._threads[-1].start()

    def join(self) -> None:
        """After the server is gone. Raises what went wrong in a thread."""
        for thread in self._threads:
            thread.join(LIMIT)
            assert not thread.is_alive()
        for error in self.errors:
            raise error


class Lives:
    """One data directory, and a server after the other on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.armed = directory / "armed"
        self.truths = {user: Truth() for user in USERS}
        self.count = 0

    def server(self, point: str = "none", number: int = 1) -> Server:
        self.armed.unlink(missing_ok=True)
        prefix = (sys.executable, str(PROGRAM), point, str(number), str(self.armed))
        return Server(self.directory, prefix=prefix).wait_ready()

    def live(self, chance: random.Random, point: str = "none") -> None:
        """One life under load: until the point, or until the clients got some number of answers."""
        self.count += 1
        server = self.server(point, chance.randint(1, 3) if point in OFTEN else 1)
        try:
            self.check(server)
            clients = Clients(server, self.truths, f"{SEED} {self.count}")
            if point == "none":
                alive = clients.acknowledged.wait(chance.randint(1, MOST_ANSWERS), LIMIT)
                assert alive or clients.errors, "the clients stand still"
            else:
                self.armed.touch()
                assert server.exited_within(LIMIT) or clients.errors, f"{point} was not passed"
        finally:
            server.kill()
        clients.join()

    def check(self, server: Server) -> None:
        for user, truth in self.truths.items():
            imap = Imap(server, user)
            truth.check({name: imap.seen(name) for name in imap.names()})
            imap.close()


def chosen(points: tuple[str, ...], chance: random.Random) -> list[str]:
    count = len(points) if WANTED == "all" else min(int(WANTED), len(points))
    return chance.sample(points, count)


def test_nothing_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    lives, moments = Lives(tmp_path), [*chosen(POINTS, chance), *["none"] * RANDOM_MOMENTS]
    chance.shuffle(moments)
    passed: list[str] = []
    try:
        for point in moments:
            passed.append(point)
            lives.live(chance, point)
        server = lives.server()
        try:
            lives.check(server)
        finally:
            server.kill()
    except BaseException as error:
        raise AssertionError(f"MAILSTACK_CRASH_SEED={SEED} MAILSTACK_CRASH={WANTED}, killed at {passed}") from error
    assert sum(len(box.messages) for truth in lives.truths.values() for box in truth.boxes.values()) > 0
