"""The list of addresses that mail is not sent to any more: what puts them there, and what takes them off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from test_queue_reports import result

from mailstack.config.returns import Reports
from mailstack.errors import Problem, Refused
from mailstack.handover import Outcome, Verdict
from mailstack.mail.address import Address
from mailstack.queue.suppression import AT_ONCE, DAY, SUPPRESSED_DATABASE, SuppressionDatabase, SuppressionList, counts

BOB, CAROL = Address("bob", "example.net"), Address("carol", "example.net")
SETTINGS = Reports(suppress=True)
NOW = 1_700_000_000.0
NO_USER = Outcome(Verdict.NEVER, "5.1.1", "550 5.1.1 no such user", "mx.example.net")
FULL = Outcome(Verdict.NEVER, "5.2.2", "552 5.2.2 full", "mx.example.net")
DONE = Outcome(Verdict.DONE, "2.0.0", "250 ok", "mx.example.net")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SuppressionDatabase]:
    with closing(SuppressionDatabase(tmp_path / SUPPRESSED_DATABASE)) as opened:
        yield opened


async def at_once(fn: Callable[[], Any]) -> Any:
    return fn()


def listed(database: SuppressionDatabase, *addresses: Address, now: float = NOW) -> list[str]:
    return [str(address) for address in database.among(addresses, now, SETTINGS.suppress_days)]


def test_no_such_address_is_enough(database: SuppressionDatabase) -> None:
    assert database.failed(BOB, NO_USER, NOW, SETTINGS)
    assert listed(database, BOB, CAROL) == ["bob@example.net"]
    [entry] = database.all()
    assert (entry.address, entry.status, entry.failures, entry.since) == ("bob@example.net", "5.1.1", 1, NOW)
    assert entry.outcome() == Outcome(
        Verdict.NEVER, "5.1.1",
        "not tried, since Tue, 14 Nov 2023 22:13:20 +0000 mail to it came back: 550 5.1.1 no such user", remote=False,
    )  # fmt: skip


def test_other_failures_add_up_and_a_delivery_forgets_them(database: SuppressionDatabase) -> None:
    assert [database.failed(BOB, FULL, NOW, SETTINGS) for _ in range(2)] == [False, False]
    database.delivered([BOB])
    assert [database.failed(BOB, FULL, NOW, SETTINGS) for _ in range(3)] == [False, False, True]
    assert database.failed(BOB, FULL, NOW, SETTINGS), "it stays on the list"
    assert listed(database, BOB) == ["bob@example.net"]


def test_on_the_list_at_once_stays_there_whatever_comes_next(database: SuppressionDatabase) -> None:
    assert database.failed(BOB, NO_USER, NOW, SETTINGS) and database.failed(BOB, FULL, NOW, SETTINGS)


def test_what_is_only_counted_is_not_on_the_list(database: SuppressionDatabase) -> None:
    assert not database.failed(BOB, FULL, NOW, SETTINGS)
    assert not listed(database, BOB) and not list(database.all())


def test_it_ends(database: SuppressionDatabase) -> None:
    database.failed(BOB, NO_USER, NOW, SETTINGS)
    late = NOW + SETTINGS.suppress_days * DAY
    assert listed(database, BOB, now=late - 1) and not listed(database, BOB, now=late)
    assert database.among([BOB], late, 0), "0 days: for ever"
    assert not database.failed(BOB, FULL, late, SETTINGS), "the count begins anew"
    assert database.expire(late, SETTINGS.suppress_days) == 0 and database.expire(late + 1, 0) == 1


@pytest.mark.parametrize("address", [Address("BOB", "Example.NET"), Address("bob", "bücher.example")])
def test_addresses_are_one_in_any_form(database: SuppressionDatabase, address: Address) -> None:
    database.failed(address, NO_USER, NOW, SETTINGS)
    assert listed(database, address, Address("bob", "xn--bcher-kva.example"), BOB)[0] == str(address)
    assert len(listed(database, address, Address("bob", "xn--bcher-kva.example"), BOB)) == 2


def test_thousands_at_once(database: SuppressionDatabase) -> None:
    many = [Address(f"r{n}", "example.net") for n in range(3 * AT_ONCE)]
    for address in many[::AT_ONCE]:
        database.add(address, "", NOW)
    assert listed(database, *many, *many) == [str(address) for address in many[::AT_ONCE]]


def test_by_hand(database: SuppressionDatabase) -> None:
    database.add(BOB, "asked for no mail", NOW)
    assert "put on the list: asked for no mail" in database.among([BOB], NOW, 90)[BOB].outcome().text
    database.failed(CAROL, FULL, NOW, SETTINGS)
    assert database.clear(CAROL) == 0 and database.clear(BOB) == 1 and not list(database.all())
    database.add(BOB, "", NOW)
    assert database.clear() == 1 and database.clear() == 0


@pytest.mark.parametrize(
    ("verdict", "status", "remote", "counted"),
    [
        (Verdict.NEVER, "5.1.1", True, True),
        (Verdict.NEVER, "5.1.2", False, True),
        (Verdict.NEVER, "5.2.1", True, True),
        (Verdict.NEVER, "4.4.1", False, True),
        (Verdict.NEVER, "5.0.0", True, True),
        (Verdict.NEVER, "5.0.0", False, False),
        (Verdict.NEVER, "5.1.8", True, False),
        (Verdict.NEVER, "5.2.3", True, False),
        (Verdict.NEVER, "5.3.4", True, False),
        (Verdict.NEVER, "5.4.6", True, False),
        (Verdict.NEVER, "5.6.7", True, False),
        (Verdict.NEVER, "5.7.1", True, False),
        (Verdict.LATER, "4.2.2", True, False),
        (Verdict.DONE, "2.1.5", True, False),
    ],
)
def test_what_counts(verdict: Verdict, status: str, remote: bool, counted: bool) -> None:
    assert counts(Outcome(verdict, status, "x", remote=remote)) is counted


def test_for_the_queue(database: SuppressionDatabase) -> None:
    suppression = SuppressionList(database, at_once, SETTINGS)
    spam = Outcome(Verdict.NEVER, "5.7.1", "550 5.7.1 spam")
    result(suppression.tried([(BOB, NO_USER), (CAROL, spam)], NOW))
    found = result(suppression.suppressed([BOB, CAROL], NOW))
    assert list(found) == [BOB] and found[BOB].status == "5.1.1"
    suppression.settings = Reports()
    assert result(suppression.suppressed([BOB], NOW)) == {}
    result(suppression.tried([(CAROL, NO_USER)], NOW))
    assert listed(database, CAROL) == [], "nothing is noted while the list is not in use"
    suppression.settings = SETTINGS
    result(suppression.tried([(BOB, DONE)], NOW))
    assert listed(database, BOB) == []


def test_a_file_that_fails(database: SuppressionDatabase) -> None:
    database.close()
    suppression = SuppressionList(database, at_once, SETTINGS)
    with pytest.raises(Refused) as refused:
        suppression.suppressed([BOB], NOW).send(None)
    assert refused.value.problem is Problem.STORE_UNAVAILABLE


def test_two_processes(database: SuppressionDatabase, tmp_path: Path) -> None:
    with closing(SuppressionDatabase(tmp_path / SUPPRESSED_DATABASE)) as other:
        other.add(BOB, "", NOW)
    assert listed(database, BOB) == ["bob@example.net"]
    assert (tmp_path / SUPPRESSED_DATABASE).stat().st_mode & 0o777 == 0o600
