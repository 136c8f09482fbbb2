"""Connections that we open, over real sockets on loopback: TLS by every demand, proxies, failures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hop_peers import NET, Rig, Saying, files, in_reactor, server_tls
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.task import deferLater
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from mailstack.errors import ConnectionClosed, IdleTimeout
from mailstack.handover import Certainty, HopFailed, TlsaRecord, TlsDemand, TlsFailed
from mailstack.net.certificates import write_self_signed
from mailstack.net.client_tls import Verification
from mailstack.net.hop import Target
from mailstack.net.socks import ProxyRefused, SocksNegotiation, SocksProxy
from mailstack.net.tls import CertificateFiles, ServerTls
from mailstack.smtp.client.session import ClientSession
from mailstack.smtp.client.settings import ClientSettings
from mailstack.testing.clock import ManualClock
from mailstack.testing.log import RecordingLog

NOW = datetime.now(UTC)
OLD = {"not_before": NOW - timedelta(days=30), "not_after": NOW - timedelta(days=3)}
YOUNG = {"not_before": NOW + timedelta(days=3), "not_after": NOW + timedelta(days=30)}


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.stop()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(organization_name="Test Authority")


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "authorities.pem"
    path.write_bytes(authority.cert_pem.bytes())
    return str(path)


def named(trusted: str, *names: str) -> TlsDemand:
    return TlsDemand(required=True, certainty=Certainty.NAMED, names=names or ("mx.example",), authorities=trusted)


def tlsa(*records: TlsaRecord) -> TlsDemand:
    return TlsDemand(required=True, certainty=Certainty.TLSA, names=("mx.example",), records=records)


def record(usage: int, certificate: x509.Certificate, selector: int = 1, matching: int = 1) -> TlsaRecord:
    octets = certificate.public_bytes(Encoding.DER)
    if selector == 1:
        octets = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if matching:
        octets = hashlib.new({1: "sha256", 2: "sha512"}[matching], octets).digest()
    return TlsaRecord(usage, selector, matching, octets)


def loaded(certificate: trustme.LeafCert) -> list[x509.Certificate]:
    return [x509.load_pem_x509_certificate(pem.bytes()) for pem in certificate.cert_chain_pems]


async def outcome_of(rig: Rig, port: int, demand: TlsDemand) -> HopFailed | ClientSession:
    try:
        session = await rig.session(port, demand)
    except HopFailed as failed:
        return failed
    await session.quit()
    return session


# --- names and authorities


@in_reactor
async def test_a_certificate_that_is_right(rig: Rig, authority: trustme.CA, trusted: str, tmp_path: Path) -> None:
    port = rig.serve(server_tls(tmp_path, authority.issue_cert("mx.example")))
    session = await rig.session(port, named(trusted, "other.example", "MX.example."))
    assert session.connection.tls_verified and session.connection.tls is not None
    assert session.connection.tls.version == "TLSv1.3" and "STARTTLS" not in session.offers
    await session.quit()


@in_reactor
@pytest.mark.parametrize("name", ["a.wild.example", "127.0.0.1", "::1", "b\u00fccher.example"])
async def test_other_names(rig: Rig, authority: trustme.CA, trusted: str, tmp_path: Path, name: str) -> None:
    tls = server_tls(tmp_path, authority.issue_cert("*.wild.example", "127.0.0.1", "::1", "b\u00fccher.example"))
    assert isinstance(await outcome_of(rig, rig.serve(tls), named(trusted, name)), ClientSession)


@in_reactor
@pytest.mark.parametrize(
    ("identity", "times", "text", "kind"),
    [
        ("mx.example", OLD, f"has expired on {OLD['not_after']:%Y-%m-%d}", "certificate-expired"),
        ("mx.example", YOUNG, f"not valid yet, but from {YOUNG['not_before']:%Y-%m-%d}", "certificate-expired"),
        ("other.example", {}, "is for other.example, not for mx.example", "certificate-host-mismatch"),
        ("*.example", {}, "", ""),
        ("*.mx.example", {}, "is for *.mx.example, not for mx.example", "certificate-host-mismatch"),
    ],
)
async def test_certificates(
    rig: Rig, authority: trustme.CA, trusted: str, tmp_path: Path,
    identity: str, times: dict[str, datetime], text: str, kind: str,
) -> None:  # fmt: skip
    port = rig.serve(server_tls(tmp_path, authority.issue_cert(identity, **times)))
    found = await outcome_of(rig, port, named(trusted))
    if not kind:
        assert isinstance(found, ClientSession)
        return
    assert isinstance(found, HopFailed) and text in found.outcome.text, found
    assert (found.tls, found.outcome.status) == (kind, "4.7.5")
    # opportunistic TLS does not mind
    anyway = await rig.session(port, TlsDemand())
    assert anyway.connection.tls is not None and not anyway.connection.tls_verified
    await anyway.quit()


@in_reactor
async def test_authorities_that_nobody_trusts(rig: Rig, trusted: str, tmp_path: Path) -> None:
    strangers = trustme.CA(organization_name="Strangers")
    port = rig.serve(server_tls(tmp_path / "1", strangers.issue_cert("mx.example")))
    found = await outcome_of(rig, port, named(trusted))
    assert (
        isinstance(found, HopFailed)
        and "unknown authority: OU=" in found.outcome.text
        and "O=Strangers" in found.outcome.text
    )
    pair = CertificateFiles(*write_self_signed(tmp_path / "2", ["mx.example"]))
    port = rig.serve(ServerTls([pair], RecordingLog()))
    found = await outcome_of(rig, port, named(trusted))
    assert isinstance(found, HopFailed) and found.outcome.text == "TLS failed: its certificate is self-signed"
    assert found.tls == "certificate-not-trusted"
    assert isinstance(await outcome_of(rig, port, named(str(pair.certificate))), ClientSession)
    system = TlsDemand(required=True, certainty=Certainty.NAMED, names=("mx.example",))
    assert isinstance(await outcome_of(rig, port, system), HopFailed)


@in_reactor
async def test_a_file_that_is_not_there_is_named(rig: Rig, authority: trustme.CA, tmp_path: Path) -> None:
    port = rig.serve(server_tls(tmp_path, authority.issue_cert("mx.example")))
    found = await outcome_of(rig, port, named("/nowhere.pem"))
    assert isinstance(found, HopFailed) and "/nowhere.pem cannot be used" in found.outcome.text


@implementer(IOpenSSLServerConnectionCreator)
class Tickets:
    """A server's TLS that lets sessions be resumed, as ours does not."""

    def __init__(self, pair: CertificateFiles) -> None:
        self._context = SSL.Context(SSL.TLS_METHOD)
        self._context.use_certificate_chain_file(str(pair.certificate))
        self._context.use_privatekey_file(str(pair.key))

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        return SSL.Connection(self._context, None)


