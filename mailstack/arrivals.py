"""How a message came, beside what stands in it: for whom sees what is delivered, as the development mode does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mailstack.mailboxes import AccountName
from mailstack.surroundings import Peer, TlsInfo


@dataclass(frozen=True, slots=True)
class Arrival:
    """One transaction, for all copies that it brings. `id` is as in the Received field, `sender` "" for the null
    reverse-path, `protocol` a word of RFC 3848. `dialogue` has lines "C: …" and "S: …", and goes on to grow until
    the connection ends or its next transaction begins."""

    id: str
    at: float
    sender: str
    recipients: tuple[str, ...]
    helo: str
    peer: Peer
    protocol: str
    tls: TlsInfo | None
    login: AccountName | None
    dialogue: Sequence[str]


class Witness(Protocol):
    """Hears of every message that comes into a mailbox."""

    def arrived(self, account: AccountName, mailbox: str, name: str, arrival: Arrival | None) -> None:
        """Called in the reactor's thread when the message is durable. `name` is that of its file. None: it came by
        APPEND or COPY, or was made here. Must not block or raise."""
