"""What a connection does, in each protocol: `begin` once, `operation` again and again."""

from __future__ import annotations

import re
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from dataclasses import dataclass

_LITERAL = re.compile(rb"\{([0-9]+)\}\r\n\Z")
_EXISTS = re.compile(rb"\* ([0-9]+) EXISTS\r\n\Z")


class Refused(Exception):
    """The server said no, or something that was not expected; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done. `user` and `password` are for IMAP and POP3, `message` has CRLF and stuffed dots."""

    recipient: str = ""
    sender: str = ""
    message: bytes = b""
    user: str = ""
    password: str = ""


class Client:
    """One connection. `octets` counts those of messages."""

    what = "operations"

    def __init__(self, reader: StreamReader, writer: StreamWriter, work: Work) -> None:
        self._reader = reader
        self._writer = writer
        self.work = work
        self.octets = 0

    async def begin(self) -> None:
        """Raises: Refused, OSError."""

    async def operation(self) -> None:
        """Raises: Refused, OSError."""
        raise NotImplementedError

    async def line(self) -> bytes:
        """With its CRLF. Raises: Refused at the end of the connection."""
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise Refused("the server closed the connection")
        return line

    async def exactly(self, octets: int) -> bytes:
        return await self._reader.readexactly(octets)

    def send(self, octets: bytes) -> None:
        self._writer.write(octets)


def _said(line: bytes) -> str:
    """For a terminal."""
    text = line.decode("utf-8", "replace").strip()[:100]
    return "".join(each if each.isprintable() else "?" for each in text)


class Smtp(Client):
    """An operation is a message, from MAIL to the reply to its end."""

    what = "messages"

    async def begin(self) -> None:
        await self._reply(b"2")
        self.send(b"EHLO load.example\r\n")
        await self._reply(b"2")

    async def operation(self) -> None:
        self.send(b"MAIL FROM:<%s>\r\n" % self.work.sender.encode())
        await self._reply(b"2")
        self.send(b"RCPT TO:<%s>\r\n" % self.work.recipient.encode())
        await self._reply(b"2")
        self.send(b"DATA\r\n")
        await self._reply(b"3")
        self.send(self.work.message + b".\r\n")
        await self._reply(b"2")
        self.octets += len(self.work.message)

    async def _reply(self, code: bytes) -> None:
        line = await self.line()
        while line[3:4] == b"-":
            line = await self.line()
        if not line.startswith(code):
            raise Refused(_said(line))


class Imap(Client):
    """An operation is FETCH of one message's octets; of an empty mailbox, NOOP."""

    what = "commands"

    def __init__(self, reader: StreamReader, writer: StreamWriter, work: Work) -> None:
        super().__init__(reader, writer, work)
        self._count = 0
        self._exists = 0

    async def begin(self) -> None:
        await self.line()
        await self._command(b"LOGIN %s %s" % (quoted(self.work.user), quoted(self.work.password)))
        await self._command(b"SELECT INBOX")

    async def operation(self) -> None:
        number = self._count % self._exists + 1 if self._exists else 0
        await self._command(b"FETCH %d (FLAGS BODY.PEEK[])" % number if number else b"NOOP")

    async def _command(self, command: bytes) -> None:
        self._count += 1
        tag = b"t%d " % self._count
        self.send(tag + command + b"\r\n")
        while not (line := await self.line()).startswith(tag):
            if exists := _EXISTS.match(line):
                self._exists = int(exists[1])
            while literal := _LITERAL.search(line):
                self.octets += len(await self.exactly(int(literal[1])))
                line = await self.line()
            if line.startswith(b"* BYE"):
                raise Refused(_said(line))
        if not line[len(tag) :].startswith(b"OK"):
            raise Refused(_said(line[len(tag) :]))


class Pop3(Client):
    """An operation is STAT, and RETR of one message if there is one."""

    what = "visits"

    def __init__(self, reader: StreamReader, writer: StreamWriter, work: Work) -> None:
        super().__init__(reader, writer, work)
        self._count = 0

    async def begin(self) -> None:
        await self._ok()
        for command in (f"USER {self.work.user}", f"PASS {self.work.password}"):
            self.send(command.encode() + b"\r\n")
            await self._ok()

    async def operation(self) -> None:
        self.send(b"STAT\r\n")
        messages = int((await self._ok()).split()[1])
        if messages:
            self.send(b"RETR %d\r\n" % (self._count % messages + 1))
            self._count += 1
            await self._ok()
            while (line := await self.line()) != b".\r\n":
                self.octets += len(line)

    async def _ok(self) -> bytes:
        line = await self.line()
        if not line.startswith(b"+OK"):
            raise Refused(_said(line))
        return line


def quoted(text: str) -> bytes:
    """A quoted string of IMAP (RFC 9051 §9)."""
    return b'"%s"' % text.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"')


CLIENTS: dict[str, Callable[[StreamReader, StreamWriter, Work], Client]] = {"smtp": Smtp, "imap": Imap, "pop3": Pop3}
WHAT = {"smtp": Smtp.what, "imap": Imap.what, "pop3": Pop3.what}
