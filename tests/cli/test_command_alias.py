"""`mailstack alias`: aliases, catch-all and plus-addressing, and that a running server knows at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import command, invoke
from production import DOMAIN, configuration, prepare
from server_process import Server, send_message

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"


def alias(config: Path, *words: str) -> tuple[int, str]:
    result = invoke("alias", *words, "--config", config)
    return result.exit_code, result.output


def aliases(config: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads(invoke("alias", "list", "--json", "--config", config).stdout)
    return found


def test_added_listed_removed(config: Path) -> None:
    assert alias(config, "add", "Info@example.org", ALICE) == (0, f"info@example.org -> {ALICE}\n")
    assert alias(config, "add", "info@example.org", BOB)[0] == 0
    assert alias(config, "add", "@example.org", "info@example.org")[0] == 0
    assert alias(config, "list") == (0, f"@example.org -> info@example.org\ninfo@example.org -> {ALICE}, {BOB}\n")
    assert alias(config, "remove", "info@example.org", ALICE) == (0, f"removed info@example.org -> {ALICE}\n")
    assert aliases(config) == {"@example.org": ["info@example.org"], "info@example.org": [BOB]}
    assert alias(config, "remove", "INFO@example.org") == (0, "removed info@example.org\n")
    assert aliases(config) == {"@example.org": ["info@example.org"]}


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (f"info@example.org nobody@{DOMAIN}", 1, "there is no account and no alias nobody@example.org"),
        (f"info@example.net {ALICE}", 1, "info@example.net is not of a domain in"),
        ("info@example.org alice@example.net", 1, "alice@example.net is not of a domain in"),
        (f"info@example.org alice+shop@{DOMAIN}", 1, "there is no account and no alias alice+shop@example.org"),
        (f"{ALICE} {ALICE}", 1, "cannot lead to itself"),
        (f"info@example.org @{DOMAIN}", 2, "expected an address as alice@example.org, without"),
        (f"example.org {ALICE}", 2, "expected an address as alice@example.org or @example.org"),
        (f"../x@example.org {ALICE}", 2, "without quotes, blanks and slashes"),
        ("info@example.org", 2, "Missing argument 'TARGET'"),
    ],
)
def test_add_refuses(config: Path, words: str, status: int, reason: str) -> None:
    found, said = alias(config, "add", *words.split())
    assert found == status
    assert reason in said
    assert aliases(config) == {}


def test_the_same_is_not_added_twice(config: Path) -> None:
    assert alias(config, "add", "info@example.org", ALICE)[0] == 0
    assert alias(config, "add", "info@example.org", ALICE) == (
        1, f"Error: info@example.org leads to {ALICE} already\n",
    )  # fmt: skip


def test_there_must_be_such_an_alias(config: Path) -> None:
    assert alias(config, "remove", "info@example.org") == (1, "Error: there is no alias info@example.org\n")
    alias(config, "add", "info@example.org", ALICE)
    assert alias(config, "remove", "info@example.org", BOB) == (
        1, f"Error: there is no alias info@example.org that leads to {BOB}\n",
    )  # fmt: skip
    assert aliases(config) == {"info@example.org": [ALICE]}


def test_domains_outside_ascii(tmp_path: Path) -> None:
    config = prepare(tmp_path / "etc", configuration(tmp_path / "etc", domains=f"{DOMAIN} exämple.org"))
    assert alias(config, "add", "größe@exämple.org", ALICE)[0] == 0
    assert aliases(config) == {"größe@exämple.org": [ALICE]}


def delivered(server: Server, account: str, marker: bytes) -> bool:
    return any(marker in path.read_bytes() for path in (server.data / "mail" / account).rglob("*S=*"))


@pytest.mark.processes
def test_a_running_server_follows_at_once(server: Server, server_config: Path) -> None:
    def change(*words: str) -> None:
        ended = command("alias", *words, "--config", str(server_config))
        assert ended.status == 0, ended

    def refuses(recipient: str) -> None:
        with server.connect("smtp") as client:
            client.smtp(b"EHLO client.example", b"250")
            client.smtp(b"MAIL FROM:<stranger@example.net>", b"250")
            client.smtp(b"RCPT TO:<%s>" % recipient.encode(), b"550 5.1.1")

    refuses("team@example.org")
    change("add", "team@example.org", ALICE)
    change("add", "team@example.org", BOB)
    send_message(server, "team@example.org", b"Subject: to both\r\n\r\n")
    assert delivered(server, ALICE, b"Subject: to both")
    assert delivered(server, BOB, b"Subject: to both")

    send_message(server, "team+x@example.org", b"Subject: plus and alias\r\n\r\n")
    assert delivered(server, BOB, b"Subject: plus and alias")
    send_message(server, "alice+anything@example.org", b"Subject: plus alone\r\n\r\n")
    assert delivered(server, ALICE, b"Subject: plus alone")
    assert not delivered(server, BOB, b"Subject: plus alone")

    change("remove", "team@example.org")
    refuses("team@example.org")
    change("add", "@example.org", BOB)
    send_message(server, "whatever@example.org", b"Subject: catch-all\r\n\r\n")
    assert delivered(server, BOB, b"Subject: catch-all")
    change("remove", "@example.org")
    refuses("whatever@example.org")