@in_reactor
async def test_sessions_are_resumed(rig: Rig, authority: trustme.CA, trusted: str, tmp_path: Path) -> None:
    pair = files(tmp_path, authority.issue_cert("mx.example"))
    port = rig.listen(TLSMemoryBIOFactory(Tickets(pair), False, Saying(b"220 hi\r\n")))
    for names, resumed in (((), False), ((), True), ((), True), (("mx.example", "other.example"), False)):
        connection = await rig.connect(port)
        await connection.start_tls(named(trusted, *names))
        assert await connection.receive() == b"220 hi\r\n"
        assert connection.tls_verified and connection.tls_resumed is resumed
        connection.close()


@in_reactor
async def test_our_own_certificate(rig: Rig, authority: trustme.CA, trusted: str, tmp_path: Path) -> None:
    own = files(tmp_path / "own", authority.issue_cert("me.example"))
    tls = ServerTls([files(tmp_path, authority.issue_cert("mx.example"))], RecordingLog(), Path(trusted))
    port = rig.serve(tls.asking)
    demand = TlsDemand(certainty=Certainty.NAMED, names=("mx.example",), authorities=trusted,
                       identity=(str(own.certificate), str(own.key)))  # fmt: skip
    session = await rig.session(port, demand)
    [connection] = rig.listeners[0]._connections
    shown = connection.client_certificate
    assert shown is not None and b"me.example" in shown
    await session.quit()


class Strange:
    """A certificate that breaks who looks at it."""

    def to_cryptography(self) -> x509.Certificate:
        raise ValueError("error parsing asn1 value")


def test_a_certificate_that_cannot_be_read_is_none() -> None:
    for error in (0, 10):
        verification = Verification(named("", "mx.example"))
        assert not verification.look(Strange(), error, 0)  # type: ignore[arg-type]
        assert "cannot be read: error parsing" in str(verification.failure) and not verification.verified


# --- TLSA


@in_reactor
@pytest.mark.parametrize(("selector", "matching"), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)])
async def test_a_server_s_own_certificate(rig: Rig, tmp_path: Path, selector: int, matching: int) -> None:
    """Names and time do not matter (RFC 7672 §3.1.1)."""
    leaf = trustme.CA().issue_cert("other.example", **OLD)
    port = rig.serve(server_tls(tmp_path, leaf))
    session = await rig.session(port, tlsa(record(3, loaded(leaf)[0], selector, matching)))
    assert session.connection.tls_verified
    await session.quit()


