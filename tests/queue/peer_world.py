"""The queue, its carrier and its reports together, before servers of others that are as bad as a test wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import queue_world
from queue_world import QueueWorld, Reports

from mailstack.config.outgoing import Downgrade, Outbound, Route
from mailstack.config.returns import Reports as ReportSettings
from mailstack.errors import ConnectionClosed, IdleTimeout
from mailstack.handover import HopFailed, Outcome, TlsDemand, TlsFailed, Verdict
from mailstack.net.hop import Target
from mailstack.ports import AccountName
from mailstack.queue.items import LOCAL, Waiting
from mailstack.queue.queue import NewReport
from mailstack.queue.reporter import SenderReports
from mailstack.queue.settlement import Settlement
from mailstack.relay.carrier import MailCarrier, Surroundings
from mailstack.relay.downgrades import Guard
from mailstack.relay.routes import Router
from mailstack.relay.settings import Way, way
from mailstack.relay.tls_policy import Applied
from mailstack.surroundings import TlsInfo
from mailstack.testing.counters import MemoryCounters
from mailstack.testing.log import RecordingLog
from mailstack.testing.names import FakeResolver
from mailstack.testing.zones import Zone

FIRST, SECOND = "192.0.2.1", "192.0.2.2"
ZONES: Zone = {
    "example.net": {"MX": [(10, "mx1.example.net"), (20, "mx2.example.net")]},
    "mx1.example.net": {"A": FIRST},
    "mx2.example.net": {"A": SECOND},
}
TO = "bob@example.net"
CLOSE = "*close*"
USUAL: Mapping[str, str] = {
    "connect": "220 mx ESMTP", "EHLO": "250 mx", "HELO": "250 mx", "STARTTLS": "220 go on", "TLS": "", "RSET": "250 ok",
    "MAIL": "250 2.1.0 ok", "RCPT": "250 2.1.5 ok", "DATA": "354 go on", ".": "250 2.0.0 taken", "QUIT": "221 bye",
}  # fmt: skip


class Peer:
    """Implements `handover.HopConnection`: a server that answers as `USUAL`, but for what `instead` has; an empty
    answer is silence, CLOSE at the end of one ends the connection. For "TLS", "kind: reason" is a failure. Nothing
    waits."""

    def __init__(self, target: Target, instead: Mapping[str, str]) -> None:
        self.host, self.address = target.host, target.address
        self.timeout = 0.0
        self.tls: TlsInfo | None = None
        self.tls_resumed = self.tls_verified = False
        self.tls_problem: TlsFailed | None = None
        self.taken: list[bytes] = []
        """What came as mail data."""
        self.ended = False
        self._answers = {**USUAL, **instead}
        self._unread, self._replies = b"", b""
        self._gone = self._silent = self._in_data = False
        self._answer("connect")

    # --- handover.HopConnection

    def write(self, data: bytes) -> None:
        assert not self.ended, "written to a connection that is closed"
        self._unread += data

    async def drain(self) -> None:
        self._hear()
        if self._gone and not self._replies:
            raise ConnectionClosed

    @property
    def has_input(self) -> bool:
        self._hear()
        return bool(self._replies) or self._gone

    async def receive(self) -> bytes:
        self._hear()
        if self._replies:
            replies, self._replies = self._replies, b""
            return replies
        raise ConnectionClosed if self._gone else IdleTimeout

    async def start_tls(self, demand: TlsDemand) -> None:
        failure = self._answers["TLS"]
        if failure == CLOSE:
            raise ConnectionClosed
        kind, _, reason = failure.partition(": ")
        if reason and (demand.certainty.is_sure or kind == "validation-failure"):
            raise TlsFailed(reason, kind)
        self.tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384")
        self.tls_verified = not reason

    def close(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = True

    # --- inside

    def _answer(self, step: str) -> None:
        answer = self._answers[step]
        self._gone = answer.endswith(CLOSE)
        self._silent = not answer
        lines = answer.removesuffix(CLOSE)
        if lines:
            self._replies += lines.encode() + b"\r\n"

    def _hear(self) -> None:
        while not (self._gone or self._silent) and b"\r\n" in self._unread:
            if self._in_data:
                if b"\r\n.\r\n" not in self._unread:
                    return
                data, _, self._unread = self._unread.partition(b"\r\n.\r\n")
                self.taken.append(data + b"\r\n")
                self._in_data = False
                self._answer(".")
                continue
            line, _, self._unread = self._unread.partition(b"\r\n")
            step = line.decode().partition(" ")[0]
            self._answer(step)
            self._in_data = step == "DATA" and self._answers["DATA"].startswith("354")


class Peers:
    """Implements `carrier.Dial`: servers by their addresses; what has none refuses connections."""

    def __init__(self) -> None:
        self.at: dict[str, Mapping[str, str]] = {}
        self.connected: list[Peer] = []
        self.tried: list[str] = []

    async def connect(self, target: Target) -> Any:
        self.tried.append(target.address)
        if target.address not in self.at:
            text = f"connection to {target}: refused"
            raise HopFailed(Outcome(Verdict.LATER, "4.4.1", text, target.host or target.address, remote=False))
        peer = Peer(target, self.at[target.address])
        self.connected.append(peer)
        return peer

    @property
    def taken(self) -> list[tuple[str, bytes]]:
        """Where which message arrived."""
        return [(peer.address, octets) for peer in self.connected for octets in peer.taken]


class NoNotes:
    """Implements `tls_notes.Notes`: remembers nothing."""

    def count(self, applied: Applied, failed: str = "", target: Target | None = None, reason: str = "") -> None:
        return

    async def level(self, host: str) -> int:
        return 0

    def worked(self, host: str, level: int) -> None:
        return


class NoPolicies:
    """Implements `tls_policy.Policies`: there are none."""

    async def policy(self, domain: str) -> None:
        return None


class Sending(Reports):
    """The reports that senders really get."""

    def __init__(self) -> None:
        super().__init__()
        self.log = RecordingLog()
        self._real = SenderReports("mail.example.org", ReportSettings(), lambda _: None, self.log, MemoryCounters())

    async def reports(self, waiting: Waiting, settlement: Settlement, head: bytes, now: float) -> Sequence[NewReport]:
        return await self._real.reports(waiting, settlement, head, now)


class PeerWorld(QueueWorld):
    """`peers` by address, `resolver`'s zones; mail for example.org is ours, and lands in `mailbox`."""

    def __init__(self, directory: Path, zones: Zone = ZONES, route: Route | None = None, **more: Any) -> None:
        self.resolver = FakeResolver(zones)
        self.peers = Peers()
        self.mailbox = queue_world.ScriptedCarrier()
        self.route = route
        self.shuffled: list[list[str]] = []
        self.outbound = Outbound(**more.pop("outbound", {}))
        super().__init__(directory, **{"expire": 5 * 86400.0, **more})

    def open(self) -> None:
        log, counters = RecordingLog(), MemoryCounters()
        self.tls_log = log
        guard = Guard(NoNotes(), lambda: Downgrade.REPORT, self.now, log, counters)
        around = Surroundings(
            self.peers, self.resolver, NoPolicies(), ("mail.example.org",), self, log, counters, NoNotes(), guard
        )
        self.carrier = MailCarrier(around, self._way, self._local, self._shuffle)  # type: ignore[assignment]
        self.reports = Sending()
        super().open()
        self.queue.placing = Router(["example.org"], [self.route] if self.route else [], [])

    def send(self, *to: str, **more: Any) -> str:
        return super().send(*(to or (TO,)), **{"account": AccountName("me@example.org"), **more})

    def attempt(self, *to: str, **more: Any) -> None:
        """One message, and one attempt."""
        self.start()
        self.send(*to, **more)
        self.pass_time(5.0, 1.0)
        assert not self.log.failures, self.log.failures

    @property
    def waits(self) -> tuple[str, str]:
        """Status and text of the last outcome of the message that waits for others."""
        (row,) = [row for row in self.rows() if row.destination != LOCAL]
        outcome = row.last[row.recipients[0]]
        assert outcome.verdict is Verdict.LATER
        return outcome.status, outcome.text

    @property
    def report(self) -> str:
        """The text for people of the only report, on lines that are joined."""
        ((_, _, octets),) = self.mailbox.sent
        message = message_from_bytes(octets, policy=default)
        part = message.get_body(("plain",))
        assert part is not None, octets
        text: str = part.get_content()
        return " ".join(text.split())

    # --- inside

    def _way(self, name: str) -> Way:
        return way(self.outbound, self.route if name else None, "mail.example.org", lambda path: "")

    def _local(self) -> queue_world.ScriptedHop:
        return queue_world.ScriptedHop(self.mailbox, LOCAL)

    def _shuffle(self, hosts: list[str]) -> None:
        self.shuffled.append(list(hosts))
        hosts.reverse()
