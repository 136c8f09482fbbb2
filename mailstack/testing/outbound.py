"""Mail that leaves, kept in a list."""

from __future__ import annotations

from dataclasses import dataclass

from mailstack.errors import Problem, Refused
from mailstack.ports import Blob, Envelope
from mailstack.testing.spool import octets_of


@dataclass(frozen=True, slots=True)
class Enqueued:
    """One item: `message` is the prefix and the blob's octets."""

    queue_id: str
    envelope: Envelope
    message: bytes


class MemoryOutbound:
    """Implements `ports.Outbound`. `problem`, when set, refuses everything."""

    def __init__(self) -> None:
        self.items: list[Enqueued] = []
        self.problem: Problem | None = None

    async def enqueue(self, envelope: Envelope, prefix: bytes, blob: Blob) -> str:
        if self.problem is not None:
            raise Refused(self.problem)
        queue_id = f"q{len(self.items) + 1}"
        self.items.append(Enqueued(queue_id, envelope, prefix + octets_of(blob)))
        return queue_id

    async def hasten(self, domain: str, *, subdomains: bool = False) -> int:
        if self.problem is not None:
            raise Refused(self.problem)
        below = f".{domain.lower()}"
        return sum(
            any(to.domain.lower() == domain.lower() or (subdomains and to.domain.lower().endswith(below)) for to in tos)
            for tos in (item.envelope.recipients for item in self.items)
        )