@in_reactor
async def test_another_certificate_than_the_record_s(rig: Rig, authority: trustme.CA, tmp_path: Path) -> None:
    port = rig.serve(server_tls(tmp_path, authority.issue_cert("mx.example")))
    other = record(3, loaded(trustme.CA().issue_cert("mx.example"))[0])
    for demand, kind in ((tlsa(other), "validation-failure"), (tlsa(), "tlsa-invalid")):
        found = await outcome_of(rig, port, demand)
        assert isinstance(found, HopFailed) and "no TLSA record is of its certificates" in found.outcome.text
        assert found.tls == kind


def between(authority: trustme.CA, *names: str, **times: datetime) -> tuple[trustme.LeafCert, x509.Certificate]:
    """A certificate of an authority below another, and that of the one which issued it."""
    issuer = authority.create_child_ca()
    leaf = issuer.issue_cert(*names, **times)
    return leaf, x509.load_pem_x509_certificate(issuer.cert_pem.bytes())


@in_reactor
async def test_an_authority_of_the_records(rig: Rig, authority: trustme.CA, tmp_path: Path) -> None:
    leaf, issuer = between(authority, "mx.example")
    port = rig.serve(server_tls(tmp_path, leaf))
    root = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    for good in (record(2, issuer), record(2, issuer, 0, 0), record(2, root, 0, 0)):
        assert isinstance(await outcome_of(rig, port, tlsa(good)), ClientSession), good
    # the root is not sent, so that its hash says nothing; and a record is of an authority, not of the server's own
    for bad in (record(2, root), record(2, loaded(leaf)[0]), TlsaRecord(2, 0, 0, b"nonsense")):
        assert isinstance(await outcome_of(rig, port, tlsa(bad)), HopFailed), bad


@in_reactor
@pytest.mark.parametrize(
    ("name", "times", "text"),
    [("other.example", {}, "not for mx.example"), ("mx.example", OLD, "expired")],
)
async def test_below_an_authority_names_and_time_matter(
    rig: Rig, authority: trustme.CA, tmp_path: Path, name: str, times: dict[str, datetime], text: str
) -> None:
    leaf, issuer = between(authority, name, **times)
    found = await outcome_of(rig, rig.serve(server_tls(tmp_path, leaf)), tlsa(record(2, issuer)))
    assert isinstance(found, HopFailed) and text in found.outcome.text


# --- handshakes that fail otherwise


@in_reactor
@pytest.mark.parametrize(
    ("answer", "close", "error", "text"),
    [
        (b"250 what?\r\n", False, TlsFailed, "does not speak TLS"),
        (b"", True, ConnectionClosed, None),
        (b"\x15\x03\x03\x00\x02\x02\x28", False, TlsFailed, "handshake failure"),
        (b"", False, IdleTimeout, None),
    ],
)
async def test_handshakes_that_fail(
    rig: Rig, answer: bytes, close: bool, error: type[Exception], text: str | None
) -> None:
    connection = await rig.connect(rig.listen(Saying(b"", answer, close=close)))
    connection.timeout = 0.05 if error is IdleTimeout else 10.0
    with pytest.raises(error, match=text):
        await connection.start_tls(TlsDemand())
    connection.abort()


# --- connections


@in_reactor
async def test_nobody_listens(rig: Rig, tmp_path: Path) -> None:
    port = NET.listenTCP(0, Saying(), interface="127.0.0.1")
    free = port.getHost().port
    await port.stopListening()
    for target, text in (
        (Target("127.0.0.1", free, "mx.example"), f"mx.example[127.0.0.1]:{free}: refused"),
        (Target(str(tmp_path / "none")), "none: No such file or directory"),
        (Target("127.0.0.1", free, source="192.0.2.1"), "Cannot assign requested address"),
    ):
        with pytest.raises(HopFailed) as failed:
            await rig.dialer.connect(target)
        assert text in failed.value.outcome.text and failed.value.outcome.status == "4.4.1"


@in_reactor
async def test_the_address_to_come_from(rig: Rig) -> None:
    port = rig.serve()
    connection = await rig.connect(port, source="127.0.0.7")
    assert await connection.receive() == b"220 mx.example ESMTP mailstack\r\n"
    [server] = rig.listeners[0]._connections
    assert server.peer.host == "127.0.0.7"
    connection.close()
    connection.close()


@in_reactor
async def test_last_words_are_heard(rig: Rig) -> None:
    connection = await rig.connect(rig.listen(Saying(b"554 go away\r\n", close=True)))
    session = ClientSession(connection, ClientSettings("me.example"), ManualClock())
    with pytest.raises(HopFailed, match="554 go away"):
        await session.open(None)


