"""Channel bindings and client certificates, through real handshakes in memory."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from OpenSSL import SSL

from mailstack.net.certificates import write_self_signed
from mailstack.net.tls import BadCertificate, CertificateFiles, ServerTls
from mailstack.net.tls_channel import EXPORTER_LABEL, binding, client_certificate, end_point
from mailstack.testing.log import RecordingLog

AUTHORITY, STRANGER = trustme.CA(), trustme.CA()


def server_tls(directory: Path, *names: str, client_ca: trustme.CA | None = None) -> ServerTls:
    path = None
    if client_ca is not None:
        path = directory / "client-ca.pem"
        client_ca.cert_pem.write_to_path(path)
    files = [CertificateFiles(*write_self_signed(directory / name, [name])) for name in names or ("mail.example.org",)]
    return ServerTls(files, RecordingLog(), path)


def handshake(
    tls: ServerTls, *, asking: bool = True, certificate: trustme.LeafCert | None = None, name: bytes = b"",
    version: int = SSL.TLS1_3_VERSION,
) -> tuple[SSL.Connection, SSL.Connection]:  # fmt: skip
    """(client, server) after the handshake."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(version)
    if certificate is not None:
        context.use_certificate(x509.load_pem_x509_certificate(certificate.cert_chain_pems[0].bytes()))
        key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
        assert isinstance(key, EllipticCurvePrivateKey | RSAPrivateKey)
        context.use_privatekey(key)
    client = SSL.Connection(context, None)
    if name:
        client.set_tlsext_host_name(name)
    client.set_connect_state()
    server = (tls.asking if asking else tls).serverConnectionForTLS(None)
    server.set_accept_state()
    for _ in range(6):
        for end, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                end.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(end.bio_read(65536))
    client.send(b"x")
    server.bio_write(client.bio_read(65536))
    assert server.recv(10) == b"x"
    return client, server


def test_both_ends_export_the_same(tmp_path: Path) -> None:
    client, server = handshake(server_tls(tmp_path))
    assert binding(server, "tls-exporter") == client.export_keying_material(EXPORTER_LABEL, 32, b"")
    assert binding(server, "tls-exporter") != binding(handshake(server_tls(tmp_path))[1], "tls-exporter")
    assert binding(server, "tls-unique") is None


def test_before_tls_13_there_is_no_exporter(tmp_path: Path) -> None:
    client, server = handshake(server_tls(tmp_path), version=SSL.TLS1_2_VERSION)
    assert binding(server, "tls-exporter") is None
    assert binding(server, "tls-unique") == client.get_finished()
    assert binding(server, "tls-server-end-point") is not None


@pytest.mark.parametrize("name", ["one.example", "two.example"])
@pytest.mark.parametrize("asking", [False, True])
def test_the_end_point_is_the_certificate_that_was_shown(tmp_path: Path, name: str, asking: bool) -> None:
    tls = server_tls(tmp_path, "one.example", "two.example", client_ca=AUTHORITY)
    client, server = handshake(tls, name=name.encode(), asking=asking)
    shown = client.get_peer_certificate(as_cryptography=True)
    assert shown is not None
    assert name in str(shown.subject) or name in str(shown.extensions)
    digest = hashlib.sha256(shown.public_bytes(Encoding.DER)).digest()
    assert binding(server, "tls-server-end-point") == digest


def test_a_signature_without_a_hash_has_no_end_point() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(1))
    assert end_point(builder.sign(key, None)) is None


def test_a_client_that_somebody_vouches_for(tmp_path: Path) -> None:
    leaf = AUTHORITY.issue_cert("alice@example.org")
    _, server = handshake(server_tls(tmp_path, client_ca=AUTHORITY), certificate=leaf)
    der = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).public_bytes(Encoding.DER)
    assert client_certificate(server) == der


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_others_are_nobody_but_may_go_on(tmp_path: Path, version: int) -> None:
    tls = server_tls(tmp_path, client_ca=AUTHORITY)
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    expired = AUTHORITY.issue_cert("alice@example.org", not_before=past, not_after=past + datetime.timedelta(1))
    for certificate in (None, STRANGER.issue_cert("alice@example.org"), expired):
        _, server = handshake(tls, certificate=certificate, version=version)
        assert client_certificate(server) is None


def test_nobody_is_asked_without_an_authority(tmp_path: Path) -> None:
    leaf = AUTHORITY.issue_cert("alice@example.org")
    assert client_certificate(handshake(server_tls(tmp_path), certificate=leaf)[1]) is None
    with_authority = server_tls(tmp_path, client_ca=AUTHORITY)
    assert client_certificate(handshake(with_authority, asking=False, certificate=leaf)[1]) is None


def test_the_authority_is_read_again(tmp_path: Path) -> None:
    tls = server_tls(tmp_path, client_ca=AUTHORITY)
    leaf = STRANGER.issue_cert("alice@example.org")
    STRANGER.cert_pem.write_to_path(tmp_path / "client-ca.pem")
    assert tls.reload_if_changed()
    assert client_certificate(handshake(tls, certificate=leaf)[1]) is not None


def test_an_authority_that_cannot_be_read(tmp_path: Path) -> None:
    files = CertificateFiles(*write_self_signed(tmp_path, ["x.example"]))
    with pytest.raises(BadCertificate, match=r"ca\.pem"):
        ServerTls([files], RecordingLog(), tmp_path / "ca.pem")
