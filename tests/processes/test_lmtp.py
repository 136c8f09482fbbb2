"""LMTP on loopback and at a unix socket, as Postfix uses it (RFC 2033)."""

from __future__ import annotations

import os
import smtplib
import socket
import stat
from pathlib import Path

import pytest
from production import configuration, listeners, prepare, production

pytestmark = pytest.mark.processes
MESSAGE = b"Subject: x\r\n\r\nHello\r\n"


def with_lmtp(directory: Path, path: Path) -> Path:
    rest = listeners(services=("lmtp", "imap")) + f'[[listeners]]\nservice = "lmtp"\nunix = "{path}"\n'
    return prepare(directory, configuration(directory, rest=rest))


def arrived(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in (directory / "data").glob("mail/**/new/*")]


def test_a_unix_socket_takes_mail_and_is_gone_with_the_server(reachable: Path) -> None:
    path = reachable / "lmtp"
    with_lmtp(reachable, path)
    with socket.socket(socket.AF_UNIX) as dead:  # as a process leaves it that was killed
        dead.bind(str(path))
    with production(reachable) as server:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o666
        with smtplib.LMTP(str(path), local_hostname="relay.example") as client:
            client.sendmail("a@example.net", ["alice@example.org"], MESSAGE)
            client.sendmail("a@example.net", ["bob@example.org"], MESSAGE)
        with smtplib.LMTP("127.0.0.1", server.services["lmtp"]["port"], local_hostname="relay.example") as client:
            client.sendmail("a@example.net", ["alice@example.org"], MESSAGE)
        found = arrived(reachable)
        assert len(found) == 3
        assert all(b"with LMTP id" in octets and b"Hello" in octets for octets in found)
    assert not path.exists()


def test_a_file_in_the_place_of_the_socket_is_left_alone(reachable: Path) -> None:
    path = reachable / "lmtp"
    with_lmtp(reachable, path)
    path.write_text("precious")
    with pytest.raises(AssertionError, match="in use"), production(reachable):
        pass
    assert path.read_text() == "precious"
