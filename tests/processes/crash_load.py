"""Clients that change what they can, each in a thread, until the server is gone; what they were told goes
into a `Truth`."""

from __future__ import annotations

import itertools
import random
import re
import threading
from collections.abc import Callable, Iterable

from crash_truth import Box, Flags, Seen, Truth
from server_process import Dialogue, Server

_NUMBER = re.compile(rb"X-Number: (\d+)")
_LITERAL = re.compile(rb"\{(\d+)\}$")
_LIST = re.compile(rb'\* LIST \(([^)]*)\) "/" "?(.*?)"?$')
_NUMBERS = itertools.count(1)
MOST_BOXES = 8
LARGE = 150_000
"""Octets of a message that goes through a file of the spool."""


class Died(Exception):
    """The server is gone."""


class Acknowledged:
    """Counts answers, for who waits for so many of them."""

    def __init__(self) -> None:
        self._count = 0
        self._more = threading.Condition()

    def add(self) -> None:
        with self._more:
            self._count += 1
            self._more.notify_all()

    def wait(self, count: int, seconds: float) -> bool:
        with self._more:
            return self._more.wait_for(lambda: self._count >= count, seconds)


class Wire:
    """A connection whose end is `Died`."""

    def __init__(self, server: Server, service: str) -> None:
        try:
            self.dialogue: Dialogue = server.connect(service)
        except OSError as error:
            raise Died from error

    def send(self, octets: bytes) -> None:
        try:
            self.dialogue.send(octets)
        except OSError as error:
            raise Died from error

    def line(self) -> bytes:
        try:
            line = self.dialogue.line()
        except OSError as error:
            raise Died from error
        if self.dialogue.ended:
            raise Died
        return line

    def reply(self, code: bytes) -> None:
        """One reply of SMTP. Raises: Died, AssertionError."""
        while (line := self.line())[3:4] == b"-":
            pass
        assert line.startswith(code), line

    def close(self) -> None:
        self.dialogue.close()


class Imap:
    """An IMAP connection, logged in."""

    def __init__(self, server: Server, user: str) -> None:
        self.wire = Wire(server, "imap")
        self.command(f'LOGIN "{user}" x')

    def command(self, text: str, literal: bytes | None = None) -> list[bytes]:
        """The untagged responses and the tagged one, literals in place. Raises: Died, AssertionError."""
        octets = b"t " + text.encode()
        if literal is not None:
            octets += b" {%d+}\r\n" % len(literal) + literal
        self.wire.send(octets + b"\r\n")
        responses = [self._response()]
        while not responses[-1].startswith(b"t "):
            responses.append(self._response())
        assert responses[-1].startswith(b"t OK"), (text, responses[-1])
        return responses

    def _response(self) -> bytes:
        line = self.wire.line()
        while (found := _LITERAL.search(line)) is not None:
            rest = b""
            while len(rest) < int(found[1]):
                rest += self.wire.line() + b"\r\n"
            line = line[: found.start()] + rest + self.wire.line()
        return line

    def names(self) -> list[str]:
        found = [_LIST.match(line) for line in self.command('LIST "" *')]
        return [each[2].decode() for each in found if each and b"Nonexistent" not in each[1]]

    def seen(self, name: str) -> Seen:
        """SELECT and FETCH."""
        opened = b"\n".join(self.command(f'SELECT "{name}"'))
        values = [re.search(rb"\[%s \(?(\w+)" % word, opened) for word in (b"UIDVALIDITY", b"UIDNEXT", b"MAILBOXID")]
        validity, uid_next, identity = (found[1].decode() for found in values if found)
        messages: dict[int, tuple[int, Flags]] = {}
        for line in self.command("UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (X-Number)])"):
            if line.startswith(b"* ") and b"X-Number: " in line:
                uid, number, flags = int(_one(rb"UID (\d+)", line)), int(_one(_NUMBER.pattern, line)), flags_in(line)
                messages[uid] = number, flags
        return Seen(identity, int(validity), int(uid_next), messages)

    def close(self) -> None:
        self.wire.close()


def _one(pattern: bytes, line: bytes) -> bytes:
    found = re.search(pattern, line)
    assert found, (pattern, line)
    return found[1]


def flags_in(line: bytes) -> Flags:
    return frozenset(_one(rb"FLAGS \(([^)]*)\)", line).decode().split()) - {"\\Recent"}


