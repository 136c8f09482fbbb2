"""Passwords for single programs: what they are good for, until when, and what SCRAM makes of them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, succeed

from mailstack.auth import passwords
from mailstack.auth.accounts import StoredAccounts, Ways
from mailstack.auth.app_passwords import AppPassword, digest, new_app_password
from mailstack.auth.database import AccountDatabase, AccountsError
from mailstack.auth.limits import LoginLimits
from mailstack.auth.scram_store import scram_text
from mailstack.errors import Problem, Refused
from mailstack.ports import Peer
from mailstack.testing.log import RecordingLog

ALICE, MAIN = "alice@example.org", "correct horse"
HASH = passwords.hash_password(MAIN)
MECHANISMS = frozenset({"SCRAM-SHA-256"})


@pytest.fixture
def database(tmp_path: Path) -> Iterator[AccountDatabase]:
    found = AccountDatabase(tmp_path / "accounts.sqlite3")
    found.add_account(ALICE, HASH, scram_text(MAIN, MECHANISMS))
    found.add_account("bob@example.org", HASH, scram_text(MAIN, MECHANISMS))
    yield found
    found.close()


def accounts(database: AccountDatabase, failures: int = 20) -> StoredAccounts:
    return StoredAccounts(
        database, LoginLimits(failures, 20, 60, lambda: 0.0), passwords.VerifiedPasswords(300, lambda: 0.0),
        lambda fn: succeed(fn()), RecordingLog(), default_domain="example.org", ways=Ways(scram=MECHANISMS),
    )  # fmt: skip


def made(database: AccountDatabase, label: str, *scopes: str, expires: float | None = None) -> str:
    password = new_app_password()
    kept = digest(password)
    assert kept is not None
    database.add_app_password(ALICE, AppPassword(label, scopes, 1.0, expires), kept)
    return password


def log_in(who: StoredAccounts, scope: str, password: str, user: str = "alice") -> str:
    found: list[object] = []
    Deferred.fromCoroutine(who.within(scope).log_in(user, password, Peer("192.0.2.1", 1))).addBoth(found.append)
    problem = getattr(found[0], "value", None)
    if isinstance(problem, Refused):
        return problem.problem.value
    return str(found[0])


WRONG = Problem.BAD_CREDENTIALS.value


def test_it_is_good_for_its_services(database: AccountDatabase) -> None:
    who = accounts(database)
    scanner, phone = made(database, "scanner", "smtp"), made(database, "phone", "smtp", "imap", "pop3")
    assert [log_in(who, scope, scanner) for scope in ("smtp", "imap", "pop3", "")] == [ALICE, WRONG, WRONG, WRONG]
    assert [log_in(who, scope, phone) for scope in ("smtp", "imap", "pop3", "")] == [ALICE, ALICE, ALICE, WRONG]
    assert log_in(who, "imap", phone.upper().replace("-", " ")) == ALICE
    assert log_in(who, "imap", phone, "bob") == WRONG and log_in(who, "imap", phone, "nobody") == WRONG
    assert log_in(who, "imap", new_app_password()) == WRONG
    assert log_in(who, "imap", MAIN) == ALICE
    database.remove_app_password(ALICE, "phone")
    assert log_in(who, "imap", phone) == WRONG and log_in(who, "smtp", scanner) == ALICE


def test_it_expires(database: AccountDatabase) -> None:
    who, now = accounts(database), time.time()
    assert log_in(who, "imap", made(database, "today", "imap", expires=now + 3600)) == ALICE
    assert log_in(who, "imap", made(database, "yesterday", "imap", expires=now - 1)) == WRONG


def test_a_failure_counts(database: AccountDatabase) -> None:
    who = accounts(database, failures=1)
    assert log_in(who, "imap", made(database, "scanner", "smtp")) == WRONG
    assert log_in(who, "imap", MAIN) == Problem.TOO_MANY_FAILURES.value


def test_scram_is_not_offered_to_who_might_have_one(database: AccountDatabase) -> None:
    assert "SCRAM-SHA-256" in accounts(database).mechanisms()
    made(database, "phone", "imap")
    assert "SCRAM-SHA-256" not in accounts(database).mechanisms()
    database.remove_app_password(ALICE, "phone")
    assert "SCRAM-SHA-256" in accounts(database).mechanisms()


def test_what_is_kept(database: AccountDatabase) -> None:
    password = made(database, "phone", "imap", "smtp")
    assert re.fullmatch(r"([a-z0-9]{4}-){4}[a-z0-9]{4}", password)
    assert database.app_passwords("Alice@example.org") == [AppPassword("phone", ("imap", "smtp"), 1.0, None)]
    octets = database.path.read_bytes()
    assert password.encode() not in octets and password.replace("-", "").encode() not in octets
    with pytest.raises(AccountsError, match="phone already"):
        made(database, "phone", "imap")
    with pytest.raises(AccountsError, match="no account"):
        database.add_app_password("nobody@example.org", AppPassword("x", (), 1.0, None), "x")
    with pytest.raises(AccountsError, match="no app password"):
        database.remove_app_password(ALICE, "tablet")
    database.remove_account(ALICE)
    database.add_account(ALICE, HASH)
    assert not database.app_passwords(ALICE), "an account of the same name is another one"


@pytest.mark.parametrize("password", ["", MAIN, "abcd-efgh-jkmn-pqrs-tuv", "abcd-efgh-jkmn-pqrs-tuv\u00e9", "a" * 21])
def test_what_is_none(password: str) -> None:
    assert digest(password) is None
