"""Servers on loopback for the client: our own, over the fakes, and what stands in between."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest_twisted
import trustme
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import Factory, Protocol

from mailstack.handover import TlsDemand
from mailstack.net.hop import Dialer, HopProtocol, Target
from mailstack.net.listener import Admission, Listener, Service, connection_ids
from mailstack.net.tls import CertificateFiles, ServerTls
from mailstack.smtp.client.session import ClientSession
from mailstack.smtp.client.settings import ClientSettings
from mailstack.smtp.session import SmtpSession
from mailstack.smtp.settings import Role, SmtpResources, SmtpSettings
from mailstack.testing.accounts import MemoryAccounts, MemoryDirectory
from mailstack.testing.clock import ManualClock
from mailstack.testing.counters import MemoryCounters
from mailstack.testing.log import RecordingLog
from mailstack.testing.outbound import MemoryOutbound
from mailstack.testing.store import MemorySpool, MemoryStore

NET: Any = reactor
USERS = {"joe@example.com": "secret", "ann@example.com": "secret"}


def in_reactor(test: Callable[..., Coroutine[Any, Any, None]]) -> Any:
    """A test that waits."""
    return pytest_twisted.ensureDeferred(test)


class Rig:
    """A server of ours, a dialer, and whatever else listens; `stop` ends it all."""

    def __init__(self) -> None:
        self.log = RecordingLog()
        self.dialer = Dialer(NET, self.log, connection_ids(9))
        self.store, self.outbound = MemoryStore(), MemoryOutbound()
        self.accounts = MemoryAccounts(USERS, ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"))
        self.clock = ManualClock()
        self.ports: list[Any] = []
        self.listeners: list[Listener] = []

    def serve(self, tls: Any = None, *, lmtp: bool = False, path: str = "", **changes: object) -> int:
        """Our server; returns its port, 0 on a unix socket at `path`."""
        resources = SmtpResources(
            MemoryDirectory(USERS), self.accounts, self.store, self.outbound, MemorySpool(), self.log,
            MemoryCounters(), self.clock,
        )  # fmt: skip
        changes.setdefault("tls_available", tls is not None)
        chosen = SmtpSettings(hostname="mx.example", role=Role.LMTP if lmtp else Role.RECEIVE, **changes)  # type: ignore[arg-type]
        service = Service("smtp", lambda connection: SmtpSession(connection, resources, chosen), b"421 %s\r\n")
        listener = Listener(
            service, reactor=NET, log=self.log, counters=MemoryCounters(), tls=tls,
            admission=Admission(100, 100), ids=connection_ids(7),
        )  # fmt: skip
        self.listeners.append(listener)
        return self.listen(listener, path)

    def listen(self, factory: Factory, path: str = "") -> int:
        port = NET.listenUNIX(path, factory) if path else NET.listenTCP(0, factory, interface="127.0.0.1")
        self.ports.append(port)
        return 0 if path else int(port.getHost().port)

    async def connect(self, port: int, **more: Any) -> HopProtocol:
        return await self.dialer.connect(Target("127.0.0.1", port, **more))

    async def session(
        self, port: int, demand: TlsDemand | None = None, settings: ClientSettings | None = None
    ) -> ClientSession:
        """An open one. Raises: HopFailed."""
        connection = await self.connect(port)
        session = ClientSession(connection, settings or ClientSettings("me.example"), self.clock)
        await session.open(demand)
        return session

    def stop(self) -> None:
        self.dialer.cut()
        for listener in self.listeners:
            for connection in list(listener._connections):
                connection.abort()
        for port in self.ports:
            pytest_twisted.blockon(maybeDeferred(port.stopListening))


class Saying(Factory):
    """Servers that say some octets to each client, for all that it says, and maybe close; `heard` is what came."""

    noisy = False

    def __init__(self, first: bytes = b"", *answers: bytes, close: bool = False, deaf: bool = False) -> None:
        self.first, self.answers, self.close, self.deaf = first, answers, close, deaf
        self.heard: list[bytes] = []

    def buildProtocol(self, addr: object) -> Protocol:
        return _Says(self)


class _Says(Protocol):
    transport: Any

    def __init__(self, factory: Saying) -> None:
        self._saying = factory
        self._left = list(factory.answers)

    def connectionMade(self) -> None:
        if self._saying.deaf:
            self.transport.pauseProducing()
        if self._saying.first:
            self.transport.write(self._saying.first)
        self._end()

    def dataReceived(self, data: bytes) -> None:
        self._saying.heard.append(data)
        if self._left:
            self.transport.write(self._left.pop(0))
        self._end()

    def _end(self) -> None:
        if self._saying.close and not self._left:
            self.transport.loseConnection()


def files(directory: Path, certificate: trustme.LeafCert) -> CertificateFiles:
    """The certificate's chain and key, in files."""
    directory.mkdir(parents=True, exist_ok=True)
    chain, key = directory / "chain.pem", directory / "key.pem"
    chain.write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    key.write_bytes(certificate.private_key_pem.bytes())
    return CertificateFiles(chain, key)


def server_tls(directory: Path, certificate: trustme.LeafCert) -> ServerTls:
    return ServerTls([files(directory, certificate)], RecordingLog())
