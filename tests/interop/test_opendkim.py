"""A real opendkim as milter: it signs what users submit, and says of mail from outside whether a signature is good."""

from __future__ import annotations

import shutil
import smtplib
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from production import DOMAIN, PASSWORD, configuration, given_to_nobody, listeners, prepare, production
from server_process import Server

OPENDKIM = shutil.which("opendkim") or "/usr/sbin/opendkim"
pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not Path(OPENDKIM).exists(), reason="opendkim is not installed"),
]
LIMIT = 10.0
LETTER = (
    b"From: Alice <alice@example.org>\r\nTo: bob@example.org\r\nSubject:  two  spaces\r\n and a second line\r\n"
    b"Bcc: secret@example.org\r\nX-Odd:no space\r\n\r\nHello,\r\n.a dot\r\n \r\n\r\nend  \r\n\r\n\r\n"
)


def keys(directory: Path) -> None:
    """A key to sign with, and what DNS would say of it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "dkim.pem").write_bytes(private)
    (directory / "dkim.pem").chmod(0o600)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    words = "".join(public.decode().splitlines()[1:-1])
    (directory / "published").write_text(f"s1._domainkey.{DOMAIN} v=DKIM1; k=rsa; p={words}\n")


@contextmanager
def opendkim(directory: Path, name: str, sock: str, more: str) -> Iterator[None]:
    """A running one."""
    path = directory / f"{name}.conf"
    path.write_text(
        f"Socket {sock}\nPidFile {directory}/{name}.pid\nBackground no\nSyslog no\nUMask 000\nAutoRestart no\n{more}"
    )
    process = subprocess.Popen(
        [OPENDKIM, "-f", "-x", str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        end = time.monotonic() + LIMIT
        while not (directory / f"{name}.pid").exists():
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                raise AssertionError(process.communicate()[0])
            time.sleep(0.01)
        yield
    finally:
        process.kill()  # it takes its time over anything milder
        process.communicate(timeout=LIMIT)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def milters(directory: Path, port: int) -> str:
    return (
        f'[[smtp.milters]]\nname = "signer"\naddress = "unix:{directory}/signer.sock"\nservices = ["submission"]\n'
        f'[[smtp.milters]]\nname = "verifier"\naddress = "127.0.0.1:{port}"\nservices = ["smtp"]\n'
    )


@pytest.fixture(scope="module")
def reachable() -> Iterator[Path]:
    """A directory that the server's account can reach, which pytest's own is not, with a short path for sockets."""
    with tempfile.TemporaryDirectory(prefix="dkim-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def server(reachable: Path) -> Iterator[Server]:
    port = free_port()
    rest = listeners(services=("smtp", "submission"))
    prepare(reachable, configuration(reachable, rest=rest, tables=milters(reachable, port)))
    given_to_nobody(reachable)
    keys(reachable)
    signing = (
        f"Mode s\nDomain {DOMAIN}\nSelector s1\nKeyFile {reachable}/dkim.pem\nCanonicalization simple/simple\n"
        "RequireSafeKeys no\nOversignHeaders From\nMTA submission\nInternalHosts 192.0.2.1\n"
    )
    verifying = f"Mode v\nAuthservID mail.example.org\nTestPublicKeys {reachable}/published\nAlwaysAddARHeader yes\n"
    with (
        opendkim(reachable, "signer", f"local:{reachable}/signer.sock", signing),
        opendkim(reachable, "verifier", f"inet:{port}@127.0.0.1", verifying),
        production(reachable) as running,
    ):
        yield running


def arrived(server: Server) -> bytes:
    """The only message that there is, taken out of its mailbox."""
    [path] = server.data.glob("mail/**/new/*")
    octets = path.read_bytes()
    path.unlink()
    return octets


def submit(server: Server, letter: bytes) -> bytes:
    with smtplib.SMTP("127.0.0.1", server.port("submission"), local_hostname="client.example") as client:
        client.starttls(context=ssl._create_unverified_context())
        client.login(f"alice@{DOMAIN}", PASSWORD)
        client.sendmail(f"alice@{DOMAIN}", [f"bob@{DOMAIN}"], letter)
    return arrived(server)


def relay(server: Server, letter: bytes) -> str:
    """Bring it from outside; the Authentication-Results that are written above it."""
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), local_hostname="client.example") as client:
        client.sendmail(f"alice@{DOMAIN}", [f"bob@{DOMAIN}"], letter)
    return str(BytesParser().parsebytes(arrived(server)).get("Authentication-Results"))


def as_sent(octets: bytes) -> bytes:
    """Without what the server has written above the message."""
    return octets[octets.index(b"DKIM-Signature:") :]


def test_what_is_signed_at_submission_is_good_elsewhere(server: Server) -> None:
    stored = submit(server, LETTER)
    head, _, body = stored.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in b"\t "]
    assert names == [
        b"Return-Path", b"Delivered-To", b"DKIM-Signature", b"Received", b"Date", b"Message-ID", b"From", b"To",
        b"Subject", b"X-Odd",
    ]  # fmt: skip
    signature = "".join(str(BytesParser().parsebytes(stored)["DKIM-Signature"]).split())
    assert {"Date", "Subject"} <= set(signature.partition(";h=")[2].partition(";")[0].split(":"))
    assert body == LETTER.partition(b"\r\n\r\n")[2]
    signed = as_sent(stored)
    assert "dkim=pass" in relay(server, signed)
    assert "dkim=fail" in relay(server, signed.replace(b"Hello", b"hello"))
    assert "dkim=fail" in relay(server, signed.replace(b"two  spaces", b"two spaces"))
    assert "dkim=none" in relay(server, LETTER)


def test_a_large_message(server: Server) -> None:
    letter = LETTER + b"0123456789abcdef0123456789abcdef\r\n" * 20_000
    stored = submit(server, letter)
    assert stored.endswith(letter.partition(b"\r\n\r\n")[2])
    assert "dkim=pass" in relay(server, as_sent(stored))
