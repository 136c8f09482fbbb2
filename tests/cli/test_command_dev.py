"""`mailstack dev`: its options, its ready file, and what it says when it cannot start."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest
from command_line import LIMIT, PROGRAM, environment, free_base, invoke, on_terminal
from production import SERVICES
from server_process import REPOSITORY, Server, send_message

from mailstack.app.development import DEVELOPMENT_PORTS
from mailstack.config.sections import USUAL_PORTS

pytestmark = pytest.mark.processes


def test_the_ready_file(development: Server) -> None:
    document = json.loads(development.ready_file.read_text())
    assert set(document) == {*SERVICES, "http", "pid", "data", "ca"}
    for service in (*SERVICES, "http"):
        assert document[service]["host"] == "127.0.0.1"
        socket.create_connection((document[service]["host"], document[service]["port"]), timeout=10).close()
    assert document["pid"] == development.process.pid
    assert Path(document["data"]).is_dir()
    assert "BEGIN CERTIFICATE" in Path(document["ca"]).read_text()


def test_it_says_where_it_listens(development: Server) -> None:
    development.wait_log("trust")  # the last that is said, after the ready file is there
    said = development.log.read_text()
    for service in (*SERVICES, "http"):
        assert f"127.0.0.1:{development.port(service)}" in said
    assert str(development.ca) in said


def test_only_its_domains_are_local(development: Server) -> None:
    with development.connect("smtp") as client:
        client.smtp(b"EHLO client.example", b"250")
        client.smtp(b"MAIL FROM:<stranger@example.net>", b"250")
        client.smtp(b"RCPT TO:<any@B.test>", b"250")
        client.smtp(b"RCPT TO:<any@elsewhere.test>", b"550 5.7.1")


def test_nobody_else_may_read_the_mail(development: Server) -> None:
    send_message(development, "mode@b.test", b"Subject: x\r\n\r\n")
    paths = [path for path in development.data.rglob("*") if path != development.ca]
    assert any(path.parent.name == "new" for path in paths)
    assert all(not stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (development.data, *paths))


def test_one_password_for_all(tmp_path: Path) -> None:
    with Server(tmp_path, ("dev", "--ephemeral", "--ports", "0", "--password", "secret")) as server:
        server.wait_log("the password of --password")  # which is said after the ready file is there
        with server.connect("imap") as imap:
            imap.send(b"a LOGIN alice other\r\nb CAPABILITY\r\nc LOGIN alice secret\r\n")
            assert imap.line().startswith(b"a NO [AUTHENTICATIONFAILED]")
            assert b" AUTH=SCRAM-SHA-256 " in imap.line()
            assert imap.until(b"c ")[-1].startswith(b"c OK")


def test_a_base_is_added_to_the_usual_ports_and_what_is_ephemeral_is_gone(tmp_path: Path) -> None:
    base = free_base()
    with Server(tmp_path, ("dev", "--ephemeral", "--ports", str(base))) as server:
        assert {service: server.port(service) - base for service in SERVICES} == {
            service.value: port for service, port in USUAL_PORTS.items() if service in DEVELOPMENT_PORTS
        }
        send_message(server, "a@b.test", b"Subject: gone\r\n\r\n")
        data = server.data
        assert server.stop() == 0
    assert not data.exists()
    assert not server.ready_file.exists()


def test_what_is_not_ephemeral_is_kept(tmp_path: Path) -> None:
    for count in (1, 2):
        with Server(tmp_path) as server:
            send_message(server, "a@b.test", b"Subject: kept\r\n\r\n")
            assert len(list((server.data / "mail" / "a@b.test").rglob("*S=*"))) == count
            server.ready_file.write_text('{"pid": 1}')  # as of a server that has come later
        assert server.ready_file.exists()
    assert server.data == tmp_path / "data"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--data x --ephemeral", "--data keeps mail and --ephemeral does not"),
        ("--ports 65000", "65000 is not in the range"),
        ("--ports none", "'none' is not a valid integer"),
        (f"--data {REPOSITORY}/setup.cfg", f"'{REPOSITORY}/setup.cfg' is a file"),
        ("--ready-file /", "'/' is a directory"),
        ("--domain @b.test", "expected a domain as example.org, not '@b.test'"),
        ("--log loud", "'loud' is not one of 'text', 'json', 'none'"),
        ("something", "unexpected extra argument (something)"),
    ],
)
def test_wrong_usage(words: str, reason: str) -> None:
    result = invoke("dev", *words.split())
    assert result.exit_code == 2
    assert reason in result.stderr


@pytest.fixture
def ready_file(tmp_path: Path) -> Path:
    return tmp_path / "ready.json"


def test_it_goes_on_when_nobody_reads_what_it_prints(ready_file: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    words = ["dev", "--ephemeral", "--ports", "0", "--ready-file", str(ready_file)]
    server = subprocess.Popen(
        [*PROGRAM, *words], stdout=writing, stderr=subprocess.PIPE, cwd=REPOSITORY, env=environment()
    )
    os.close(writing)
    try:
        end = time.monotonic() + LIMIT
        while not ready_file.exists() and server.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        assert ready_file.exists()
    finally:
        server.terminate()
        said = server.communicate(timeout=LIMIT)[1]
    assert server.returncode == 0, said
    assert b"Traceback" not in said


@pytest.mark.parametrize("key", [b"\x03", None], ids=["ctrl-c", "closed terminal"])
def test_it_ends_with_its_terminal(ready_file: Path, key: bytes | None) -> None:
    data: list[Path] = []

    def answer(shown: bytes, terminal: int) -> bool:
        if b"\n  trust " not in shown:
            return False
        document = json.loads(ready_file.read_text())
        data.append(Path(document["data"]))
        if key is None:
            os.kill(document["pid"], signal.SIGHUP)  # what the kernel sends
        else:
            os.write(terminal, key)
        return True

    status, shown = on_terminal(
        "dev", "--ephemeral", "--ports", "0", "--ready-file", str(ready_file), answer=answer
    )  # fmt: skip
    assert status == 0, shown
    assert not data[0].exists()
    assert not ready_file.exists()
