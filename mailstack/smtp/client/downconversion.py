"""Queued messages for servers without 8BITMIME, as `ClientSettings.downconvert`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from mailstack.handover import Content
from mailstack.mail.downconvert import MAX_OCTETS, CannotConvert, downconvert
from mailstack.smtp.client.settings import Downconvert

T = TypeVar("T")
PIECE = 128 * 1024


class Elsewhere(Protocol):
    """Runs a function where it keeps nobody waiting, as `store/workers.py` does."""

    def __call__(self, function: Callable[[], T], /) -> Awaitable[T]: ...


@dataclass(frozen=True, slots=True)
class _Converted:
    """Implements `handover.Content`."""

    octets: bytes

    @property
    def size(self) -> int:
        return len(self.octets)

    async def read(self, start: int, end: int) -> bytes:
        return self.octets[start:end]


def downconversion(elsewhere: Elsewhere) -> Downconvert:
    """Converts in memory, up to MAX_OCTETS. What it gives raises OSError where the message cannot be read."""

    async def converted(content: Content) -> Content | None:
        if content.size > MAX_OCTETS:
            return None
        pieces = [await content.read(at, min(at + PIECE, content.size)) for at in range(0, content.size, PIECE)]
        try:
            return _Converted(await elsewhere(partial(downconvert, b"".join(pieces))))
        except CannotConvert:
            return None

    return converted
