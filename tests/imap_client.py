"""A small IMAP client for tests that compare what two servers say."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from server_process import Dialogue

_LITERAL = re.compile(rb"\{(\d+)\}$")
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_DATE = "%d-%b-%Y %H:%M:%S %z"


class Message(NamedTuple):
    """A message as IMAP tells it; flags without \\Recent, keywords in lower case."""

    flags: frozenset[str]
    internal_date: float
    size: int
    octets: bytes


@dataclass(frozen=True)
class Mailbox:
    """A mailbox as SELECT and FETCH tell it."""

    uid_validity: int
    uid_next: int
    messages: dict[int, Message]


class Imap:
    """One connection, logged in."""

    def __init__(self, port: int, user: str, password: str, delimiter: str = "/") -> None:
        self.wire = Dialogue(socket.create_connection(("127.0.0.1", port), timeout=30))
        self.wire.line()
        self.delimiter = delimiter
        self.command(b'LOGIN "%s" "%s"' % (user.encode(), password.encode()))

    def name(self, mailbox: str) -> bytes:
        """A mailbox's name on the wire, quoted; `mailbox` has "/" between its levels."""
        return b'"' + mailbox.replace("/", self.delimiter).encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'

    def command(self, line: bytes, literal: bytes | None = None, *, ok: bytes = b"OK") -> list[bytes]:
        """The untagged responses and the tagged one, each with its literals in place. `literal` is sent
        at the end of `line`."""
        responses: list[bytes] = []
        if literal is not None:
            self.wire.send(b"t " + line + b" {%d}\r\n" % len(literal))
            while not (response := self._response()).startswith(b"+"):
                responses.append(response)
                assert not response.startswith(b"t "), (line, response)
            self.wire.send(literal + b"\r\n")
        else:
            self.wire.send(b"t " + line + b"\r\n")
        while not responses or not responses[-1].startswith(b"t "):
            responses.append(self._response())
        assert responses[-1].startswith(b"t " + ok), (line, responses[-1])
        return responses

    def _response(self) -> bytes:
        whole = b""
        while True:
            line = self.wire.line()
            assert not self.wire.ended, "the server closed the connection"
            whole += line
            found = _LITERAL.search(line)
            if found is None:
                return whole
            whole += b"\r\n" + self.wire.exactly(int(found[1]))

    def append(self, mailbox: str, octets: bytes, flags: str = "", date: str = "") -> int:
        """The new message's UID."""
        when = f' "{date}"' if date else ""
        responses = self.command(b"APPEND " + self.name(mailbox) + f" ({flags}){when}".encode(), octets)
        found = re.search(rb"APPENDUID \d+ (\d+)", responses[-1])
        assert found, responses
        return int(found[1])

    def select(self, mailbox: str) -> list[bytes]:
        return self.command(b"SELECT " + self.name(mailbox))

    def mailbox(self, name: str) -> Mailbox:
        """All of a mailbox."""
        opened = b"\n".join(self.select(name))
        validity, following = (
            int(re.search(rb"\[%s (\d+)\]" % word, opened)[1])  # type: ignore[index]
            for word in (b"UIDVALIDITY", b"UIDNEXT")
        )
        bodies = {uid: body for uid, _, body in self._fetch(b"BODY.PEEK[]")}
        found: dict[int, Message] = {}
        for uid, text, _ in self._fetch(b"FLAGS INTERNALDATE RFC822.SIZE"):
            flags = re.search(rb"FLAGS \(([^)]*)\)", text)
            size = re.search(rb"RFC822.SIZE (\d+)", text)
            date = re.search(rb'INTERNALDATE "([^"]+)"', text)
            assert flags and size and date, text
            names = frozenset(flags[1].decode().lower().split()) - {"\\recent"}
            when = datetime.strptime(date[1].decode().strip(), _DATE).timestamp()
            found[uid] = Message(names, when, int(size[1]), bodies[uid])
        return Mailbox(validity, following, found)

    def _fetch(self, items: bytes) -> list[tuple[int, bytes, bytes]]:
        found: list[tuple[int, bytes, bytes]] = []
        for response in self.command(b"UID FETCH 1:* (UID " + items + b")"):
            if re.match(rb"\* \d+ FETCH ", response) is None:
                continue
            head, _, rest = response.partition(b"{")
            uid = re.search(rb"UID (\d+)", head) or re.search(rb"UID (\d+)\)$", response)
            assert uid, response
            length, _, body = rest.partition(b"}\r\n")
            found.append((int(uid[1]), head, body[: int(length)] if length else b""))
        return found

    def list(self, command: bytes = b"LIST") -> dict[str, frozenset[str]]:
        """Mailbox name, with "/" between its levels → what is said of it, as far as both servers say it."""
        found: dict[str, frozenset[str]] = {}
        said = {"\\noselect", "\\nonexistent", "\\haschildren", "\\hasnochildren"}
        for response in self.command(command + b' "" *'):
            line = re.match(rb'\* \w+ \(([^)]*)\) "(.)" (.*)$', response)
            if line is None:
                continue
            quoted = _QUOTED.fullmatch(line[3])
            raw = re.sub(rb"\\(.)", rb"\1", quoted[1]) if quoted else line[3]
            name = raw.decode().replace(line[2].decode(), "/")
            found[name] = frozenset(line[1].decode().lower().split()) & said
        return found

    def close(self) -> None:
        self.wire.close()
