"""Commands go out, replies come back, and what was said is written down."""

from __future__ import annotations

from collections.abc import Sequence

from mailstack.errors import IdleTimeout
from mailstack.handover import HopConnection, Transcript
from mailstack.smtp.wire.client_replies import BadReply, Reply, ReplyParser
from mailstack.surroundings import Clock


class Dialogue:
    """One connection as lines. Raises: ConnectionClosed, IdleTimeout, BadReply."""

    __slots__ = ("_parser", "clock", "connection", "transcript")

    def __init__(self, connection: HopConnection, clock: Clock, transcript: Transcript) -> None:
        self.connection = connection
        self.clock = clock
        self.transcript = transcript
        self._parser = ReplyParser()

    @property
    def quiet(self) -> bool:
        """Whether nothing has come that was not asked for."""
        return self._parser.is_empty and not self.connection.has_input

    def say(self, command: bytes, shown: str = "") -> None:
        """One command with its CRLF. `shown` is for the transcript, if the command is not."""
        self.transcript.add(f"C: {shown or command[:-2].decode()}")
        self.connection.write(command)

    def say_all(self, commands: Sequence[bytes]) -> None:
        """A group of commands (RFC 2920)."""
        octets = b"".join(commands)
        add = self.transcript.add
        for line in octets[:-2].decode().split("\r\n"):
            add("C: " + line)
        self.connection.write(octets)

    async def reply(self, seconds: float) -> Reply:
        """The next reply, which has to be complete in so many seconds."""
        reply = self._next()
        if reply is not None:
            return reply
        connection, clock = self.connection, self.clock
        end = clock.now() + seconds
        connection.timeout = seconds
        while True:
            self._parser.feed(await connection.receive())
            reply = self._next()
            if reply is not None:
                return reply
            connection.timeout = end - clock.now()
            if connection.timeout <= 0:
                raise IdleTimeout

    def _next(self) -> Reply | None:
        try:
            reply = self._parser.next_reply()
        except BadReply as bad:
            self.transcript.add(f"-- {bad}")
            raise
        if reply is not None:
            last = len(reply.lines) - 1
            for number, line in enumerate(reply.lines):
                self.transcript.add(f"S: {reply.code}{' ' if number == last else '-'}{line}")
        return reply
