"""`mailstack serve` as a command; what the server does is in tests/processes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from command_line import command
from production import NOBODY, NOT_ROOT, configuration, given_to_nobody, listeners, prepare
from server_process import Server

pytestmark = pytest.mark.processes


def test_the_ready_file(server: Server) -> None:
    document = json.loads(server.ready_file.read_text())
    assert {"smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "pid", "data", "ca"} <= set(document)
    assert document["pid"] == server.process.pid


def test_a_data_directory_that_may_not_be_used(place: Path) -> None:
    path = prepare(place, configuration(place, rest=listeners(services=("smtp",))))
    given_to_nobody(place)
    (place / "data").chmod(0)
    ended = command("serve", "--config", str(path), prefix=NOT_ROOT)
    (place / "data").chmod(0o700)
    assert ended.status == 1
    assert f"mailstack: data directory {place}/data: no permission to write in it" in ended.err


def test_a_ready_file_that_cannot_be_written(place: Path) -> None:
    path = prepare(place)
    given_to_nobody(place)
    ended = command("serve", "--config", str(path), "--ready-file", str(place / "none" / "r"), prefix=NOT_ROOT)
    assert ended.status == 1
    assert f'reason="ready file {place}/none/r: No such file or directory"' in ended.err


@pytest.mark.skipif(os.getuid() == 0, reason="root may bind every port")
def test_a_port_for_root(place: Path) -> None:
    smtp = '[[listeners]]\nservice = "smtp"\naddress = "127.0.0.1"\nport = 25\n'
    path = prepare(place, configuration(place, rest=smtp))
    ended = command("serve", "--config", str(path))
    assert ended.status == 1
    assert "ports below 1024 need root or systemd's sockets" in ended.err


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes somebody else")
def test_an_account_that_cannot_read_the_program_is_told_so(place: Path, tmp_path: Path) -> None:
    """Where the interpreter is in root's own directory the product says so; where it is not, it starts."""
    path = prepare(place, configuration(place, top=f'user = "{NOBODY}"', rest=listeners(services=("smtp",))))
    given_to_nobody(place)
    package = tmp_path / "private" / "mailstack"
    package.parent.mkdir(mode=0o700)
    package.symlink_to(Path(__file__).parents[2] / "mailstack")
    hidden = tmp_path / "private"
    ended = command("serve", "--config", str(path), cwd=hidden, PYTHONPATH=str(hidden))
    assert ended.status == 1
    assert f"mailstack: {NOBODY} may not read the program itself (" in ended.err
