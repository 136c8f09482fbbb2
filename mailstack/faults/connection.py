"""The connection that a session has in the development mode. Between the session and the true one, it does what the
book says: sessions know nothing of it.

As long as no fault is set and the client names none, octets go through as they come, and of their beginning it is
remembered who has logged in; else the session gets them command by command, so that each can be looked at when those
before it are done."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random

from mailstack.errors import ConnectionClosed, IdleTimeout, ShuttingDown
from mailstack.faults import book as books
from mailstack.faults.book import FaultBook
from mailstack.faults.rules import (
    CONNECT,
    MESSAGE,
    Action,
    Answer,
    Certificate,
    Cut,
    Delay,
    Drop,
    Garbage,
    Hang,
    Protocol,
    Throttle,
)
from mailstack.faults.scissors import Scissors
from mailstack.faults.taps import Tap, Unit
from mailstack.ports import Clock, Connection, Peer, TlsInfo

BY_CHECKS = frozenset({"EHLO", "MAIL", "RCPT", "DATA", MESSAGE})
"""Stages of SMTP at which a check of the session says an Answer, since it knows better what happens."""
TICK = 0.05
"""Seconds between two pieces of what is throttled."""
MAX_HEARD = 2048
"""Octets of the client that are remembered while nobody looks: enough for EHLO and a login."""
MARK, MARK_SHOUTED = books.MARK.encode(), books.MARK.upper().encode()


@dataclass(frozen=True, slots=True)
class Below:
    """What is done to the true connection beside the port of sessions."""

    reset: Callable[[], None]
    stop_reading: Callable[[], None]


class FaultyConnection:
    """Implements `ports.Connection`."""

    def __init__(self, inner: Connection, book: FaultBook, tap: Tap, clock: Clock, below: Below) -> None:
        self.id = inner.id
        self.peer: Peer = inner.peer
        self.tap = tap
        self.book = book
        self._inner = inner
        self._clock = clock
        self._below = below
        self._waiting = b""
        self._last = b""
        self._heard = b""
        self._watching = False
        self._skipping = False
        self._held: list[bytes] = []
        self._rate = 0
        self._scissors: Scissors | None = None
        self._over = False

    # --- as the true one

    @property
    def timeout(self) -> float:
        return self._inner.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._inner.timeout = seconds

    @property
    def local(self) -> str:
        return self._inner.local

    @property
    def tls(self) -> TlsInfo | None:
        return self._inner.tls

    def channel_binding(self, name: str) -> bytes | None:
        return self._inner.channel_binding(name)

    @property
    def client_certificate(self) -> bytes | None:
        return self._inner.client_certificate

    def wake(self) -> None:
        self._inner.wake()

    # --- with faults

    @property
    def has_input(self) -> bool:
        return bool(self._waiting) or self._inner.has_input

    async def greet(self) -> bool:
        """Before the session begins; whether it may."""
        if not self.book.is_empty:
            await self._meet(Unit(0, CONNECT))
        await self._leave()
        return not self._over

    async def finish(self) -> None:
        """After the session: what is throttled leaves."""
        await self._leave()

    def write(self, data: bytes) -> None:
        self._last = data
        if self._over:
            return
        if self._scissors is not None:
            data = self._scissors.shorten(data)
            self._over = self._scissors.is_done
        if self._rate:
            self._held.append(data)
        else:
            self._inner.write(data)

    async def drain(self) -> None:
        await self._leave()
        await self._inner.drain()
        if self._over:
            raise ConnectionClosed

    def saying(self, seconds: float, say: Callable[[], bytes]) -> AbstractContextManager[None]:
        def what_leaves() -> bytes:
            return b"" if self._over or self._rate or self._scissors is not None else say()

        return self._inner.saying(seconds, what_leaves)

    async def receive(self, *, in_flight: bool = False, at_most: float | None = None) -> bytes:
        if not self._watching and not self._over:
            data = await self._inner.receive(in_flight=in_flight, at_most=at_most)
            if not data or self._is_quiet(data):
                return data
            self._waiting = data
        await self._leave()
        while not self._over:
            unit = self.tap.next(self._waiting, self._last) if self._waiting else None
            if unit is None:
                self._watching = self._has_to_watch()
                data = await self._inner.receive(in_flight=in_flight, at_most=at_most)
                if not data:
                    return data
                if self._rate:
                    await self._clock.sleep(len(data) / self._rate)
                self._waiting += data
            elif piece := await self._pass(unit):
                return piece
            await self._leave()
        raise ConnectionClosed

    async def start_tls(self) -> None:
        await self._leave()
        self._waiting = b""
        await self._inner.start_tls()

    def start_compression(self, received: bytes) -> None:
        waiting, self._waiting = self._waiting, b""
        self._inner.start_compression(received + waiting)

    # --- inside

    def _is_quiet(self, data: bytes) -> bool:
        """Whether nothing can happen. If it can, the tap catches up with what it has not seen."""
        if self.book.is_empty and MARK not in data and MARK_SHOUTED not in data and not self._may_name(data):
            if len(self._heard) < MAX_HEARD:
                self._heard += data
            return True
        self.tap.catch_up(self._heard)
        self._heard, self._watching = b"", True
        return False

    def _may_name(self, data: bytes) -> bool:
        """Whether there may be an address in base64."""
        return self._last[:3] == b"334" or data[:5].upper() == b"AUTH " or b" AUTHENTICATE " in data[:60].upper()

    def _has_to_watch(self) -> bool:
        quiet = self.book.is_empty and self.tap.is_at_rest and not (self._waiting or self._rate or self._skipping)
        return not quiet or self._scissors is not None or self.tap.names_fault

    async def _pass(self, unit: Unit) -> bytes:
        """The octets of the unit for the session; b"" if it does not get them."""
        octets, self._waiting = self._waiting[: unit.octets], self._waiting[unit.octets :]
        if self._skipping:
            self._skipping = not unit.ends
            return b""
        if unit.stage and not await self._meet(unit):
            self._skipping = not unit.ends
            return b""
        return octets

    async def _meet(self, unit: Unit) -> bool:
        """Whether the command is done after what happens here."""
        done = True
        for action in self.book.actions(self.tap.moment(unit.stage, self.peer.host), self._does(unit.stage)):
            done = await self._do(action, unit) and done
        return done

    def _does(self, stage: str) -> Callable[[Action], bool]:
        by_check = self.tap.protocol is Protocol.SMTP and stage in BY_CHECKS
        return lambda action: not isinstance(action, Certificate) and not (by_check and isinstance(action, Answer))

    async def _do(self, action: Action, unit: Unit) -> bool:
        """Whether the command is done after this."""
        match action:
            case Delay(seconds):
                await self.drain()
                await self._clock.sleep(seconds)
            case Throttle(rate):
                self._rate = rate
            case Cut():
                self._scissors = Scissors(action)
            case Answer(text):
                self.write(self.tap.refusal(text, unit.tag, unit.stage))
                self._over = self._over or self.tap.is_farewell(text, unit.stage)
                return False
            case Garbage(octets):
                self.write(garbage(octets) + b"\r\n")
                return False
            case Drop(reset):
                await self._leave()
                self._over = True
                if reset:
                    self._below.reset()
                return False
            case Hang():
                await self._hang()
                return False
        return True

    async def _hang(self) -> None:
        """Until the client is gone, or the server stops, or it has taken too long."""
        await self.drain()
        self._over = True
        self._below.stop_reading()
        try:
            while True:
                await self._inner.receive()
        except (IdleTimeout, ShuttingDown):
            raise ConnectionClosed from None

    async def _leave(self) -> None:
        """Let out what is throttled, as fast as it may."""
        held, self._held = b"".join(self._held), []
        step = max(1, int(self._rate * TICK))
        for start in range(0, len(held), step):
            piece = held[start : start + step]
            self._inner.write(piece)
            await self._inner.drain()
            await self._clock.sleep(len(piece) / self._rate)


def garbage(octets: int) -> bytes:
    """So many octets of chance, always the same, without a line's end and NUL."""
    return bytes(Random(octets).choices([each for each in range(1, 256) if each not in b"\r\n"], k=octets))
