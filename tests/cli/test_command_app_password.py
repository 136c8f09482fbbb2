"""`mailstack account app-password`, and logins by what it makes at a running server."""

from __future__ import annotations

import imaplib
import json
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import invoke
from production import DOMAIN, PASSWORD
from server_process import Server

USER = f"programs@{DOMAIN}"


@pytest.fixture
def user(server_config: Path) -> Iterator[str]:
    added = invoke("account", "add", USER, "--password-stdin", "--config", server_config, stdin=PASSWORD)
    assert added.exit_code == 0, added.stderr
    yield USER
    invoke("account", "remove", USER, "--config", server_config)


def app(config: Path, *words: str) -> str:
    result = invoke("account", "app-password", *words, "--config", config)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_a_program_logs_in_where_it_may(server: Server, server_config: Path, user: str) -> None:
    scanner = app(server_config, "add", user, "scanner", "--scope", "smtp", "--days", "2").split()[1]
    app(server_config, "add", user, "phone")
    with smtplib.SMTP(server.host("submission"), server.port("submission"), timeout=20) as smtp:
        smtp.starttls()
        smtp.login(user, scanner)
        smtp.sendmail(user, [user], "Subject: x\r\n\r\nx\r\n")
    with imaplib.IMAP4_SSL(server.host("imaps"), server.port("imaps"), timeout=20) as imap:
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            imap.login(user, scanner)
        assert imap.login(user, PASSWORD)[0] == "OK"
    lines = app(server_config, "list", user).splitlines()
    assert lines[0].startswith("phone: smtp, imap, pop3, made 2")
    assert lines[1].startswith("scanner: smtp, made 2") and ", until 2" in lines[1]
    assert scanner not in app(server_config, "list", user, "--json")
    assert app(server_config, "remove", user, "scanner") == f"removed scanner of {user}\n"
    assert [each["label"] for each in json.loads(app(server_config, "list", user, "--json"))] == ["phone"]
    with smtplib.SMTP(server.host("submission"), server.port("submission"), timeout=20) as smtp:
        smtp.starttls()
        with pytest.raises(smtplib.SMTPAuthenticationError):
            smtp.login(user, scanner)


def test_what_cannot_be_made(config: Path) -> None:
    for status, words in (
        (1, ("nobody@example.org", "x")),
        (2, ("alice@example.org", "")),
        (2, ("alice@example.org",)),
    ):
        result = invoke("account", "app-password", "add", *words, "--config", config)
        assert result.exit_code == status, result.stderr
