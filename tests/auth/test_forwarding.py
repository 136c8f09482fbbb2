"""Accounts that are forwarded: what the directory says, and how senders are rewritten."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mailstack.app.rewriting import rewriter
from mailstack.auth.bad_keys import BadKeys
from mailstack.auth.database import AccountDatabase, AccountsError, Forwarding
from mailstack.auth.directory import StoredDirectory
from mailstack.auth.known import KnownAccounts
from mailstack.config.load import ConfigError, parse
from mailstack.config.sections import Config, Domain
from mailstack.errors import Problem, Refused
from mailstack.mail.address import Address
from mailstack.mail.srs import Rewriter
from mailstack.ports import AccountName, Local

NOW = 1_700_000_000.0
ALICE, BOB = "alice@example.org", "bob@example.org"
ELSEWHERE = Address("alice", "example.net")
DOMAINS = (Domain("example.org", catch_all=BOB), Domain("other.example"))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[AccountDatabase]:
    with closing(AccountDatabase(tmp_path / "accounts.sqlite3")) as opened:
        opened.add_account(ALICE, "x")
        opened.add_account(BOB, "x")
        opened.add_alias("info@example.org", ALICE)
        yield opened


@pytest.fixture
def directory(database: AccountDatabase) -> StoredDirectory:
    rewriter = Rewriter("example.org", (b"secret",), exempt=frozenset({"example.org", "other.example"}))
    return StoredDirectory(KnownAccounts(database), DOMAINS, rewriter, lambda: NOW)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as stopped:
        return stopped.value
    raise AssertionError("it waits")


def route(directory: StoredDirectory, address: str) -> Any:
    local, _, domain = address.rpartition("@")
    return run(directory.route(Address(local, domain)))


def local(*accounts: str, forwards: tuple[Address, ...] = ()) -> Local:
    return Local(tuple(map(AccountName, accounts)), forwards=forwards)


@pytest.mark.parametrize("address", [ALICE, "info@example.org", "Alice+x@example.org"])
def test_with_and_without_a_copy(database: AccountDatabase, directory: StoredDirectory, address: str) -> None:
    database.set_forwards(ALICE, ["alice@example.net"])
    assert route(directory, address) == local(ALICE, forwards=(ELSEWHERE,))
    database.set_forwards(ALICE, ["alice@example.net"], keep=False)
    assert route(directory, address) == local(forwards=(ELSEWHERE,))
    database.set_forwards(ALICE, [])
    assert route(directory, address) == local(ALICE)


def test_to_accounts_of_ours_and_on_from_there(database: AccountDatabase, directory: StoredDirectory) -> None:
    database.set_forwards(ALICE, [BOB, "carol@example.net"], keep=False)
    database.set_forwards(BOB, ["bob@example.com"])
    assert route(directory, ALICE) == local(
        BOB, forwards=(Address("carol", "example.net"), Address("bob", "example.com"))
    )


@pytest.mark.parametrize("target", [BOB, "info@example.org", "gone@other.example"])
def test_nothing_is_lost_that_goes_in_a_circle_or_nowhere(
    database: AccountDatabase, directory: StoredDirectory, target: str
) -> None:
    database.set_forwards(ALICE, [target], keep=False)
    database.set_forwards(BOB, [ALICE], keep=False)
    assert ALICE in route(directory, ALICE).accounts


def test_who_forwards_may_still_send(database: AccountDatabase, directory: StoredDirectory) -> None:
    database.set_forwards(ALICE, [BOB], keep=False)
    assert run(directory.may_send_as(AccountName(ALICE), Address("info", "example.org")))
    assert not run(directory.may_send_as(AccountName(BOB), Address("alice", "example.org"))), "only its mail goes there"


def test_a_bounce_finds_the_sender(directory: StoredDirectory) -> None:
    sender = Address("joe", "source.example")
    made = directory.reverse_path(sender)
    assert made.domain == "example.org" and directory.original_sender(made) == sender
    assert route(directory, str(made)) == local(forwards=(sender,))
    assert directory.reverse_path(Address("x", "other.example")) == Address("x", "other.example")


def test_a_forged_one_is_nobody_s_not_even_the_catch_all_s(directory: StoredDirectory) -> None:
    with pytest.raises(Refused) as refused:
        route(directory, "SRS0=aaaa=JO=source.example=joe@example.org")
    assert refused.value.problem is Problem.NO_SUCH_RECIPIENT
    assert route(directory, "anybody@example.org") == local(BOB)


def test_without_a_rewriter(database: AccountDatabase) -> None:
    directory = StoredDirectory(KnownAccounts(database), DOMAINS)
    sender = Address("joe", "source.example")
    assert directory.reverse_path(sender) == sender and directory.original_sender(sender) is None


def test_kept(database: AccountDatabase) -> None:
    database.set_forwards(ALICE.upper(), ["b@example.net", "a@example.net", "a@example.net"], keep=False)
    assert database.forwards() == {ALICE: Forwarding(("a@example.net", "b@example.net"), keep=False)}
    with pytest.raises(AccountsError, match="no account nobody"):
        database.set_forwards("nobody@example.org", ["a@example.net"])
    database.remove_account(ALICE)
    database.add_account(ALICE, "x")
    assert database.forwards() == {}


def config(tmp_path: Path, tables: str) -> Config:
    text = (
        f'data = "{tmp_path}"\nhostname = "mx.example.org"\n'
        '[[domains]]\nname = "other.example"\n[[domains]]\nname = "Bücher.example"\n'
        f'[[listeners]]\nservice = "smtp"\nport = 0\ntls = "none"\n{tables}'
    )
    return parse(text.encode(), tmp_path / "mailstack.toml")


def test_the_secret_lasts_and_a_file_may_have_others(database: AccountDatabase, tmp_path: Path) -> None:
    sender = Address("joe", "source.example")
    first = rewriter(config(tmp_path, ""), database)
    again = rewriter(config(tmp_path, ""), database)
    assert first is not None and again is not None and first.domain == "other.example"
    assert again.original(first.rewritten(sender, NOW), NOW) == sender
    assert first.rewritten(Address("x", "xn--bcher-kva.example"), NOW).domain == "xn--bcher-kva.example"
    (tmp_path / "secrets").write_bytes(b"\nnew\n\nold\n")
    filed = rewriter(
        config(tmp_path, '[forwarding]\nsecrets = "secrets"\ndomain = "xn--bcher-kva.example"\n'), database
    )
    assert filed is not None and filed.secrets == (b"new", b"old") and filed.domain == "xn--bcher-kva.example"
    assert rewriter(config(tmp_path, "[forwarding]\nrewrite = false\n"), database) is None


def test_configurations_that_cannot_be(database: AccountDatabase, tmp_path: Path) -> None:
    (tmp_path / "secrets").write_bytes(b"\n\n")
    with pytest.raises(BadKeys, match="expected secrets, one a line"):
        rewriter(config(tmp_path, '[forwarding]\nsecrets = "secrets"\n'), database)
    with pytest.raises(ConfigError, match=r"\[forwarding\] domain.*not \"source.example\""):
        config(tmp_path, '[forwarding]\ndomain = "source.example"\n')
    with pytest.raises(ConfigError, match="suppress_after.*expected 1 or more"):
        config(tmp_path, "[reports]\nsuppress_after = 0\n")
    with pytest.raises(ConfigError, match="per_hour.*expected 0 or more"):
        config(tmp_path, "[reports]\nper_hour = -1\n")
