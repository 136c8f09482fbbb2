"""`mailstack account`: what is refused, and that a running server knows at once."""

from __future__ import annotations

import json
import os
import pwd
import sqlite3
from pathlib import Path

import pytest
from command_line import Ended, command, invoke, on_terminal
from production import DOMAIN, NOBODY, PASSWORD, configuration, plain, prepare, secured
from server_process import Server, send_message

from mailstack.auth.database import AccountDatabase

MESSAGE = b"Subject: one\r\n\r\nThe body.\r\n"


def names(config: Path) -> list[str]:
    return invoke("account", "list", "--config", config).stdout.split()


def test_list_is_one_a_line_or_json(config: Path) -> None:
    assert names(config) == ["alice@example.org", "bob@example.org"]
    document = json.loads(invoke("account", "list", "--json", "--config", config).stdout)
    assert [entry["name"] for entry in document] == names(config)
    assert all(entry["created"] > 1.6e9 for entry in document)


def test_an_account_comes_with_a_password_that_was_made(config: Path) -> None:
    said = invoke("account", "add", "Carol@Example.ORG", "--generate", "--config", config).stdout
    assert said.startswith("added carol@example.org, password ")
    assert len(said.split()[-1]) == 20
    assert "carol@example.org" in names(config)
    again = invoke("account", "password", "carol@example.org", "--generate", "--config", config).stdout
    assert again.split()[-1] != said.split()[-1]


def scram_of(config: Path, name: str) -> list[str]:
    """The SCRAM mechanisms that the account has keys for."""
    database = AccountDatabase(config.parent / "data" / "accounts.sqlite3")
    try:
        account = database.account(name)
        assert account is not None
        return [entry.partition("$")[0] for entry in account.scram.split()]
    finally:
        database.close()


def test_a_password_comes_with_keys_for_scram(config: Path) -> None:
    def said_to_have() -> dict[str, bool]:
        document = json.loads(invoke("account", "list", "--json", "--config", config).stdout)
        return {entry["name"]: entry["scram"] for entry in document}

    invoke("account", "add", "carol@example.org", "--generate", "--config", config)
    assert scram_of(config, "carol@example.org") == ["SCRAM-SHA-1", "SCRAM-SHA-256"]
    assert said_to_have() == {"alice@example.org": False, "bob@example.org": False, "carol@example.org": True}
    invoke("account", "password", "alice@example.org", "--generate", "--config", config)
    assert said_to_have()["alice@example.org"]


def test_only_keys_that_may_be_used_are_made(config: Path) -> None:
    text = configuration(config.parent, tables='[auth]\nmechanisms = ["PLAIN", "SCRAM-SHA-256-PLUS"]')
    config.write_text(text)
    invoke("account", "password", "alice@example.org", "--generate", "--config", config)
    assert scram_of(config, "alice@example.org") == ["SCRAM-SHA-256"]
    config.write_text(text.replace(', "SCRAM-SHA-256-PLUS"', ""))
    invoke("account", "password", "alice@example.org", "--generate", "--config", config)
    assert scram_of(config, "alice@example.org") == []


def test_keys_of_dovecot_are_taken(config: Path) -> None:
    keys = "{SCRAM-SHA-256}4096,c2FsdA==,%s=,%s=" % ("A" * 43, "B" * 43)  # noqa: UP031
    assert invoke("account", "add", "carol@example.org", "--hash", keys, "--config", config).exit_code == 0
    assert scram_of(config, "carol@example.org") == ["SCRAM-SHA-256"]


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        ("alice@example.org --generate", 1, "alice@example.org exists already"),
        ("ALICE@EXAMPLE.ORG --generate", 1, "alice@example.org exists already"),
        ("carol@example.net --generate", 1, "is not of a domain in"),
        ("carol --generate", 2, "expected an address as alice@example.org, not 'carol'"),
        ("@example.org --generate", 2, "expected an address"),
        ("../../carol@example.org --generate", 2, "without quotes, blanks and slashes"),
        ("ca..rol@example.org --generate", 2, "expected an address"),
        ("x" * 65 + "@example.org --generate", 2, "may have 64 octets, not 65"),
        ("carol@example.org --generate --password-stdin", 2, "exclude each other"),
        ("carol@example.org --hash $nonsense", 1, "--hash: a hash of a kind that is not known"),
        ("carol@example.org --hash $argon2id$x", 1, "--hash: a damaged argon2 hash"),
        ("carol@example.org --password-stdin", 1, "the password is empty"),
        ("carol@example.org", 2, "no terminal to ask for the password: use --password-stdin or --generate"),
        ("", 2, "Missing argument 'ADDRESS'"),
    ],
)
def test_add_refuses(config: Path, words: str, status: int, reason: str) -> None:
    result = invoke("account", "add", *words.split(), "--config", config)
    assert result.exit_code == status
    assert reason in result.stderr
    assert names(config) == ["alice@example.org", "bob@example.org"]


@pytest.mark.parametrize("name", ["a b@example.org", '"a b"@example.org', "a\nb@example.org", "a\udcff@example.org"])
def test_add_refuses_odd_characters(config: Path, name: str) -> None:
    result = invoke("account", "add", name, "--generate", "--config", config)
    assert result.exit_code == 2
    assert names(config) == ["alice@example.org", "bob@example.org"]


@pytest.mark.parametrize("words", ["remove", "password --generate"])
def test_there_must_be_such_an_account(config: Path, words: str) -> None:
    result = invoke("account", *words.split(), "nobody@example.org", "--config", config)
    assert result.exit_code == 1
    assert "there is no account nobody@example.org" in result.stderr


