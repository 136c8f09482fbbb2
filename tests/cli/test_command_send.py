"""`mailstack send`: what arrives, and what is said when it cannot be sent."""

from __future__ import annotations

import email
import email.policy
import socket
from email.message import EmailMessage
from pathlib import Path

import pytest
from click.testing import Result
from command_line import invoke
from production import DOMAIN, PASSWORD
from server_process import Server

pytestmark = pytest.mark.processes


def send(server: Server, *words: str | Path, service: str = "smtp", stdin: str | bytes = "") -> Result:
    return invoke("send", "--server", f"{server.host(service)}:{server.port(service)}", *words, stdin=stdin)


def only(server: Server, account: str) -> EmailMessage:
    (path,) = (server.data / "mail" / account).rglob("*S=*")
    octets = path.read_bytes()
    assert octets.count(b"\n") == octets.count(b"\r\n")
    message = email.message_from_bytes(octets.replace(b"\r\n", b"\n"), policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_a_message_with_everything(development: Server, tmp_path: Path) -> None:
    (tmp_path / "ä.pdf").write_bytes(b"%PDF-\0\xff")
    result = send(
        development, "--to", "Ann <s1@b.test>", "--to", "s2@b.test", "--from", "Zoë <z@b.test>", "--subject", "Grüße €",
        "--text", ".\nüber", "--attach", tmp_path / "ä.pdf",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    message = only(development, "s1@b.test")
    assert str(message["Return-Path"]) == "<z@b.test>"
    assert str(message["From"]) == "Zoë <z@b.test>"
    assert str(message["To"]) == "Ann <s1@b.test>, s2@b.test"
    assert str(message["Subject"]) == "Grüße €"
    assert message["Date"] is not None
    assert result.stdout.startswith(f"sent {message['Message-ID']} to 2 recipient(s) through 127.0.0.1:")
    text, attached = message.iter_parts()
    assert text.get_content() == ".\nüber\n"
    assert attached.get_content() == b"%PDF-\0\xff"
    assert attached.get_filename() == "ä.pdf"
    assert attached.get_content_type() == "application/pdf"
    assert only(development, "s2@b.test")["Message-ID"] == message["Message-ID"]


def test_standard_input_is_the_text(development: Server) -> None:
    assert send(development, "--to", "stdin@b.test", stdin="first\n.\nlast\n").exit_code == 0
    message = only(development, "stdin@b.test")
    assert message.get_content() == "first\n.\nlast\n"
    assert message["Subject"] is None


def test_starttls_with_the_server_s_own_authority(development: Server) -> None:
    words = ("--to", "tls@b.test", "--text", "x", "--tls", "starttls")
    refused = send(development, *words)
    assert refused.exit_code == 1
    assert "its certificate is not trusted" in refused.stderr
    assert "--ca FILE names the authority to trust" in refused.stderr
    assert send(development, *words, "--ca", development.ca).exit_code == 0
    assert "ESMTPS" in str(only(development, "tls@b.test")["Received"])


def test_login_in_production(server: Server) -> None:
    alice = f"alice@{DOMAIN}"
    words = ("--to", f"bob@{DOMAIN}", "--from", alice, "--text", "x", "--user", alice, "--password-stdin")
    secure = ("--tls", "implicit", "--ca", server.ca)
    ok = send(server, *words, *secure, service="submissions", stdin=f"{PASSWORD}\n")
    assert ok.exit_code == 0, ok.output
    wrong = send(server, *words, *secure, service="submissions", stdin="guess\n")
    assert wrong.exit_code == 1
    assert "535 5.7.8" in wrong.stderr
    plain = send(server, *words, service="submission", stdin=f"{PASSWORD}\n")
    assert plain.exit_code == 1
    assert PASSWORD not in plain.output + wrong.output


def test_a_refused_recipient_is_1(development: Server) -> None:
    result = send(development, "--to", "fine@b.test", "--to", "x@elsewhere.test", "--text", "x")
    assert result.exit_code == 1
    assert "x@elsewhere.test: 550 5.7.1 Relaying denied" in result.stderr
    assert only(development, "fine@b.test")


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["--text", "x"], 2, "Missing option '--to'"),
        (["--to", "", "--text", "x"], 2, "take an address as alice@example.org"),
        (["--to", "a@b.test", "--from", "", "--text", "x"], 2, "take an address as alice@example.org"),
        (["--to", "a@b.test", "--subject", "a\nb", "--text", "x"], 2, "not usable in a message"),
        (["--to", "a@b.test", "--text", "\udcff"], 2, "not usable in a message"),
        (["--to", "a@b.test", "--password-stdin"], 2, "give the text with --text"),
        (["--to", "a@b.test", "--text", "x", "--password-stdin"], 2, "--password-stdin without --user"),
        (["--to", "a@b.test", "--text", "x", "--user", "a"], 2, "no terminal to ask for the password"),
        (["--to", "a@b.test", "--text", "x", "--attach", "/nonexistent"], 2, "'/nonexistent' does not exist"),
        (["--to", "a@b.test", "--text", "x", "--tls", "implicit"], 1, "it does not begin with TLS; try --tls starttls"),
        (["--to", "a", "--text", "x"], 1, "a: 501 5.5.4"),
    ],
)
def test_what_cannot_be_sent(development: Server, words: list[str], status: int, reason: str) -> None:
    result = send(development, *words)
    assert result.exit_code == status
    assert reason in result.stderr


def test_text_that_is_none(development: Server) -> None:
    result = send(development, "--to", "a@b.test", stdin=b"\xff\xfe")
    assert result.exit_code == 1
    assert "standard input is not UTF-8 text (octet 0); --attach sends any file" in result.stderr


@pytest.mark.parametrize("name", ["host:port", "host:99999", "[::1", "[::1]25", ":25"])
def test_a_server_s_name_that_is_none(name: str) -> None:
    result = invoke("send", "--to", "a@b.test", "--text", "x", "--server", name)
    assert result.exit_code == 2
    assert "expected a server as" in result.stderr


def test_no_password_goes_over_the_network_in_plain_text() -> None:
    words = ("send", "--to", "a@b.test", "--text", "x", "--server", "192.0.2.1", "--user", "a", "--password-stdin")
    result = invoke(*words, stdin="secret\n")
    assert result.exit_code == 2
    assert "the password would go to 192.0.2.1:25 in plain text" in result.stderr


def test_no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        monkeypatch.setenv("MAILSTACK_SERVER", f"127.0.0.1:{port}")
        result = invoke("send", "--to", "a@b.test", "--text", "x")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: 127.0.0.1:{port}: nothing listens there; `mailstack dev` starts a server, --server names another one\n"
    )
