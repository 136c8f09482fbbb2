"""What an account may use, and what it uses. Values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QuotaLimit:
    """What an account may use: octets and messages in all its mailboxes together; 0 is no limit."""

    octets: int = 0
    messages: int = 0

    def __bool__(self) -> bool:
        return self.octets > 0 or self.messages > 0

    def takes(self, octets: int, messages: int) -> bool:
        """Whether an account may use so much."""
        return not (0 < self.octets < octets or 0 < self.messages < messages)


NO_LIMIT = QuotaLimit()


@dataclass(frozen=True, slots=True)
class Quota:
    """What an account uses, and what it may (RFC 9208 §5: the resources STORAGE, there in units of 1024
    octets, and MESSAGE)."""

    octets: int
    messages: int
    limit: QuotaLimit


@dataclass(frozen=True, slots=True)
class SendingLimit:
    """A limit that is reached: `limit` of `what`, as "messages an hour", until a time in seconds since the epoch."""

    what: str
    limit: int
    until: float
