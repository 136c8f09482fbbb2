"""QUOTA where a transcript does not reach: rounding, who is an administrator, accounts that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from imap_world import ALICE, World

from mailstack.auth.database import AccountDatabase
from mailstack.auth.known import KnownAccounts
from mailstack.auth.quotas import StoredQuotas
from mailstack.config.sections import Quota as QuotaSection
from mailstack.errors import Problem, Refused
from mailstack.imap.ext.rfc9208_quota import MAX_LIMIT, limit_of, response
from mailstack.ports import AccountName
from mailstack.quota import Quota, QuotaLimit


@pytest.mark.parametrize(
    ("quota", "shown"),
    [
        (Quota(0, 0, QuotaLimit()), b"()"),
        (Quota(1024, 3, QuotaLimit(2048)), b"(STORAGE 1 2)"),
        (Quota(1025, 3, QuotaLimit(2047)), b"(STORAGE 2 1)"),
        (Quota(1, 3, QuotaLimit(0, 5)), b"(MESSAGE 3 5)"),
    ],
)
def test_usage_is_rounded_up_and_the_limit_down(quota: Quota, shown: bytes) -> None:
    assert response("a b", quota) == b'* QUOTA "a b" %s\r\n' % shown


def test_limits_that_cannot_be_kept_are_refused() -> None:
    assert limit_of({"STORAGE": MAX_LIMIT // 1024, "MESSAGE": MAX_LIMIT}).messages == MAX_LIMIT
    for limits in ({"STORAGE": MAX_LIMIT // 1024 + 1}, {"MESSAGE": MAX_LIMIT + 1}, {"MESSAGE": 0}):
        with pytest.raises(Refused) as info:
            limit_of(limits)
        assert info.value.problem is Problem.CANNOT


def test_who_administers_is_told_which_accounts_there_are() -> None:
    client = World(everybody_administers=True).log_in()
    for command in (b"GETQUOTA bob@example.org", b"SETQUOTA bob@example.org (MESSAGE 1)"):
        assert client.lines(command)[-1].startswith(b"t NO [NONEXISTENT]")
    assert client.lines(b"SETQUOTA %s (MESSAGE 1)" % ALICE.encode())[-1].startswith(b"t OK")


def test_a_limit_is_kept_in_the_accounts_database(tmp_path: Path) -> None:
    database = AccountDatabase(tmp_path / "accounts.sqlite3")
    database.add_account(ALICE, "x")
    known = KnownAccounts(database)
    quotas = StoredQuotas(known, QuotaSection(messages=9), ())
    quotas.refresh()
    alice, bob = AccountName(ALICE), AccountName("bob@example.org")
    assert (quotas.knows(alice), quotas.knows(bob)) == (True, False)
    quotas.set_limit(alice, QuotaLimit(5, 6))
    assert quotas.limit(alice) == QuotaLimit(5, 6)
    with pytest.raises(Refused) as info:
        quotas.set_limit(bob, QuotaLimit(5, 6))
    assert info.value.problem is Problem.NO_SUCH_ACCOUNT
    assert database.quotas() == {ALICE: QuotaLimit(5, 6)}
    database.close()
