"""systemd's handshakes: which sockets are ours, and whom to tell."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mailstack.app.listening import CannotListen, passed_socket
from mailstack.net.systemd import notify, passed_sockets


@pytest.mark.parametrize(
    ("count", "names", "expected"),
    [
        ("1", "smtp", {"smtp": [3]}),
        ("3", "smtp:imap:smtp", {"smtp": [3, 5], "imap": [4]}),
        ("2", "smtp", {"smtp": [3], "unknown": [4]}),
        ("1", "", {"": [3]}),
        ("0", "", {}),
    ],
)
def test_sockets_by_name(
    monkeypatch: pytest.MonkeyPatch, count: str, names: str, expected: dict[str, list[int]]
) -> None:
    kept: list[tuple[int, bool]] = []
    monkeypatch.setattr(os, "set_inheritable", lambda descriptor, inheritable: kept.append((descriptor, inheritable)))
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count, "LISTEN_FDNAMES": names, "HOME": "/"}
    assert passed_sockets(environment) == expected
    assert environment == {"HOME": "/"}, "no child may take them for its own"
    assert kept == [(3 + number, False) for number in range(int(count))]


@pytest.mark.parametrize("pid", ["1", "", "x"])
def test_another_process_sockets_are_not_ours(pid: str) -> None:
    environment = {"LISTEN_PID": pid, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "smtp"}
    assert passed_sockets(environment) == {}
    assert environment == {}


def test_a_listening_socket_is_taken() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    with passed_socket(listening.detach()) as taken:
        assert taken.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("family", "kind"),
    [(socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_UNIX, socket.SOCK_STREAM)],
    ids=["not listening", "udp", "unix"],
)
def test_any_other_socket_is_refused(family: socket.AddressFamily, kind: socket.SocketKind) -> None:
    descriptor = socket.socket(family, kind).detach()
    with pytest.raises(CannotListen, match=f"socket {descriptor} passed by systemd is not a listening TCP socket"):
        passed_socket(descriptor)
    with pytest.raises(OSError):
        os.fstat(descriptor)


def test_what_is_no_socket_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(CannotListen, match=f"socket {file.fileno()} passed"):
        passed_socket(file.fileno())


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_is_told(tmp_path: Path, abstract: bool) -> None:
    name = f"mailstack-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if abstract else name)
        manager.settimeout(10)
        assert notify("READY=1", {"NOTIFY_SOCKET": ("@" if abstract else "") + name})
        assert manager.recv(100) == b"READY=1"


def test_without_a_manager_nobody_is_told(tmp_path: Path) -> None:
    assert not notify("READY=1", {})
    with pytest.raises(OSError):
        notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "nobody")})
