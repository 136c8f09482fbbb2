"""`mailstack account forward`, and that a running server forwards at once, with its sender rewritten."""

from __future__ import annotations

import json
import smtplib
from pathlib import Path

import pytest
from command_line import invoke
from production import DOMAIN
from server_process import Server

from mailstack.mail.address import Address
from mailstack.mail.srs import is_rewritten
from mailstack.ports import Envelope
from mailstack.queue.content import Files

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"


def forward(config: Path, *words: str) -> tuple[int, str]:
    result = invoke("account", "forward", *words, "--config", config)
    return result.exit_code, result.output


def test_set_added_listed_cleared(config: Path) -> None:
    assert forward(config, "set", ALICE, "alice@example.net") == (0, f"{ALICE} -> alice@example.net\n")
    assert forward(config, "add", ALICE, BOB) == (0, f"{ALICE} -> alice@example.net, {BOB}\n")
    assert forward(config, "add", BOB, "bob@example.net")[1] == f"{BOB} -> bob@example.net, and a copy here\n"
    assert forward(config, "list")[1].splitlines()[0] == f"{ALICE} -> alice@example.net, {BOB}"
    found = json.loads(forward(config, "list", "--json")[1])
    assert found[BOB] == {"targets": ["bob@example.net"], "keep_copy": True} and not found[ALICE]["keep_copy"]
    assert forward(config, "set", ALICE, "alice@example.net", "--keep-copy")[1].endswith(", and a copy here\n")
    assert forward(config, "clear", ALICE) == (0, f"{ALICE} is not forwarded any more\n")
    assert list(json.loads(forward(config, "list", "--json")[1])) == [BOB]


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (f"set nobody@{DOMAIN} a@example.net", 1, "there is no account nobody@example.org"),
        (f"set {ALICE} {ALICE}", 1, "cannot be forwarded to itself"),
        (f"set {ALICE} nobody@{DOMAIN}", 1, "there is no account and no alias nobody@example.org"),
        (f"set {ALICE} nobody", 2, "expected an address"),
        (f"set {ALICE}", 2, "Missing argument 'TARGET...'"),
        (f"clear {ALICE}", 1, "is not forwarded"),
        (f"clear nobody@{DOMAIN}", 1, "there is no account"),
        (f"set {ALICE} " + " ".join(f"a{n}@example.net" for n in range(21)), 1, "20 is the limit"),
    ],
)
def test_refused(config: Path, words: str, status: int, reason: str) -> None:
    found, said = forward(config, *words.split())
    assert found == status and reason in said
    assert json.loads(forward(config, "list", "--json")[1]) == {}


def queued(directory: Path) -> list[Envelope]:
    (place,) = directory.glob("**/queue")
    files = Files(place)
    try:
        return [files.read_envelope(name)[0] for name in sorted(files.names())]
    finally:
        files.close()


def test_beside_a_running_server(server: Server, server_config: Path) -> None:
    before = len(queued(server.directory))
    assert forward(server_config, "set", ALICE, "alice@example.net")[0] == 0
    with smtplib.SMTP(server.host("smtp"), server.port("smtp"), timeout=20) as client:
        client.sendmail("joe@source.example", [ALICE], "Subject: x\r\n\r\nx\r\n")
        [item] = queued(server.directory)[before:]
        sender = item.sender
        assert sender is not None and is_rewritten(sender) and sender.domain == DOMAIN
        assert item.recipients == (Address("alice", "example.net"),)
        client.sendmail("", [str(sender)], "Subject: bounce\r\n\r\nx\r\n")
        [bounce] = [item for item in queued(server.directory) if item.sender is None]
        assert bounce.recipients == (Address("joe", "source.example"),)
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail("", [f"SRS0=aaaa=JO=source.example=joe@{DOMAIN}"], "Subject: bounce\r\n\r\nx\r\n")
    assert forward(server_config, "clear", ALICE)[0] == 0
