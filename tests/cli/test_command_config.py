"""`mailstack config`: errors name file, table, key and what was expected; what is shown can be used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import command, invoke
from production import NOT_ROOT, configuration, given_to_nobody, prepare

from mailstack.config.load import load


def test_check_says_ok(config: Path) -> None:
    result = invoke("config", "check", "--config", config)
    assert (result.exit_code, result.stdout) == (0, f"{config}: ok, 1 domain(s), 7 listener(s)\n")


def test_show_is_a_configuration_that_comes_to_the_same(config: Path, tmp_path: Path) -> None:
    shown = tmp_path / "shown.toml"
    shown.write_text(invoke("config", "show", "--config", config).stdout)
    assert load(shown) == load(config)
    assert 'max_message_size = "50 MiB"' in shown.read_text()


def test_the_environment_names_the_configuration(config: Path) -> None:
    ended = command("config", "check", MAILSTACK_CONFIG=str(config))
    assert (ended.status, ended.out) == (0, f"{config}: ok, 1 domain(s), 7 listener(s)\n")


@pytest.mark.parametrize("verb", ["check", "show"])
def test_every_mistake_is_one_line(config: Path, verb: str) -> None:
    text = configuration(config.parent, tables="[limits]\nmax_recipient = 5\nconnections = true\n[smtpd]\nx = 1")
    config.write_text(text.replace('service = "imap"', 'service = "imap4"'))
    result = invoke("config", verb, "--config", config)
    assert result.exit_code == 1
    assert result.stdout == ""
    lines = result.stderr.removeprefix("Error: ").splitlines()
    assert all(line.startswith(f"{config}: ") for line in lines)
    assert sorted(line.removeprefix(f"{config}: ") for line in lines) == [
        '[[listeners]] number 4, service: expected one of "smtp", "submission", "submissions", "lmtp", "imap", '
        '"imaps", "pop3", "pop3s", not "imap4"',
        "[limits] connections: expected a whole number, not true",
        "[limits] max_recipient: unknown key; did you mean max_recipients?",
        "smtpd: unknown key; did you mean smtp?",
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"data = \n", "not TOML: "),
        (b"hostname = '\xff'\n", "not UTF-8 at octet 12"),
        (b"", "data: missing; it has no default"),
        (b"#" * (1024 * 1024 + 1), "too large for a configuration"),
    ],
)
def test_what_is_no_configuration(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    result = invoke("config", "check", "--config", path)
    assert result.exit_code == 1
    assert f"Error: {path}: {reason}" in result.stderr


def test_a_directory_is_wrong_usage(tmp_path: Path) -> None:
    result = invoke("config", "check", "--config", tmp_path)
    assert result.exit_code == 2
    assert f"'{tmp_path}' is a directory" in result.stderr


def test_a_file_that_may_not_be_read(config: Path) -> None:
    config.chmod(0)
    if os.access(config, os.R_OK):
        pytest.skip("root, and who has its capabilities, may read everything")
    result = invoke("config", "check", "--config", config)
    assert (result.exit_code, result.stderr) == (1, f"Error: {config}: Permission denied\n")


def test_a_broken_certificate(config: Path) -> None:
    certificate = config.parent / "tls" / "cert.pem"
    certificate.write_text("nothing\n")
    result = invoke("config", "check", "--config", config)
    assert result.exit_code == 1
    assert f"{config}: [[tls.certificates]] number 1: {certificate} and " in result.stderr
    assert invoke("config", "check", "--syntax-only", "--config", config).exit_code == 0


def test_a_missing_certificate_and_an_unknown_user(config: Path) -> None:
    key = config.parent / "tls" / "key.pem"
    key.unlink()
    config.write_text(configuration(config.parent, top='user = "no-such-user"'))
    result = invoke("config", "check", "--config", config)
    assert result.exit_code == 1
    assert f"[[tls.certificates]] number 1, key: {key} is not there" in result.stderr
    assert "user: there is no account no-such-user on this machine" in result.stderr


@pytest.mark.skipif(not NOT_ROOT, reason="only root can say what another account may read")
def test_what_the_server_s_account_may_not_read(config: Path) -> None:
    config.write_text(configuration(config.parent, top='user = "nobody"'))
    result = invoke("config", "check", "--config", config)
    assert result.exit_code == 1
    assert f"{config.parent}/tls/key.pem is not there, or not readable for nobody" in result.stderr
    assert f"data: nobody may not write in {config.parent}/data" in result.stderr
    assert f"accounts: nobody may not read and write {config.parent}/data/accounts.sqlite3" in result.stderr


@pytest.mark.skipif(not NOT_ROOT, reason="only root can say what another account may read")
def test_what_the_server_s_account_may_read(place: Path) -> None:
    path = prepare(place, configuration(place, top='user = "nobody"'))
    given_to_nobody(place)
    assert invoke("config", "check", "--config", path).exit_code == 0
    (place / "tls" / "key.pem").chmod(0)
    assert "key.pem is not there, or not readable for nobody" in invoke("config", "check", "--config", path).stderr
    (place / "tls" / "key.pem").chmod(0o600)
    (place / "tls").chmod(0)
    assert "cert.pem is not there, or not readable for nobody" in invoke("config", "check", "--config", path).stderr