def message(size: int = 0) -> tuple[int, bytes]:
    """A message unlike all others, and its number."""
    number = next(_NUMBERS)
    return number, b"X-Number: %d\r\nSubject: x\r\n\r\n%s\r\n" % (number, b"x" * 60 * (size // 60))


def deliver(server: Server, truths: dict[str, Truth], chance: random.Random, acknowledged: Acknowledged) -> None:
    """Sends messages by SMTP, each to one account or to all."""
    wire = Wire(server, "smtp")
    try:
        wire.send(b"EHLO client.example\r\n")
        wire.reply(b"250")
        while True:
            users = list(truths) if chance.random() < 0.2 else [chance.choice(list(truths))]
            number, octets = message(LARGE if chance.random() < 0.05 else 0)
            wire.send(b"MAIL FROM:<sender@example.net>\r\n")
            wire.reply(b"250")
            for user in users:
                wire.send(f"RCPT TO:<{user}>\r\n".encode())
                wire.reply(b"250")
            wire.send(b"DATA\r\n")
            wire.reply(b"354")
            _tell_all([truths[user] for user in users], number, lambda body=octets: _send(wire, body))  # type: ignore[misc]
            acknowledged.add()
    finally:
        wire.close()


def _tell_all(truths: list[Truth], number: int, ask: Callable[[], None]) -> None:
    """One 250 says it of all recipients."""
    if not truths:
        ask()
        return
    with truths[0].adding([number]):
        _tell_all(truths[1:], number, ask)


def _send(wire: Wire, octets: bytes) -> None:
    wire.send(octets + b".\r\n")
    wire.reply(b"250")


class Changes:
    """Changes an account's mailboxes by IMAP."""

    def __init__(
        self, server: Server, user: str, truth: Truth, chance: random.Random, acknowledged: Acknowledged
    ) -> None:
        self.imap = Imap(server, user)
        self.truth = truth
        self.chance = chance
        self.acknowledged = acknowledged

    def run(self) -> None:
        """Until `Died`."""
        whats = {
            self.append: 4, self.copy: 3, self.move: 4, self.flag: 3, self.expunge: 4, self.create: 2, self.rename: 2,
            self.delete: 2,
        }  # fmt: skip
        while True:
            name, box = self._look()
            what = self.chance.choices(list(whats), list(whats.values()))[0]
            what(name, box)
            self.acknowledged.add()

    def _look(self) -> tuple[str, Box]:
        name = self.chance.choice(["INBOX", *self._others()])
        return name, self.truth.looked(name, self.imap.seen(name))

    def _others(self) -> list[str]:
        return sorted(name for box in self.truth.boxes.values() for name in box.names - {"INBOX"})

    def _some(self, box: Box, most: int = 3) -> list[int]:
        there = sorted(box.messages.keys() - box.gone)
        return sorted(self.chance.sample(there, min(len(there), self.chance.randint(1, most))))

    def append(self, name: str, box: Box) -> None:
        number, octets = message(LARGE if self.chance.random() < 0.1 else 0)
        flags = self.chance.choice(["", "\\Seen", "\\Flagged $Work"])
        with self.truth.adding([number]):
            told = self.imap.command(f'APPEND "{name}" ({flags})', octets)[-1]
        validity, uid = map(int, re.findall(rb"APPENDUID (\d+) (\d+)", told)[0])
        assert validity == box.validity
        box.placed(uid, number, frozenset(flags.split()))

    def copy(self, name: str, box: Box) -> None:
        self._copy("COPY", name, box)

    def move(self, name: str, box: Box) -> None:
        self._copy("MOVE", name, box)

    def _copy(self, verb: str, name: str, box: Box) -> None:
        uids = self._some(box)
        targets = [other for other in [*self._others(), "INBOX"] if other != name]
        if not uids or not targets:
            return
        target = self.chance.choice(targets)
        there = self.truth.looked(target, self.imap.seen(target))
        self.truth.looked(name, self.imap.seen(name))
        numbers = [box.messages[uid] for uid in uids]
        with self.truth.adding(numbers):
            if verb == "MOVE":
                with self.truth.removing(box, uids):
                    told = self._ask(f'UID MOVE {_set(uids)} "{target}"')
            else:
                told = self._ask(f'UID COPY {_set(uids)} "{target}"')
        sources, destinations = (_uids(each) for each in re.findall(rb"COPYUID \d+ (\S+) ([^\s\]]+)", told)[0])
        assert sources == uids
        for source, uid in zip(sources, destinations, strict=True):
            there.placed(uid, box.messages[source], next(iter(box.flags[source])))

    def _ask(self, command: str) -> bytes:
        return b"\n".join(self.imap.command(command))

    def flag(self, name: str, box: Box) -> None:
        uids = self._some(box)
        words = self.chance.choice([["\\Seen"], ["\\Flagged", "$Work"], ["\\Answered", "$Later"]])
        adding = self.chance.random() < 0.7
        self._flag(box, uids, words, adding=adding)

    def _flag(self, box: Box, uids: Iterable[int], words: list[str], *, adding: bool) -> None:
        wanted = {}
        for uid in uids:
            before = next(iter(box.flags[uid]))
            wanted[uid] = before | set(words) if adding else before - set(words)
            box.flags[uid].add(wanted[uid])
        if wanted:
            self.imap.command(f"UID STORE {_set(wanted)} {'+' if adding else '-'}FLAGS ({' '.join(words)})")
            box.flags.update((uid, {flags}) for uid, flags in wanted.items())

    def expunge(self, name: str, box: Box) -> None:
        uids = self._some(box)
        if uids:
            self._flag(box, uids, ["\\Deleted"], adding=True)
            with self.truth.removing(box, uids):
                self.imap.command(f"UID EXPUNGE {_set(uids)}")

    def create(self, name: str, box: Box) -> None:
        if len(self.truth.boxes) < MOST_BOXES:
            made = f"Made {next(_NUMBERS)}"
            self.truth.creating.add(made)
            use = self.chance.choice(["", " (USE (\\Junk))"])
            self.imap.command(f'CREATE "{made}"{use}')
            self.truth.looked(made, self.imap.seen(made))

    def rename(self, name: str, box: Box) -> None:
        if name != "INBOX":
            other = f"Renamed {next(_NUMBERS)}"
            box.names.add(other)
            self.imap.command(f'RENAME "{name}" "{other}"')
            box.names = {other}

    def delete(self, name: str, box: Box) -> None:
        if name != "INBOX":
            box.deleting = True
            with self.truth.removing(box, box.messages.keys() - box.gone):
                self.imap.command(f'DELETE "{name}"')
            ((identity, _),) = [each for each in self.truth.boxes.items() if each[1] is box]
            del self.truth.boxes[identity]
            self.truth.deleted.add(identity)


def _set(uids: Iterable[int]) -> str:
    return ",".join(map(str, uids))


def _uids(text: bytes) -> list[int]:
    found: list[int] = []
    for part in text.decode().split(","):
        first, _, last = part.partition(":")
        found.extend(range(int(first), int(last or first) + 1))
    return found