@in_reactor
async def test_last_words_in_tls_are_heard(rig: Rig, authority: trustme.CA, tmp_path: Path) -> None:
    pair = files(tmp_path, authority.issue_cert("mx.example"))
    port = rig.listen(TLSMemoryBIOFactory(Tickets(pair), False, Saying(b"", b"554 go away\r\n", close=True)))
    connection = await rig.connect(port)
    await connection.start_tls(TlsDemand())
    connection.write(b"EHLO\r\n")
    await connection.drain()
    for _ in range(500):
        if connection not in rig.dialer._open:
            break
        await deferLater(NET, 0.01)
    assert await connection.receive() == b"554 go away\r\n"
    with pytest.raises(ConnectionClosed):
        await connection.receive()


@in_reactor
async def test_a_server_that_reads_nothing_is_given_up(rig: Rig) -> None:
    connection = await rig.connect(rig.listen(Saying(deaf=True)))
    connection.timeout = 0.05
    with pytest.raises(ConnectionClosed):
        for _ in range(200):
            connection.write(b"x" * 131072)
            await connection.drain()


@in_reactor
@pytest.mark.parametrize(
    ("said", "text"),
    [
        (b"220 " + b"x" * 10_000_000, "more than 16384 octets"),
        (b"220-x\r\n" * 1_000_000, "more than 65536 octets"),
        (b"\0" * 1_000_000, "not a reply"),
    ],
)
async def test_a_server_that_says_too_much(rig: Rig, said: bytes, text: str) -> None:
    with pytest.raises(HopFailed, match=text):
        await rig.session(rig.listen(Saying(said)))


# --- proxies


@in_reactor
async def test_by_a_proxy(rig: Rig) -> None:
    proxy = Saying(b"", b"\x05\x02", b"\x01\x00", b"\x05\x00\x00\x01\0\0\0\0\0\0" + b"220 behind it\r\n")
    port = rig.listen(proxy)
    target = Target("mx.example", 25, proxy=SocksProxy("127.0.0.1", port, "joe", "secret"))
    connection = await rig.dialer.connect(target)
    assert await connection.receive() == b"220 behind it\r\n"
    assert proxy.heard == [
        b"\x05\x02\x00\x02", b"\x01\x03joe\x06secret", b"\x05\x01\x00\x03\x0amx.example\x00\x19"
    ]  # fmt: skip
    connection.abort()


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ((b"\x05\xff",), "another login"),
        ((b"\x04\x00",), "does not speak SOCKS 5"),
        ((b"HTTP/1.0 400 Bad\r\n",), "does not speak SOCKS 5"),
        ((b"\x05\x02", b"\x01\x01"), "password are wrong"),
        ((b"\x05\x00", b"\x05\x05\x00\x01\0\0\0\0\0\0"), "connection refused"),
        ((b"\x05\x00", b"\x05\x63\x00"), "failure 99"),
        ((b"\x05\x00", b"\x05\x00\x00\x09\x00"), "cannot be understood"),
    ],
)
def test_a_proxy_that_refuses(answers: tuple[bytes, ...], text: str) -> None:
    for size in (1, 100):
        negotiation = SocksNegotiation(SocksProxy("127.0.0.1", 1080, "joe", "secret"), "192.0.2.1", 25)
        with pytest.raises(ProxyRefused, match=text):
            for answer in answers:
                for at in range(0, len(answer), size):
                    negotiation.feed(answer[at : at + size])


@pytest.mark.parametrize("bound", [b"\x01" + b"\0" * 4, b"\x04" + b"\0" * 16, b"\x03\x02ab"])
@pytest.mark.parametrize(
    ("address", "said"),
    [("192.0.2.1", b"\x01\xc0\x00\x02\x01"), ("2001:db8::1", b"\x04\x20\x01\x0d\xb8" + b"\0" * 11 + b"\1")],
)
def test_a_negotiation_in_pieces(address: str, said: bytes, bound: bytes) -> None:
    negotiation = SocksNegotiation(SocksProxy("127.0.0.1"), address, 25)
    assert negotiation.begin() == b"\x05\x01\x00"
    assert negotiation.feed(b"\x05") == b"" and negotiation.feed(b"\x00") == b"\x05\x01\x00" + said + b"\x00\x19"
    for octet in b"\x05\x00\x00" + bound + b"\x00":
        assert negotiation.feed(bytes((octet,))) == b"" and not negotiation.done
    negotiation.feed(b"\x00220 hi")
    assert negotiation.done and negotiation.rest == b"220 hi"
