"""Certificates by SNI and their renewal, through real handshakes in memory."""

from __future__ import annotations

import contextlib
import os
import ssl
from pathlib import Path

import pytest

from mailstack.net.certificates import usable, write_self_signed
from mailstack.net.tls import BadCertificate, CertificateFiles, ServerTls
from mailstack.testing.log import RecordingLog


def files(directory: Path, *names: str) -> CertificateFiles:
    return CertificateFiles(*write_self_signed(directory, names))


def handshake(tls: ServerTls, ca: Path, name: str) -> dict[str, object]:
    """The certificate that a verifying client is shown for `name`."""
    from OpenSSL import SSL

    context = ssl.create_default_context(cafile=str(ca))
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=name)
    server = tls.serverConnectionForTLS(None)
    server.set_accept_state()
    for _ in range(10):
        try:
            client.do_handshake()
            return client.getpeercert() or {}
        except ssl.SSLWantReadError:
            server.bio_write(to_server.read())
        with contextlib.suppress(SSL.WantReadError):  # the client has the next word
            server.do_handshake()
        to_client.write(server.bio_read(65536))
    raise AssertionError("no end to the handshake")


def shown(tls: ServerTls, ca: Path, name: str) -> set[str]:
    return {value for _, value in handshake(tls, ca, name)["subjectAltName"]}  # type: ignore[attr-defined]


def test_a_self_signed_certificate_verifies_as_its_own_authority(tmp_path: Path) -> None:
    pair = files(tmp_path, "mail.example.org", "127.0.0.1")
    tls = ServerTls([pair], RecordingLog())
    assert shown(tls, pair.certificate, "mail.example.org") == {"mail.example.org", "127.0.0.1"}
    assert pair.key.stat().st_mode & 0o777 == 0o600
    assert usable(tmp_path)


def test_an_empty_directory_is_not_usable(tmp_path: Path) -> None:
    assert not usable(tmp_path)


def test_the_name_asked_for_chooses_the_certificate(tmp_path: Path) -> None:
    first = files(tmp_path / "1", "one.example")
    second = files(tmp_path / "2", "two.example", "*.wild.example")
    tls = ServerTls([first, second], RecordingLog())
    assert shown(tls, first.certificate, "one.example") == {"one.example"}
    assert "two.example" in shown(tls, second.certificate, "two.example")
    assert "two.example" in shown(tls, second.certificate, "a.wild.example")


def test_an_unknown_name_gets_the_first_certificate(tmp_path: Path) -> None:
    first = files(tmp_path / "1", "one.example")
    tls = ServerTls([first, files(tmp_path / "2", "two.example")], RecordingLog())
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(tls, first.certificate, "three.example")


def test_renewed_files_serve_the_next_connection(tmp_path: Path) -> None:
    pair = files(tmp_path, "old.example")
    tls = ServerTls([pair], RecordingLog())
    assert not tls.reload_if_changed()
    files(tmp_path, "new.example")
    assert tls.reload_if_changed()
    assert shown(tls, pair.certificate, "new.example") == {"new.example"}


def test_a_broken_renewal_leaves_the_old_one_and_says_so(tmp_path: Path) -> None:
    pair = files(tmp_path, "old.example")
    kept = tmp_path / "ca.pem"
    kept.write_bytes(pair.certificate.read_bytes())
    log = RecordingLog()
    tls = ServerTls([pair], log)
    pair.certificate.write_text("half a certif")
    os.utime(pair.certificate, (1, 1))
    assert not tls.reload_if_changed()
    assert shown(tls, kept, "old.example") == {"old.example"}
    assert any("certificate not reloaded" in str(line) for line in log.lines)


@pytest.mark.parametrize("broken", ["certificate", "key"])
@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_broken_file_is_named(tmp_path: Path, broken: str, content: bytes | None) -> None:
    pair = files(tmp_path, "x.example")
    path: Path = getattr(pair, broken)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(BadCertificate, match=str(path)):
        ServerTls([pair], RecordingLog())


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    one, two = files(tmp_path / "1", "x.example"), files(tmp_path / "2", "x.example")
    with pytest.raises(BadCertificate, match="is not the key of"):
        ServerTls([CertificateFiles(one.certificate, two.key)], RecordingLog())


def test_no_certificate_is_an_error() -> None:
    with pytest.raises(BadCertificate):
        ServerTls([], RecordingLog())
