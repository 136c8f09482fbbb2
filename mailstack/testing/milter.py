"""A milter whose answers are the test's."""

from __future__ import annotations

from collections.abc import Callable

from mailstack.smtp.milter.stream import Broken, Closed
from mailstack.smtp.wire import milter as wire
from mailstack.smtp.wire.milter import Action, Manner, Options, Packets, Step

QUIET = frozenset({b"D", b"A", b"Q", b"K"})
"""Packets that nobody answers."""
EVERYTHING = Manner(0)
"""Of a milter that wants to hear everything, and answers it."""
Reaction = bytes | Exception
"""Octets to send, or what receiving them comes to."""


def options(
    actions: Action = wire.ALL_ACTIONS, manners: Manner = EVERYTHING, version: int = wire.VERSION, more: bytes = b""
) -> bytes:
    """A milter's answer to our offer."""
    numbers = (version, int(actions), int(manners))
    return wire.packet(b"O", b"".join(number.to_bytes(4, "big") for number in numbers) + more)


class MemoryMilter:
    """Its method `dial` implements `smtp.milter.stream.Dial`. `heard` is what it was told, a letter and the data of
    each packet, macros among them.

    `answers` says what follows a letter: octets, an exception for whoever waits, or a list of them for one time
    each. What is not there is answered with CONTINUE, the offer with `options()`."""

    def __init__(self, **answers: Reaction | list[Reaction]) -> None:
        self.heard: list[tuple[bytes, bytes]] = []
        self.answers: dict[bytes, Reaction | list[Reaction]] = {
            letter.encode(): answer for letter, answer in answers.items()
        }
        self.manners = EVERYTHING
        """What it wants, and does not answer."""
        self.dialled: list[tuple[str, float]] = []
        self.waits: list[float] = []
        """How long each answer was waited for at most."""
        self.unreachable: str | None = None
        self.open = 0
        """Connections that were not closed."""
        self.idle: Callable[[], bytes] = bytes
        """What it says of itself to one who waits for more; b"" for nothing."""

    async def dial(self, address: str, timeout: float) -> MemoryMilterStream:
        self.dialled.append((address, timeout))
        if self.unreachable is not None:
            raise Broken(self.unreachable)
        self.open += 1
        return MemoryMilterStream(self)

    def letters(self) -> bytes:
        """What it was told, in letters, without macros."""
        return b"".join(letter for letter, _ in self.heard if letter != b"D")

    def data_of(self, letter: bytes) -> list[bytes]:
        """The data of each packet of this letter."""
        return [data for found, data in self.heard if found == letter]

    def macros(self, letter: bytes) -> dict[str, str]:
        """What went with the last step of this letter."""
        for data in reversed(self.data_of(b"D")):
            if data[:1] == letter:
                words = data[1:].decode().split("\0")
                return {name.strip("{}"): value for name, value in zip(words[::2], words[1::2], strict=False)}
        return {}

    def react(self, letter: bytes, data: bytes) -> Reaction:
        """What it says to one packet; b"" for nothing."""
        self.heard.append((letter, data))
        answer = self.answers.get(letter)
        if isinstance(answer, list):
            answer = answer.pop(0) if answer else None
        if answer is not None:
            return answer
        if letter == b"O":
            return options(manners=self.manners)
        if letter in QUIET or not Options(wire.VERSION, Action(0), self.manners).answers(Step(letter)):
            return b""
        return wire.packet(b"c")


class MemoryMilterStream:
    """Implements `smtp.milter.stream.Stream`."""

    def __init__(self, milter: MemoryMilter) -> None:
        self._milter = milter
        self._packets = Packets()
        self._pending: list[Reaction] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed, "nothing is said after the end"
        self._packets.feed(data)
        while (packet := self._packets.next()) is not None:
            reaction = self._milter.react(*packet)
            if reaction:
                self._pending.append(reaction)

    async def drain(self, timeout: float) -> None:
        if self._pending and isinstance(self._pending[0], Closed):
            raise self._pending[0]

    async def receive(self, timeout: float) -> bytes:
        self._milter.waits.append(timeout)
        if not self._pending:
            if said := self._milter.idle():
                return said
            raise Broken(f"no answer within {timeout:g} seconds")
        reaction = self._pending.pop(0)
        if isinstance(reaction, Exception):
            raise reaction
        return reaction

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._milter.open -= 1
