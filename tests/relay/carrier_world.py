"""A carrier with real sockets on loopback: our own DNS, servers with certificates of an authority that is made here,
and a host that publishes a policy of MTA-STS."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest_twisted
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hop_peers import NET, Rig, Saying, files
from twisted.internet.defer import Deferred
from twisted.protocols.tls import TLSMemoryBIOFactory

from mailstack.config.outgoing import Downgrade, Outbound, Route
from mailstack.config.sections import Dns
from mailstack.dns.exchange import ReactorExchange
from mailstack.dns.resolver import DnsResolver
from mailstack.handover import HopFailed, Transcript
from mailstack.mail.address import Address
from mailstack.mail.parameters import MailParameters
from mailstack.net.https import HttpsTexts
from mailstack.net.tls import ServerTls
from mailstack.ports import Envelope
from mailstack.queue.items import Item, Waiting
from mailstack.relay.carrier import MailCarrier, SmtpHop, Surroundings
from mailstack.relay.downgrades import Guard
from mailstack.relay.settings import Way, way
from mailstack.relay.sts import StsPolicies, StsSettings
from mailstack.relay.tls_database import Count, TlsDatabase
from mailstack.relay.tls_notes import TlsNotes
from mailstack.store.workers import InlineWorkers
from mailstack.testing.counters import MemoryCounters
from mailstack.testing.dns_server import DnsServer

DOMAIN = "example.net"
POLICY = "version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 86400\n"
EPOCH = 1_764_000_000.0
TODAY = "2025-11-24"


class World:
    """`mx.example.net` and `mx2.example.net` are one server; which certificate it shows is by the name asked for."""

    def __init__(self, directory: Path, authority: trustme.CA, dns: DnsServer) -> None:
        self.directory, self.authority, self.dns = directory, authority, dns
        self.rig = Rig()
        self.log, self.counters = self.rig.log, MemoryCounters()
        self.time = EPOCH
        self.trusted = directory / "authorities.pem"
        self.trusted.write_bytes(authority.cert_pem.bytes())
        self.outbound: dict[str, Any] = {}
        self.downgrade = Downgrade.REPORT
        self.route: Route | None = None
        self.policy_port = 1
        self.resolver = DnsResolver(
            Dns(servers=(dns.address,), cache_entries=0, timeout=2.0), NET, ReactorExchange(NET), self.log,
            self.counters,
        )  # fmt: skip
        self.port = 1
        self.begin()

    # --- what there is

    def serve(self, *certificates: trustme.LeafCert, tls: Any = None, **changes: object) -> None:
        """The mail exchanger; without certificates it offers no TLS."""
        pairs = [files(self.directory / f"mx{number}", each) for number, each in enumerate(certificates)]
        self.port = self.rig.serve(tls or (ServerTls(pairs, self.log) if pairs else None), **changes)

    def publish(
        self,
        text: str = "",
        certificate: trustme.LeafCert | None = None,
        head: str = "200 OK",
        more: str = "",
        close: bool = False,
    ) -> Saying:
        """The policy's host; what comes to it is in `heard`."""
        certificate = certificate or self.authority.issue_cert(f"mta-sts.{DOMAIN}")
        length = "Connection: close" if close else f"Content-Length: {len(text)}"
        answer = f"HTTP/1.1 {head}\r\n{length}\r\n{more or 'Content-Type: text/plain'}\r\n\r\n{text}"
        saying = Saying(b"", answer.encode(), close=close)
        tls = ServerTls([files(self.directory / "sts", certificate)], self.log)
        self.policy_port = self.rig.listen(TLSMemoryBIOFactory(tls, False, saying))
        self.policies.settings = StsSettings(self.policy_port, str(self.trusted))
        return saying

    def say(self, id_: str = "") -> None:
        """The domain's TXT record, "" for none."""
        self.dns.zones[f"_mta-sts.{DOMAIN}"] = {"TXT": f"v=STSv1; id={id_}"} if id_ else {"TXT": "nothing"}

    def tlsa(self, *records: tuple[int, int, int, bytes]) -> None:
        self.dns.zones[f"_{self.port}._tcp.mx.{DOMAIN}"] = {"TLSA": list(records)}

    # --- what is done

    def begin(self, path: Path | None = None) -> None:
        """The server starts, or starts again; what it remembers is in memory, or in a file."""
        self.path = path
        database = TlsDatabase(path)
        self.database = database
        run = InlineWorkers().run
        self.notes = TlsNotes(NET, database, run, self.now, self.log, self.counters)
        self.policies = StsPolicies(
            NET, self.resolver, HttpsTexts(NET, self.resolver), database, run, self.notes, self.now, self.log,
            self.counters, StsSettings(self.policy_port, str(self.trusted)),
        )  # fmt: skip
        guard = Guard(self.notes, lambda: self.downgrade, self.now, self.log, self.counters)
        around = Surroundings(
            self.rig.dialer,
            self.resolver,
            self.policies,
            (),
            self.rig.clock,
            self.log,
            self.counters,
            self.notes,
            guard,
        )
        self.carrier = MailCarrier(around, self._way, lambda: None, shuffle=lambda hosts: None)  # type: ignore[arg-type, return-value]

    async def restart(self) -> None:
        assert self.path is not None
        self.policies.stop()
        await self.notes.flush()
        self.begin(self.path)

    def end(self) -> None:
        self.policies.stop()
        pytest_twisted.blockon(Deferred.fromCoroutine(self.notes.flush()))
        self.resolver.close()
        self.rig.stop()

    def now(self) -> float:
        return self.time

    def _way(self, name: str) -> Way:
        outbound = Outbound(port=self.port, ca=self.trusted, **{"ipv6": False, **self.outbound})
        return way(outbound, self.route, "me.example", lambda path: "")

    async def open(self, destination: str = DOMAIN, *, require_tls: bool = False, sender: str = "joe") -> SmtpHop:
        """A session with a server of the domain. Raises: HopFailed."""
        self.transcript = Transcript()
        hop = await self.carrier.open(destination, waiting(require_tls=require_tls, sender=sender), self.transcript)
        assert isinstance(hop, SmtpHop)
        return hop

    async def reached(self, destination: str = DOMAIN, **more: Any) -> tuple[str, str]:
        """The host, and "plain", "unverified" or "verified"; or the status and the text of the failure."""
        try:
            hop = await self.open(destination, **more)
        except HopFailed as failed:
            return failed.outcome.status, failed.outcome.text
        connection = hop._session.connection
        await hop.close()
        tls = "plain" if connection.tls is None else "verified" if connection.tls_verified else "unverified"
        return connection.host, tls

    async def counts(self) -> Sequence[Count]:
        await self.notes.flush()
        return self.database.counts(TODAY)

    async def summary(self) -> list[tuple[str, str, str, str, int]]:
        """Of each count: kind, policy domain, failure, host, number."""
        return [
            (c.session.kind, c.session.policy_domain, c.session.failure, c.session.host, c.number)
            for c in await self.counts()
        ]


def waiting(*, require_tls: bool = False, sender: str = "joe") -> Waiting:
    envelope = Envelope(
        Address(sender, "example.com") if sender else None, (Address("ann", DOMAIN),),
        parameters=MailParameters(require_tls=require_tls),
    )  # fmt: skip
    return Waiting(Item("q1", envelope, EPOCH, EPOCH + 100, 0, 10), DOMAIN, (0,), EPOCH)


def key_digest(certificate: trustme.LeafCert | trustme.CA) -> bytes:
    """The data of a TLSA record 3 1 1 or 2 1 1."""
    pem = certificate.cert_pem if isinstance(certificate, trustme.CA) else certificate.cert_chain_pems[0]
    key = x509.load_pem_x509_certificate(pem.bytes()).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
