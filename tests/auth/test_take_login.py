"""A login that comes back out of a copy of the accounts database."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mailstack.auth.app_passwords import AppPassword
from mailstack.auth.database import OF_LOGIN, AccountDatabase, AccountsError
from mailstack.quota import QuotaLimit

ALICE = "alice@example.org"
OF_ALL = {"aliases", "secrets"}
"""Tables of which no row belongs to one login."""


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "saved.sqlite3"
    database = AccountDatabase(path)
    for name in (ALICE, "bob@example.org"):
        database.add_account(name, f"hash of {name}", scram="keys")
        database.set_quota(name, QuotaLimit(1000, 10))
        database.add_app_password(name, AppPassword("phone", ("imap",), 1.0, None), f"digest of {name}")
    database.set_forwards(ALICE, ["elsewhere@example.net"], keep=False)
    database.close()
    return path


def rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(path)
    found = {
        table: connection.execute(f"SELECT * FROM {table} WHERE {key} = ?", (ALICE,)).fetchall()
        for table, key in OF_LOGIN.items()
    }
    connection.close()
    return found


def test_everything_of_one_login_comes_back(saved: Path, tmp_path: Path) -> None:
    before, octets = rows(saved), saved.read_bytes()
    assert all(before.values())
    database = AccountDatabase(tmp_path / "here.sqlite3")
    assert database.take_login(saved, "Alice@Example.org") == 1
    assert [account.name for account in database.accounts()] == [ALICE]
    with pytest.raises(AccountsError, match="exists already"):
        database.take_login(saved, ALICE)
    assert database.take_login(saved, "nobody@example.org") is None
    database.close()
    assert rows(tmp_path / "here.sqlite3") == before
    assert saved.read_bytes() == octets


def test_a_copy_of_the_first_version_is_read(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "old.sqlite3")
    old.execute("CREATE TABLE accounts (name TEXT PRIMARY KEY, password_hash TEXT NOT NULL, created REAL NOT NULL)")
    old.execute("INSERT INTO accounts VALUES (?, 'hash', 1.0)", (ALICE,))
    old.commit()
    old.close()
    database = AccountDatabase(tmp_path / "here.sqlite3")
    assert database.take_login(tmp_path / "old.sqlite3", ALICE) == 0
    found = database.account(ALICE)
    assert found is not None and found.password_hash == "hash"
    database.close()


def test_every_table_is_of_a_login_or_of_all(saved: Path) -> None:
    connection = sqlite3.connect(saved)
    tables = {str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    assert tables == OF_LOGIN.keys() | OF_ALL, "take_login does not know of a table"
