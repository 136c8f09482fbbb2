"""Logins, hashes, limits, and who receives what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred, succeed

from mailstack.auth import passwords
from mailstack.auth.accounts import StoredAccounts
from mailstack.auth.anyone import AnyAccounts, AnyDirectory
from mailstack.auth.database import AccountDatabase, AccountsError
from mailstack.auth.directory import StoredDirectory
from mailstack.auth.known import KnownAccounts
from mailstack.auth.limits import LoginLimits
from mailstack.config.sections import Domain
from mailstack.errors import Problem, Refused
from mailstack.mail.address import Address
from mailstack.ports import Local, Peer, Remote
from mailstack.rates import network_of
from mailstack.testing.log import RecordingLog

T = TypeVar("T")
PEER = Peer("192.0.2.1", 1000)
HASH = passwords.hash_password("secret")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    found: list[Any] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(found.append, lambda failure: found.append(failure.value))
    assert found, "it waits"
    if isinstance(found[0], BaseException):
        raise found[0]
    result: T = found[0]
    return result


class Rig:
    def __init__(self, path: Path) -> None:
        self.now = 1000.0
        self.verified = 0
        self.database = AccountDatabase(path)
        self.database.add_account("Alice@example.org", HASH)
        clock = lambda: self.now  # noqa: E731
        self.accounts = StoredAccounts(
            self.database,
            LoginLimits(3, 5, 60, clock),
            passwords.VerifiedPasswords(300, clock),
            self.run,
            RecordingLog(),
            default_domain="example.org",
        )

    def run(self, fn: Callable[[], bool]) -> Awaitable[bool]:
        self.verified += 1
        return succeed(fn())

    def log_in(self, user: str, password: str, host: str = PEER.host) -> str:
        return run(self.accounts.log_in(user, password, Peer(host, 1)))

    def refused(self, user: str, password: str, host: str = PEER.host) -> Problem:
        with pytest.raises(Refused) as caught:
            self.log_in(user, password, host)
        return caught.value.problem


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "accounts.sqlite3")


@pytest.mark.parametrize("user", ["alice@example.org", "ALICE@Example.ORG", "alice"])
def test_the_right_password(rig: Rig, user: str) -> None:
    assert rig.log_in(user, "secret") == "alice@example.org"


def test_wrong_password_and_unknown_user_both_cost_a_hash(rig: Rig) -> None:
    assert rig.refused("alice", "Secret") is Problem.BAD_CREDENTIALS
    assert rig.refused("nobody", "secret") is Problem.BAD_CREDENTIALS
    assert rig.verified == 2


def test_a_verified_password_is_remembered_until_it_changes(rig: Rig) -> None:
    rig.log_in("alice", "secret")
    rig.log_in("alice", "secret")
    assert rig.verified == 1
    rig.database.set_password("alice@example.org", passwords.hash_password("other"))
    assert rig.refused("alice", "secret") is Problem.BAD_CREDENTIALS
    rig.log_in("alice", "other")


def test_it_is_remembered_for_a_while_only(rig: Rig) -> None:
    rig.log_in("alice", "secret")
    rig.now += 301
    rig.log_in("alice", "secret")
    assert rig.verified == 2


def test_an_address_that_guesses_has_to_wait(rig: Rig) -> None:
    for _ in range(3):
        rig.refused("alice", "guess")
    assert rig.refused("alice", "secret") is Problem.TOO_MANY_FAILURES
    rig.now += 61
    assert rig.log_in("alice", "secret") == "alice@example.org"


def test_strangers_do_not_lock_the_owner_out(rig: Rig) -> None:
    rig.log_in("alice", "secret", "198.51.100.7")
    for number in range(6):
        rig.refused("alice", "guess", f"203.0.113.{number}")
    assert rig.refused("alice", "secret", "203.0.113.99") is Problem.TOO_MANY_FAILURES
    assert rig.log_in("alice", "secret", "198.51.100.7") == "alice@example.org"


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", ""),
    ],
)
def test_networks(host: str, network: str) -> None:
    assert network_of(host) == network


def test_hashes_of_others_are_verified_and_replaced(rig: Rig) -> None:
    bcrypt = pytest.importorskip("bcrypt", reason="the extra `import` is not installed")
    rig.database.add_account("bob@example.org", "{BLF-CRYPT}" + bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode())
    assert rig.log_in("bob", "pw") == "bob@example.org"
    stored = rig.database.account("bob@example.org")
    assert stored is not None
    assert passwords.is_ours(stored.password_hash)
    assert rig.refused("bob", "wrong") is Problem.BAD_CREDENTIALS


def test_an_unknown_hash_is_no_login(rig: Rig) -> None:
    rig.database.add_account("eve@example.org", "{PLAIN}secret")
    assert rig.refused("eve", "secret") is Problem.LOGIN_UNAVAILABLE


def test_names_are_taken_once(rig: Rig) -> None:
    with pytest.raises(AccountsError, match="exists already"):
        rig.database.add_account("alice@EXAMPLE.org", HASH)
    with pytest.raises(AccountsError, match="no account"):
        rig.database.remove_account("nobody@example.org")


class TestDirectory:
    @pytest.fixture
    def directory(self, rig: Rig) -> StoredDirectory:
        for alias, target in (
            ("info@example.org", "alice@example.org"),
            ("team@example.org", "info@example.org"),
            ("loop@example.org", "loop2@example.org"),
            ("loop2@example.org", "loop@example.org"),
            ("@other.example", "alice@example.org"),
        ):
            rig.database.add_alias(alias, target)
        domains = (Domain("example.org", postmaster="alice@example.org"), Domain("other.example"))
        return StoredDirectory(KnownAccounts(rig.database), domains)

    @pytest.mark.parametrize(
        "address", ["alice@example.org", "Alice+x@EXAMPLE.org", "team@example.org", "any@other.example", "postmaster@"]
    )
    def test_leads_to_alice(self, directory: StoredDirectory, address: str) -> None:
        local, _, domain = address.rpartition("@")
        assert run(directory.route(Address(local, domain))) == Local(("alice@example.org",))  # type: ignore[arg-type]

    @pytest.mark.parametrize("local", ["nobody", "loop", "+alice"])
    def test_unknown(self, directory: StoredDirectory, local: str) -> None:
        with pytest.raises(Refused) as caught:
            run(directory.route(Address(local, "example.org")))
        assert caught.value.problem is Problem.NO_SUCH_RECIPIENT

    def test_aliases_that_all_lead_to_each_other_cost_no_more_than_they_name(self, rig: Rig) -> None:
        names = [f"a{number}@example.org" for number in range(40)]
        for name in names:
            rig.database.add_account(name, HASH)
        for name in names:
            for other in names:
                if other != name:
                    rig.database.add_alias(name, other)
        directory = StoredDirectory(KnownAccounts(rig.database), (Domain("example.org"),))
        route = run(directory.route(Address("a7", "example.org")))
        assert isinstance(route, Local)
        assert sorted(route.accounts) == sorted(names)

    @pytest.mark.parametrize("local", ["j\u00f6rg", "jo\u0308rg", "J\u00d6RG", "j\u00f6rg+x"])
    @pytest.mark.parametrize("domain", ["b\u00fccher.example", "B\u00dcCHER.example", "xn--bcher-kva.example"])
    @pytest.mark.parametrize("configured", ["b\u00fccher.example", "xn--bcher-kva.example"])
    def test_an_address_in_utf_8_is_the_same_however_it_is_written(
        self, rig: Rig, local: str, domain: str, configured: str
    ) -> None:
        rig.database.add_account(f"j\u00f6rg@{configured}", HASH)
        directory = StoredDirectory(KnownAccounts(rig.database), (Domain(configured),))
        account: Any = f"j\u00f6rg@{configured}"
        assert run(directory.route(Address(local, domain))) == Local((account,))
        assert run(directory.may_send_as(account, Address(local, domain)))

    def test_elsewhere(self, directory: StoredDirectory) -> None:
        assert run(directory.route(Address("x", "elsewhere.example"))) == Remote("elsewhere.example")

    def test_another_process_adds_an_account(self, rig: Rig, directory: StoredDirectory) -> None:
        with pytest.raises(Refused):
            run(directory.route(Address("carol", "example.org")))
        AccountDatabase(rig.database.path).add_account("carol@example.org", HASH)
        assert isinstance(run(directory.route(Address("carol", "example.org"))), Local)

    def test_who_may_send_as_whom(self, directory: StoredDirectory) -> None:
        alice: Any = "alice@example.org"
        assert run(directory.may_send_as(alice, Address("info", "example.org")))
        assert run(directory.may_send_as(alice, Address("alice+tag", "example.org")))
        assert not run(directory.may_send_as(alice, Address("any", "other.example")))
        assert not run(directory.may_send_as(alice, Address("alice", "elsewhere.example")))


class TestAnybody:
    @pytest.mark.parametrize(("user", "account"), [("Bob", "bob@localhost"), ("a@B.example", "a@b.example")])
    def test_any_name_logs_in(self, user: str, account: str) -> None:
        assert run(AnyAccounts().log_in(user, "x", PEER)) == account

    @pytest.mark.parametrize("user", ["../../etc", "a/b@c", "@x", "a\0b", "x" * 300])
    def test_names_that_no_directory_can_have(self, user: str) -> None:
        with pytest.raises(Refused):
            run(AnyAccounts().log_in(user, "x", PEER))

    def test_domains_may_be_limited(self) -> None:
        directory = AnyDirectory(frozenset({"a.example"}))
        assert isinstance(run(directory.route(Address("x", "A.example"))), Local)
        with pytest.raises(Refused):
            run(directory.route(Address("x", "b.example")))