def test_removing_names_the_aliases_that_are_left(config: Path) -> None:
    invoke("alias", "add", "info@example.org", "bob@example.org", "--config", config)
    result = invoke("account", "remove", "Bob@example.org", "--config", config)
    assert result.exit_code == 0
    assert result.stdout == "removed bob@example.org; its mail stays on disk\n"
    assert "info@example.org" in result.stderr


def test_a_missing_configuration_says_how_to_make_one(tmp_path: Path) -> None:
    result = invoke("account", "list", "--config", tmp_path / "none.toml")
    assert result.exit_code == 1
    assert result.stderr == (
        f'Error: {tmp_path}/none.toml: there is no such file; "mailstack quickstart ADDRESS" writes one\n'
    )


def test_a_database_that_is_none_is_named(config: Path) -> None:
    database = config.parent / "data" / "accounts.sqlite3"
    database.write_bytes(b"this is not a database" * 100)
    result = invoke("account", "list", "--config", config)
    assert result.exit_code == 1
    assert f"accounts database {database}: file is not a database" in result.stderr


def test_a_database_that_is_locked_is_named(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailstack.auth.database.BUSY", 0.01)
    other = sqlite3.connect(config.parent / "data" / "accounts.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    result = invoke("account", "add", "carol@example.org", "--generate", "--config", config)
    other.close()
    assert result.exit_code == 1
    assert "database is locked" in result.stderr


def test_the_password_is_asked_for_twice_and_not_shown(config: Path) -> None:
    typed = iter([(b"Password: ", b"s3cret-typed\n"), (b"confirmation: ", b"s3cret-typed\n")])
    wanted: list[tuple[bytes, bytes]] = [next(typed)]

    def answer(shown: bytes, terminal: int) -> bool:
        while wanted and shown.endswith(wanted[0][0]):
            os.write(terminal, wanted.pop(0)[1])
            wanted.extend([step] if (step := next(typed, None)) else [])
        return not wanted

    status, shown = on_terminal("account", "add", "carol@example.org", "--config", str(config), answer=answer)
    assert status == 0, shown
    assert b"added carol@example.org" in shown
    assert b"s3cret" not in shown


def test_ctrl_c_at_the_prompt_adds_nothing(config: Path) -> None:
    def interrupt(shown: bytes, terminal: int) -> bool:
        if b"Password: " not in shown:
            return False
        os.write(terminal, b"\x03")
        return True

    status, shown = on_terminal("account", "add", "carol@example.org", "--config", str(config), answer=interrupt)
    assert status == 130, shown
    assert b"Aborted!" in shown
    assert names(config) == ["alice@example.org", "bob@example.org"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_server(tmp_path: Path) -> None:
    config = prepare(tmp_path / "etc", configuration(tmp_path / "etc", top=f'user = "{NOBODY}"'))
    (tmp_path / "etc/data/accounts.sqlite3").unlink()
    assert invoke("account", "add", "carol@example.org", "--generate", "--config", config).exit_code == 0
    assert (tmp_path / "etc/data/accounts.sqlite3").stat().st_uid == pwd.getpwnam(NOBODY).pw_uid


@pytest.mark.processes
class TestWhileAServerRuns:
    """Each change is asked of the server right after the command has ended."""

    def change(self, config: Path, *words: str, stdin: bytes = b"") -> Ended:
        ended = command("account", *words, "--config", str(config), stdin=stdin)
        assert ended.status == 0, ended
        return ended

    def log_in(self, server: Server, user: str, password: str, reply: bytes) -> None:
        with secured(server, "submission") as client:
            client.smtp(b"AUTH PLAIN " + plain(user, password), reply)

    def test_added_changed_removed(self, server: Server, server_config: Path) -> None:
        dora = f"dora@{DOMAIN}"
        self.log_in(server, dora, "first", b"535")
        self.change(server_config, "add", dora, "--password-stdin", stdin=b"first\nnot this\n")
        self.log_in(server, dora, "first", b"235")
        send_message(server, dora, MESSAGE)
        self.change(server_config, "password", dora, "--password-stdin", stdin="zweité\n".encode())
        self.log_in(server, dora, "first", b"535")
        self.log_in(server, dora, "zweité", b"235")
        self.change(server_config, "remove", dora)
        self.log_in(server, dora, "zweité", b"535")
        with server.connect("smtp") as client:
            client.smtp(b"EHLO client.example", b"250")
            client.smtp(b"MAIL FROM:<stranger@example.net>", b"250")
            client.smtp(b"RCPT TO:<dora@example.org>", b"550 5.1.1")
        assert list((server.data / "mail" / dora).rglob("*S=*")), "its mail stays on disk"

    def test_a_generated_password_logs_in(self, server: Server, server_config: Path) -> None:
        said = self.change(server_config, "add", f"emil@{DOMAIN}", "--generate").out
        self.log_in(server, f"emil@{DOMAIN}", said.split()[-1], b"235")
        self.log_in(server, f"alice@{DOMAIN}", PASSWORD, b"235")

    def test_a_hash_of_another_server_logs_in(self, server: Server, server_config: Path) -> None:
        bcrypt = pytest.importorskip("bcrypt", reason="needs the extra `import`")
        digest = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
        self.change(server_config, "add", f"flora@{DOMAIN}", "--hash", digest)
        self.log_in(server, f"flora@{DOMAIN}", "wrong", b"535")
        self.log_in(server, f"flora@{DOMAIN}", "secret", b"235")
