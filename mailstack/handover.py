"""Handing a message over to another server: what is handed over, over what, and what comes of it. The values that the
client (`smtp/client`), the queue and its reports exchange. Those that need an `Envelope` name it by `ports.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from mailstack.surroundings import TlsInfo


class Verdict(Enum):
    """What became of one recipient."""

    DONE = "done"
    """The next hop answers for it now."""
    LATER = "later"
    """Not now: try again."""
    NEVER = "never"
    """Not at all: its sender has to hear of it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one recipient of one attempt. `status` is an enhanced status code (RFC 3463), `text` one line: what the next
    hop replied, or, with `remote` False, what went wrong before it could. `mta` is the host that it was handed
    to, "" if none was reached. `reports` says that the next hop takes over what the sender asked to hear (DSN).
    `cause` is the status of what went wrong last, where `status` is only that the time is over."""

    verdict: Verdict
    status: str
    text: str
    mta: str = ""
    remote: bool = True
    reports: bool = False
    cause: str = ""


@dataclass(slots=True)
class Transcript:
    """The conversation of one attempt in lines, as "C: MAIL FROM:<>" and "S: 250 2.1.0 ok", for people; no mail data
    and no secrets. Bounded: of a long one the middle is missing."""

    limit: int = 16 * 1024
    """Characters that are kept."""
    _head: list[str] = field(default_factory=list)
    _tail: list[str] = field(default_factory=list)
    _head_size: int = 0
    _tail_size: int = 0
    _left_out: int = 0

    def add(self, line: str) -> None:
        """One line, of which 512 characters are kept."""
        line = line[:512]
        if self._head_size + len(line) < self.limit // 2:
            self._head.append(line)
            self._head_size += len(line) + 1
            return
        self._tail.append(line)
        self._tail_size += len(line) + 1
        while self._tail_size > self.limit // 2:
            self._tail_size -= len(self._tail.pop(0)) + 1
            self._left_out += 1

    @property
    def text(self) -> str:
        gap = [f"-- {self._left_out} lines left out"] if self._left_out else []
        return "\n".join((*self._head, *gap, *self._tail))


class HopFailed(Exception):
    """The next hop as a whole cannot be used (no connection, a bad greeting, no TLS where it must be, AUTH refused, or
    the connection is lost before anything of the message was handed over). `outcome` holds for every recipient.

    `tls`: TLS has failed, and a new connection without it may be tried where none is demanded; "" or, as in reports
    of TLS (RFC 8460 §4.3), what went wrong. `stale`: a connection that was used before has ended in between, and a
    new one to the same host should be tried at once."""

    def __init__(self, outcome: Outcome, *, tls: str = "", stale: bool = False) -> None:
        super().__init__(outcome.text)
        self.outcome = outcome
        self.tls = tls
        self.stale = stale


class Content(Protocol):
    """A queued message: CRLF lines, on disk or, if small, in memory."""

    @property
    def size(self) -> int: ...

    async def read(self, start: int, end: int) -> bytes:
        """Octets [start, end), at most 128 KiB of them. Raises: OSError."""


class Certainty(Enum):
    """How a server's certificate has to be verified."""

    NONE = "none"
    """Any will do (RFC 7435)."""
    NOTED = "noted"
    """As NAMED, but what is wrong is noted, and any will do."""
    NAMED = "named"
    """By a trusted authority, for one of the names."""
    TLSA = "tlsa"
    """By the TLSA records (RFC 7672)."""

    @property
    def is_sure(self) -> bool:
        """Whether nobody else can be at the other end."""
        return self in (Certainty.NAMED, Certainty.TLSA)


@dataclass(frozen=True, slots=True)
class TlsaRecord:
    """One usable TLSA record (RFC 6698 §2.1): usage 2 or 3, selector 0 or 1, matching type 0 to 2."""

    usage: int
    selector: int
    matching_type: int
    data: bytes


@dataclass(frozen=True, slots=True)
class TlsDemand:
    """What TLS has to be like. `required` False: without is better than not at all. `names`: host names of which
    the certificate must have one; the first is the SNI. `authorities` is a file of PEM certificates to trust instead of
    the system's, `identity` (certificate, key) files of our own certificate, "" for none."""

    required: bool = False
    certainty: Certainty = Certainty.NONE
    names: tuple[str, ...] = ()
    records: tuple[TlsaRecord, ...] = ()
    authorities: str = ""
    identity: tuple[str, str] | None = None


class HopConnection(Protocol):
    """A connection that we have opened, as the client's session sees it. Everything that goes wrong with it is
    ConnectionClosed or IdleTimeout."""

    host: str
    """The name of the host, as in MX; "" for an address."""
    address: str
    """Its IP address, or the path of a unix socket."""
    timeout: float
    """Seconds that `receive` and `drain` wait before they raise IdleTimeout."""

    @property
    def tls(self) -> TlsInfo | None:
        """None in plain text."""

    @property
    def tls_verified(self) -> bool:
        """Whether its certificate is what the demand asked for; False for Certainty.NONE."""

    @property
    def tls_problem(self) -> TlsFailed | None:
        """What is wrong with its certificate, for Certainty.NOTED."""

    def write(self, data: bytes) -> None:
        """Queue octets; they leave at the next `drain` or `receive`."""

    async def drain(self) -> None:
        """Let what is queued leave, and wait while the peer is slow to take it.
        Raises: ConnectionClosed, IdleTimeout."""

    @property
    def has_input(self) -> bool:
        """Whether `receive` would give octets, or the end of the connection, at once."""

    async def receive(self) -> bytes:
        """The next octets, never b"". Raises: ConnectionClosed, IdleTimeout."""

    async def start_tls(self, demand: TlsDemand) -> None:
        """Begin TLS as the client, and wait until the handshake is done. Raises: TlsFailed, ConnectionClosed,
        IdleTimeout."""

    def close(self) -> None:
        """Flush, then close. Idempotent."""

    def abort(self) -> None:
        """Cut it now. Idempotent."""


class TlsFailed(Exception):
    """The handshake failed, or the certificate is not what is demanded; the message says what, in one line, and
    `kind` in a word of RFC 8460 §4.3: "validation-failure", "certificate-expired", "certificate-host-mismatch",
    "certificate-not-trusted", "tlsa-invalid" and so on."""

    def __init__(self, message: str, kind: str = "validation-failure") -> None:
        super().__init__(message)
        self.kind = kind
