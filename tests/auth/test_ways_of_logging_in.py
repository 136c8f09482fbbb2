"""SCRAM keys beside the hash, tokens and certificates: what the accounts database makes of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.defer import Deferred, succeed

from mailstack.auth import passwords, scram_store
from mailstack.auth.accounts import LOOK_AGAIN, StoredAccounts, Ways
from mailstack.auth.anyone import AnyAccounts
from mailstack.auth.certificates import CertificateNames
from mailstack.auth.database import SCRAM_MECHANISMS, AccountDatabase
from mailstack.auth.limits import LoginLimits
from mailstack.auth.passwords import UnknownHash
from mailstack.auth.scram import HASHES, derive
from mailstack.errors import Problem, Refused
from mailstack.ports import Peer, ScramKeys, TokenHint
from mailstack.testing.log import RecordingLog

T = TypeVar("T")
PEER = Peer("192.0.2.1", 1000)
SHA1, SHA256_ = "SCRAM-SHA-1", "SCRAM-SHA-256"
BOTH = frozenset({SHA1, SHA256_})
HASH, OTHER_HASH = passwords.hash_password("secret"), passwords.hash_password("other")
KEYS = scram_store.scram_text("secret")
ALICE, BOB = "alice@example.org", "bob@example.org"


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    found: list[Any] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(found.append, lambda failure: found.append(failure.value))
    assert found, "it waits"
    if isinstance(found[0], BaseException):
        raise found[0]
    result: T = found[0]
    return result


def problem(coroutine: Coroutine[Any, Any, object]) -> Problem:
    with pytest.raises(Refused) as caught:
        run(coroutine)
    return caught.value.problem


class Issuer:
    """Knows some tokens."""

    hint = TokenHint("mail")

    async def names(self, token: str) -> Sequence[str]:
        if token == "down":
            raise Refused(Problem.LOGIN_UNAVAILABLE)
        if token == "bad":
            raise Refused(Problem.BAD_CREDENTIALS)
        return token.split()


class Rig:
    def __init__(self, path: Path, ways: Ways, *, limit: int = 5) -> None:
        self.database = AccountDatabase(path)
        self.log = RecordingLog()
        self.hashed = 0
        self.now = 1000.0
        clock = lambda: self.now  # noqa: E731
        self.accounts = StoredAccounts(
            self.database, LoginLimits(limit, limit, 60, clock), passwords.VerifiedPasswords(300, clock), self.run,
            self.log, default_domain="example.org", ways=ways, clock=clock,
        )  # fmt: skip

    def run(self, fn: Callable[[], bool]) -> Awaitable[bool]:
        self.hashed += 1
        return succeed(fn())

    def keys(self, user: str, mechanism: str = SHA256_) -> ScramKeys:
        return run(self.accounts.scram_keys(user, mechanism, PEER))


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "accounts.sqlite3", Ways(scram=BOTH))


def test_the_database_knows_the_mechanisms() -> None:
    assert set(SCRAM_MECHANISMS) == set(HASHES) == BOTH


class TestKeys:
    @pytest.mark.parametrize("mechanism", [SHA1, SHA256_])
    @pytest.mark.parametrize("user", ["alice", "ALICE@Example.org"])
    def test_of_the_password(self, rig: Rig, mechanism: str, user: str) -> None:
        rig.database.add_account(ALICE, HASH, KEYS)
        keys = rig.keys(user, mechanism)
        assert keys == derive(mechanism, "secret", keys.salt, keys.iterations)
        assert keys.iterations == scram_store.ITERATIONS
        assert run(rig.accounts.log_in_by_proof(user, True, PEER)) == ALICE

    def test_a_login_with_the_password_makes_them(self, rig: Rig) -> None:
        rig.database.add_account(ALICE, HASH)
        before = rig.keys("alice")
        assert problem(rig.accounts.log_in("alice", "wrong", PEER)) is Problem.BAD_CREDENTIALS
        assert rig.keys("alice") == before
        run(rig.accounts.log_in("alice", "secret", PEER))
        keys = rig.keys("alice")
        assert keys == derive(SHA256_, "secret", keys.salt, keys.iterations)
        hashed = rig.hashed
        run(rig.accounts.log_in("alice", "secret", PEER))
        assert rig.hashed == hashed, "it is remembered, and has keys"
        assert rig.database.account(ALICE).password_hash == HASH  # type: ignore[union-attr]

    def test_they_go_with_the_password(self, rig: Rig) -> None:
        rig.database.add_account(ALICE, HASH, KEYS)
        rig.database.set_password(ALICE, OTHER_HASH, scram_store.scram_text("other"))
        keys = rig.keys("alice")
        assert keys == derive(SHA256_, "other", keys.salt, keys.iterations)

    def test_an_older_version_sets_a_password_without_them(self, rig: Rig) -> None:
        rig.database.add_account(ALICE, HASH, KEYS)
        with sqlite3.connect(rig.database.path) as older:
            older.execute("UPDATE accounts SET password_hash = ? WHERE name = ?", (OTHER_HASH, ALICE))
        older.close()
        nobodys = scram_store.nobodys_keys(rig.database.secret("scram of nobody"), ALICE, SHA256_)
        assert rig.keys("alice") == nobodys, "the old password must not log in any more"
        assert not rig.database.all_have_keys(SHA256_)
        run(rig.accounts.log_in("alice", "other", PEER))
        keys = rig.keys("alice")
        assert keys == derive(SHA256_, "other", keys.salt, keys.iterations)

    def test_a_password_that_changes_meanwhile_stays(self, rig: Rig) -> None:
        rig.database.add_account(ALICE, HASH)
        assert not rig.database.replace_hash(ALICE, OTHER_HASH, OTHER_HASH, KEYS)
        assert rig.database.account(ALICE).password_hash == HASH  # type: ignore[union-attr]

    def test_none_are_made_where_scram_is_off(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path / "accounts.sqlite3", Ways())
        rig.database.add_account(ALICE, HASH)
        run(rig.accounts.log_in("alice", "secret", PEER))
        assert rig.database.account(ALICE).scram == ""  # type: ignore[union-attr]
        assert rig.accounts.mechanisms() == {"PLAIN", "LOGIN"}


class TestNobody:
    def test_looks_like_somebody_and_always_the_same(self, rig: Rig, tmp_path: Path) -> None:
        rig.database.add_account(ALICE, HASH, KEYS)
        somebody, nobody = rig.keys("alice", SHA1), rig.keys("nobody", SHA1)
        for one, other in ((somebody.salt, nobody.salt), (somebody.stored_key, nobody.stored_key)):
            assert len(one) == len(other)
        assert somebody.iterations == nobody.iterations
        again = Rig(tmp_path / "accounts.sqlite3", Ways(scram=BOTH))  # another process
        assert again.keys("Nobody@EXAMPLE.org", SHA1) == nobody
        assert len({rig.keys(user).salt for user in ("a", "b", "c")}) == 3
        assert rig.keys("nobody", SHA256_).salt != nobody.salt

    def test_fails_at_the_end_and_is_counted(self, rig: Rig) -> None:
        for _ in range(5):
            assert problem(rig.accounts.log_in_by_proof("nobody", True, PEER)) is Problem.BAD_CREDENTIALS
        assert problem(rig.accounts.scram_keys("nobody", SHA1, PEER)) is Problem.TOO_MANY_FAILURES
        assert problem(rig.accounts.scram_keys("alice", SHA1, PEER)) is Problem.TOO_MANY_FAILURES

    def test_a_wrong_proof_is_counted_with_wrong_passwords(self, rig: Rig) -> None:
        rig.database.add_account(ALICE, HASH, KEYS)
        for _ in range(5):
            assert problem(rig.accounts.log_in_by_proof("alice", False, PEER)) is Problem.BAD_CREDENTIALS
        assert problem(rig.accounts.log_in("alice", "secret", PEER)) is Problem.TOO_MANY_FAILURES


class TestReadiness:
    def test_scram_is_offered_once_all_have_keys(self, rig: Rig) -> None:
        rig.database.add_account(ALICE, HASH, KEYS)
        assert f"{SHA1}-PLUS" in rig.accounts.mechanisms()
        rig.database.add_account("bob@example.org", HASH)
        rig.now += LOOK_AGAIN
        assert rig.accounts.mechanisms() == {"PLAIN", "LOGIN"}
        run(rig.accounts.log_in("bob", "secret", PEER))
        rig.now += LOOK_AGAIN
        assert SHA256_ in rig.accounts.mechanisms()

    def test_it_is_noticed_what_other_processes_do(self, rig: Rig) -> None:
        assert SHA1 in rig.accounts.mechanisms()
        AccountDatabase(rig.database.path).add_account(ALICE, HASH)
        rig.now += LOOK_AGAIN
        assert SHA1 not in rig.accounts.mechanisms()

    def test_always_when_it_is_said_so(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path / "accounts.sqlite3", Ways(scram=frozenset({SHA1}), scram_always=True))
        rig.database.add_account(ALICE, HASH)
        assert rig.accounts.mechanisms() == {"PLAIN", "LOGIN", SHA1, f"{SHA1}-PLUS"}


def dovecot(mechanism: str) -> str:
    keys = derive(mechanism, "secret", b"salt of dovecot.", 4096)
    name, text = mechanism, scram_store.as_text(mechanism, keys)
    for sign in ("$", ":"):
        text = text.replace(sign, ",")
    return "{" + name + "}" + text.removeprefix(f"{name},")


class TestKeysOfDovecot:
    @pytest.mark.parametrize("mechanism", [SHA1, SHA256_])
    def test_verify_a_password_and_prove_it(self, rig: Rig, mechanism: str) -> None:
        stored = dovecot(mechanism)
        passwords.check_hash(stored)
        assert passwords.verify(stored, "secret")
        assert not passwords.verify(stored, "Secret")
        rig.database.add_account(ALICE, stored, passwords.scram_of(stored))
        assert rig.keys("alice", mechanism) == derive(mechanism, "secret", b"salt of dovecot.", 4096)
        run(rig.accounts.log_in("alice", "secret", PEER))
        assert passwords.is_ours(rig.database.account(ALICE).password_hash)  # type: ignore[union-attr]

    @pytest.mark.parametrize(
        "stored", ["{SCRAM-SHA-1}", "{SCRAM-SHA-1}4096,YQ==,YQ==,YQ==", "{SCRAM-SHA-256}x,!,YQ==,YQ=="]
    )
    def test_damaged(self, stored: str) -> None:
        with pytest.raises(UnknownHash):
            passwords.check_hash(stored)

    def test_an_expensive_one(self) -> None:
        with pytest.raises(UnknownHash):
            passwords.check_hash(dovecot(SHA1).replace("}4096,", "}99999999,"))


class TestTokens:
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Rig:
        rig = Rig(tmp_path / "accounts.sqlite3", Ways(tokens=Issuer()))
        rig.database.add_account(ALICE, HASH)
        rig.database.add_account("bob@example.org", HASH)
        return rig

    @pytest.mark.parametrize(
        ("user", "token", "account"),
        [
            ("", ALICE, ALICE),
            ("Alice", ALICE, ALICE),
            ("", "other@x bob", "bob@example.org"),
            ("bob", "alice bob", "bob@example.org"),
        ],
    )
    def test_names_an_account(self, rig: Rig, user: str, token: str, account: str) -> None:
        assert run(rig.accounts.log_in_by_token(user, token, PEER)) == account

    @pytest.mark.parametrize(("user", "token"), [("bob", ALICE), ("", "nobody"), ("", ""), ("", "bad"), (ALICE, "bad")])
    def test_of_somebody_else(self, rig: Rig, user: str, token: str) -> None:
        for _ in range(5):
            assert problem(rig.accounts.log_in_by_token(user, token, PEER)) is Problem.BAD_CREDENTIALS
        assert problem(rig.accounts.log_in_by_token(user, ALICE, PEER)) is Problem.TOO_MANY_FAILURES
        assert run(rig.accounts.log_in_by_token("", ALICE, Peer("198.51.100.1", 1))) == ALICE, "others are not held up"

    def test_an_issuer_that_is_down_is_nobodys_failure(self, rig: Rig) -> None:
        for _ in range(6):
            assert problem(rig.accounts.log_in_by_token("", "down", PEER)) is Problem.LOGIN_UNAVAILABLE

    def test_are_offered_where_they_can_be_verified(self, rig: Rig) -> None:
        assert rig.accounts.mechanisms() == {"PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"}
        assert rig.accounts.token_hint() == TokenHint("mail")


def der(*identities: str) -> bytes:
    pem = trustme.CA().issue_cert(*identities).cert_chain_pems[0].bytes()
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


class TestCertificates:
    def test_name_accounts_by_their_addresses(self) -> None:
        names = CertificateNames({})
        assert names(der("alice@example.org", "example.org", "bob@example.org")) == (
            "alice@example.org",
            "bob@example.org",
        )
        assert names(der("example.org")) == ()
        assert names(b"nonsense") == ()

    def test_the_configuration_comes_first(self) -> None:
        certificate = der("alice@example.org")
        fingerprint = x509.load_der_x509_certificate(certificate).fingerprint(SHA256()).hex()
        assert CertificateNames({fingerprint: "bob@example.org"})(certificate) == ("bob@example.org",)

    def test_log_in(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path / "accounts.sqlite3", Ways(certificate=CertificateNames({})))
        rig.database.add_account(ALICE, HASH)
        assert "EXTERNAL" in rig.accounts.mechanisms()
        certificate = der("other@example.org", ALICE)
        assert run(rig.accounts.log_in_by_certificate(certificate, "", PEER)) == ALICE
        assert run(rig.accounts.log_in_by_certificate(certificate, "ALICE", PEER)) == ALICE
        assert problem(rig.accounts.log_in_by_certificate(certificate, "bob", PEER)) is Problem.BAD_CREDENTIALS
        assert problem(rig.accounts.log_in_by_certificate(der("x@y"), "", PEER)) is Problem.BAD_CREDENTIALS


class TestDevelopment:
    def test_any_password_cannot_be_proved(self) -> None:
        assert AnyAccounts().mechanisms() == {"PLAIN", "LOGIN"}

    def test_one_password_for_all(self) -> None:
        accounts = AnyAccounts("secret")
        assert SHA256_ in accounts.mechanisms()
        assert run(accounts.log_in("bob", "secret", PEER)) == "bob@localhost"
        assert problem(accounts.log_in("bob", "other", PEER)) is Problem.BAD_CREDENTIALS
        keys = run(accounts.scram_keys("bob", SHA1, PEER))
        assert keys == derive(SHA1, "secret", keys.salt, keys.iterations)
        assert run(accounts.log_in_by_proof("bob", True, PEER)) == "bob@localhost"
        assert problem(accounts.log_in_by_proof("bob", False, PEER)) is Problem.BAD_CREDENTIALS


def test_a_database_of_before_gets_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "accounts.sqlite3"
    with sqlite3.connect(path) as old:
        old.execute("CREATE TABLE accounts (name TEXT PRIMARY KEY, password_hash TEXT NOT NULL, created REAL NOT NULL)")
        old.execute("INSERT INTO accounts VALUES (?, ?, 1.0)", (ALICE, HASH))
    old.close()
    rig = Rig(path, Ways(scram=BOTH))
    run(rig.accounts.log_in("alice", "secret", PEER))
    assert SHA1 in rig.accounts.mechanisms()
    with sqlite3.connect(path) as older:  # a version without keys goes on with the file
        older.execute("INSERT INTO accounts (name, password_hash, created) VALUES ('bob@example.org', ?, 2.0)", (HASH,))
    older.close()
    assert rig.database.account("bob@example.org").scram == ""  # type: ignore[union-attr]
