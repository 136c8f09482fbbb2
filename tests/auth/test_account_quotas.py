"""Quotas in the accounts database: who has which, and files of older versions."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import pytest

from mailstack.auth.database import AccountDatabase, AccountsError
from mailstack.auth.known import KnownAccounts
from mailstack.auth.quotas import StoredQuotas
from mailstack.config.sections import Domain, Quota
from mailstack.errors import Problem, Refused
from mailstack.ports import AccountName
from mailstack.quota import QuotaLimit

ALICE, BOB, CAROL = (AccountName(f"{name}@example.org") for name in ("alice", "bob", "carol"))
OLD = """
CREATE TABLE accounts (name TEXT PRIMARY KEY, password_hash TEXT NOT NULL, created REAL NOT NULL);
CREATE TABLE aliases (address TEXT NOT NULL, target TEXT NOT NULL, PRIMARY KEY (address, target));
INSERT INTO accounts (name, password_hash, created) VALUES ('alice@example.org', 'x', 1.5);
"""
"""What version 0 wrote."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "accounts.sqlite3"


def test_the_nearest_limit_counts(path: Path) -> None:
    database = AccountDatabase(path)
    database.add_accounts([ALICE, BOB, CAROL], "x")
    domains = (Domain("Example.ORG", quota_bytes=500), Domain("example.net"), Domain("free.example", quota_bytes=0))
    quotas = StoredQuotas(KnownAccounts(database), Quota(bytes=1000, messages=10, grace=True), domains)
    database.set_quota("Alice@example.org", QuotaLimit(7, 0))
    database.set_quota(BOB, QuotaLimit())
    quotas.refresh()
    assert quotas.limit(ALICE) == QuotaLimit(7, 0)
    assert quotas.limit(BOB) == QuotaLimit()
    assert quotas.limit(CAROL) == QuotaLimit(500, 10)
    assert quotas.limit(AccountName("x@example.net")) == QuotaLimit(1000, 10)
    assert quotas.limit(AccountName("x@free.example")) == QuotaLimit(0, 10)
    assert quotas.grace
    assert quotas.limit(CAROL) is quotas.limit(CAROL), "looking is cheap"
    database.close()


def test_a_change_by_another_process_is_seen(path: Path) -> None:
    ours, theirs = AccountDatabase(path), AccountDatabase(path)
    ours.add_account(ALICE, "x")
    quotas = StoredQuotas(KnownAccounts(ours), Quota(), ())
    quotas.refresh()
    assert quotas.limit(ALICE) == QuotaLimit()
    theirs.set_quota(ALICE, QuotaLimit(5, 6))
    quotas.refresh()
    assert quotas.limit(ALICE) == QuotaLimit(5, 6)
    theirs.set_quota(ALICE, None)
    quotas.refresh()
    assert quotas.limit(ALICE) == QuotaLimit()
    with pytest.raises(AccountsError, match="no account nobody@example.org"):
        theirs.set_quota("nobody@example.org", None)
    theirs.close()
    ours.close()
    with pytest.raises(Refused) as info:
        quotas.refresh()
    assert info.value.problem is Problem.STORE_UNAVAILABLE


def test_a_file_of_the_version_before_is_brought_up(path: Path) -> None:
    old = sqlite3.connect(path)
    old.executescript(OLD)
    database = AccountDatabase(path)
    assert [account.name for account in database.accounts()] == [ALICE]
    database.set_quota(ALICE, QuotaLimit(1, 2))
    database.close()
    again = AccountDatabase(path)
    assert again.quotas() == {ALICE: QuotaLimit(1, 2)}
    # The version before goes on with it: it names its columns.
    old.execute("INSERT INTO accounts (name, password_hash, created) VALUES ('bob@example.org', 'x', 2.5)")
    old.commit()
    assert old.execute("SELECT name, password_hash, created FROM accounts WHERE name = ?", (BOB,)).fetchone()
    assert [account.name for account in again.accounts()] == [ALICE, BOB]
    again.close()
    old.close()


def test_many_processes_may_bring_it_up_at_once(path: Path) -> None:
    old = sqlite3.connect(path)
    old.executescript(OLD)
    old.close()
    errors: list[Exception] = []

    def open_it() -> None:
        try:
            AccountDatabase(path).close()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    database = AccountDatabase(path)
    assert database.quotas() == {}
    database.close()


def asked(database: AccountDatabase) -> list[str]:
    """What SQLite is asked from now on."""
    statements: list[str] = []
    database._connection.set_trace_callback(statements.append)
    return statements


def test_a_file_that_nobody_touched_is_not_opened_for_each_look(path: Path) -> None:
    ours, theirs = AccountDatabase(path), AccountDatabase(path)
    os.utime(path, (1e9, 1e9))
    before, statements = ours.version(), asked(ours)
    assert [ours.version() for _ in range(3)] == [before] * 3 and statements == []
    theirs.add_account(ALICE, "x")
    after = ours.version()
    assert after != before and statements
    ours.close()
    theirs.close()


def test_a_second_change_in_one_tick_of_the_file_system_is_seen(path: Path) -> None:
    ours, theirs = AccountDatabase(path), AccountDatabase(path)
    theirs.add_account(ALICE, "x")
    stamp = path.stat().st_mtime_ns
    before = ours.version()
    theirs.set_quota(ALICE, QuotaLimit(5, 6))
    os.utime(path, ns=(stamp, stamp))
    assert ours.version() != before
    ours.close()
    theirs.close()


def test_with_a_write_ahead_log_the_file_alone_tells_nothing(path: Path) -> None:
    ours, theirs = AccountDatabase(path), AccountDatabase(path)
    theirs._connection.execute("PRAGMA journal_mode = WAL")
    os.utime(path, (1e9, 1e9))
    before = ours.version()
    theirs.add_account(ALICE, "x")
    os.utime(path, (1e9, 1e9))
    assert ours.version() != before
    ours.close()
    theirs.close()
