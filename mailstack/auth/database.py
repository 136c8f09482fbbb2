"""Accounts and aliases on disk: all SQL about them, in a portable form. Blocking.

Several processes may have the file open: the server reads while the command line writes."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mailstack.auth.app_passwords import AppPassword
from mailstack.ports import AccountName
from mailstack.quota import QuotaLimit

BUSY = 10.0
"""Seconds to wait for another process that writes."""
SETTLED = 0.05
"""Seconds after which the time of a file's last change tells every later one."""
SCRAM_MECHANISMS = ("SCRAM-SHA-1", "SCRAM-SHA-256")
"""Those that an account may have keys for."""
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS accounts (name TEXT PRIMARY KEY, password_hash TEXT NOT NULL, created REAL NOT NULL)",
    "CREATE TABLE IF NOT EXISTS aliases (address TEXT NOT NULL, target TEXT NOT NULL, PRIMARY KEY (address, target))",
)
_MIGRATIONS = (
    (
        "ALTER TABLE accounts ADD COLUMN quota_octets INTEGER",
        "ALTER TABLE accounts ADD COLUMN quota_messages INTEGER",
    ),
    (
        "ALTER TABLE accounts ADD COLUMN scram TEXT",
        # The hash that the keys were made with: an older version may set a password, and knows no keys.
        "ALTER TABLE accounts ADD COLUMN scram_of TEXT",
        "CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    ),
    (
        "CREATE TABLE IF NOT EXISTS app_passwords (account TEXT NOT NULL, label TEXT NOT NULL, digest TEXT NOT NULL,"
        " scopes TEXT NOT NULL, created REAL NOT NULL, expires REAL, PRIMARY KEY (account, label))",
    ),
    (
        "CREATE TABLE IF NOT EXISTS forwards (account TEXT NOT NULL, target TEXT NOT NULL,"
        " PRIMARY KEY (account, target))",
        # Not said: a copy stays.
        "ALTER TABLE accounts ADD COLUMN forwards_keep INTEGER",
    ),
)
"""What brings a file of version i (PRAGMA user_version) to version i + 1. Columns are only added, with names in
every statement, so that an older version of this program can go on with the file."""


OF_LOGIN = {"accounts": "name", "app_passwords": "account", "forwards": "account"}
"""Tables whose rows belong to a login, and the column that says to which."""


class AccountsError(Exception):
    """The accounts cannot be changed so; the message says why, for the one who asked."""


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """One account. `created` in seconds since the epoch; `scram` are the keys of the password as
    `scram_store.py` writes them, "" if there are none."""

    name: AccountName
    password_hash: str
    created: float
    scram: str = ""


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Addresses to which the mail of an account is forwarded, and whether the account keeps it, too."""

    targets: tuple[str, ...]
    keep: bool = True


class AccountDatabase:
    """The file. Made when it is not there. Raises: AccountsError, from every method, when the file
    cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._name = str(path)
        self._stamp: tuple[int, ...] | None = None
        """That of the file in `_version`, if it tells every change from then on."""
        self._version = 0
        with self._errors():
            self._connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None)
            path.chmod(0o600)
            for statement in _SCHEMA:
                self._connection.execute(statement)
            self._migrate()

    def _migrate(self) -> None:
        if self._schema() >= len(_MIGRATIONS):
            return
        self._connection.execute("BEGIN IMMEDIATE")  # one process does it; the others look again after it
        try:
            for version in range(self._schema(), len(_MIGRATIONS)):
                for statement in _MIGRATIONS[version]:
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {version + 1}")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _schema(self) -> int:
        row = self._connection.execute("PRAGMA user_version").fetchone()
        return int(row[0])

    def close(self) -> None:
        self._connection.close()

    def version(self) -> tuple[int, int]:
        """Another value after anybody has written; some microseconds."""
        stamp = self._stamp_of_file()
        if stamp is None or stamp != self._stamp:
            with self._errors():
                row = self._connection.execute("PRAGMA data_version").fetchone()
                wal = stamp is not None and self._connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
            self._version = int(row[0])
            # File systems count in ticks: another change in the same one would leave the same stamp. A write-ahead
            # log, which only a person can have asked for, is another file.
            settled = stamp is not None and not wal and time.time() - stamp[-1] / 1e9 > SETTLED
            self._stamp = stamp if settled else None
        return self._version, self._connection.total_changes  # the former tells of other connections only

    def _stamp_of_file(self) -> tuple[int, ...] | None:
        """What is another after each change of the file: one call instead of eight for SQLite's own answer."""
        try:
            stat = os.stat(self._name)
        except OSError:
            return None
        return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns

    def account(self, name: str) -> StoredAccount | None:
        """The account of this name, in any case of letters."""
        with self._errors():
            row = self._connection.execute(f"{_SELECT} WHERE name = ?", (name.lower(),)).fetchone()
        return _account(row) if row else None

    def accounts(self) -> Sequence[StoredAccount]:
        """All of them by name."""
        with self._errors():
            return [_account(row) for row in self._connection.execute(f"{_SELECT} ORDER BY name")]

    def add_account(self, name: str, password_hash: str, scram: str = "") -> None:
        """Raises: AccountsError if it exists."""
        if self.account(name) is not None:
            raise AccountsError(f"{name.lower()} exists already")
        with self._errors():
            self._connection.execute(
                "INSERT INTO accounts (name, password_hash, created, scram, scram_of) VALUES (?, ?, ?, ?, ?)",
                (name.lower(), password_hash, time.time(), scram or None, password_hash),
            )

    def add_accounts(self, names: Sequence[str], password_hash: str) -> None:
        """Many at once, with one password; all or none. Raises: AccountsError if one exists."""
        now = time.time()
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(
                    "INSERT INTO accounts (name, password_hash, created) VALUES (?, ?, ?)",
                    [(name.lower(), password_hash, now) for name in names],
                )
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def set_password(self, name: str, password_hash: str, scram: str = "") -> None:
        """Raises: AccountsError if there is no such account."""
        with self._errors():
            done = self._connection.execute(
                "UPDATE accounts SET password_hash = ?, scram = ?, scram_of = ? WHERE name = ?",
                (password_hash, scram or None, password_hash, name.lower()),
            )
        if not done.rowcount:
            raise AccountsError(f"there is no account {name.lower()}")

    def replace_hash(self, name: str, before: str, password_hash: str, scram: str) -> bool:
        """Another hash and other keys of the same password; False if it was changed meanwhile."""
        with self._errors():
            done = self._connection.execute(
                "UPDATE accounts SET password_hash = ?, scram = ?, scram_of = ? WHERE name = ? AND password_hash = ?",
                (password_hash, scram or None, password_hash, name.lower(), before),
            )
        return bool(done.rowcount)

    def all_have_keys(self, mechanism: str) -> bool:
        """Whether every account has the keys for this SCRAM mechanism, and none has an app password, for which there
        are no keys."""
        with self._errors():
            row = self._connection.execute(
                "SELECT 1 FROM accounts WHERE scram IS NULL OR scram_of <> password_hash OR scram NOT LIKE ?"
                " UNION ALL SELECT 1 FROM app_passwords LIMIT 1",
                (f"%{mechanism}$%",),
            ).fetchone()
        return row is None

    def secret(self, name: str) -> str:
        """A random text that all processes on this file share, made at first sight."""
        with self._errors():
            self._connection.execute(
                "INSERT OR IGNORE INTO secrets (name, value) VALUES (?, ?)", (name, secrets.token_hex(32))
            )
            row = self._connection.execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()
        return str(row[0])

    def quotas(self) -> dict[AccountName, QuotaLimit]:
        """The accounts that have a quota of their own."""
        with self._errors():
            rows = self._connection.execute(
                "SELECT name, quota_octets, quota_messages FROM accounts WHERE quota_octets IS NOT NULL"
            )
            return {AccountName(name): QuotaLimit(octets, messages) for name, octets, messages in rows}

    def set_quota(self, name: str, limit: QuotaLimit | None) -> None:
        """A quota of its own, which may be none at all; None: that of its domain.
        Raises: AccountsError if there is no such account."""
        values = (None, None) if limit is None else (limit.octets, limit.messages)
        with self._errors():
            done = self._connection.execute(
                "UPDATE accounts SET quota_octets = ?, quota_messages = ? WHERE name = ?", (*values, name.lower())
            )
        if not done.rowcount:
            raise AccountsError(f"there is no account {name.lower()}")

    def remove_account(self, name: str) -> None:
        """The login only; the mail stays where it is. Raises: AccountsError if there is none."""
        with self._errors():
            done = self._connection.execute("DELETE FROM accounts WHERE name = ?", (name.lower(),))
            self._connection.execute("DELETE FROM app_passwords WHERE account = ?", (name.lower(),))
            self._connection.execute("DELETE FROM forwards WHERE account = ?", (name.lower(),))
        if not done.rowcount:
            raise AccountsError(f"there is no account {name.lower()}")

    def forwards(self) -> dict[str, Forwarding]:
        """Account → where its mail goes as well, or instead; those that have such."""
        found: dict[str, list[str]] = {}
        keeping = dict[str, bool]()
        with self._errors():
            for account, target, keep in self._connection.execute(
                "SELECT account, target, forwards_keep FROM forwards JOIN accounts ON name = account"
                " ORDER BY account, target"
            ):
                found.setdefault(account, []).append(target)
                keeping[account] = keep is None or bool(keep)
        return {account: Forwarding(tuple(targets), keeping[account]) for account, targets in found.items()}

    def set_forwards(self, account: str, targets: Sequence[str], *, keep: bool = True) -> None:
        """Forward an account's mail to these addresses and no others; to none: not any more.
        Raises: AccountsError if there is no such account."""
        name = account.lower()
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                done = self._connection.execute(
                    "UPDATE accounts SET forwards_keep = ? WHERE name = ?", (int(keep), name)
                )
                self._connection.execute("DELETE FROM forwards WHERE account = ?", (name,))
                if done.rowcount:
                    self._connection.executemany(
                        "INSERT OR IGNORE INTO forwards (account, target) VALUES (?, ?)",
                        [(name, target) for target in targets],
                    )
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        if not done.rowcount:
            raise AccountsError(f"there is no account {name}")

    def take_login(self, saved: Path, name: str) -> int | None:
        """The login of an account that has none, with all that belongs to it, out of another such file, which is not
        changed. Returns how many app passwords it has; None if there is no such login.
        Raises: AccountsError if the account has one here."""
        name = name.lower()
        if self.account(name) is not None:
            raise AccountsError(f"{name} exists already")
        with self._errors(), TemporaryDirectory() as place:
            copy = Path(shutil.copy(saved, Path(place) / "saved"))
            other = AccountDatabase(copy)  # of an older version, it is brought to this one
            try:
                if other.account(name) is None:
                    return None
                self._take_rows(other._connection, name)
            finally:
                other.close()
        return len(self.app_passwords(name))

    def _take_rows(self, saved: sqlite3.Connection, name: str) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for table, key in OF_LOGIN.items():
                found = saved.execute(f"SELECT * FROM {table} WHERE {key} = ?", (name,))
                columns = [column[0] for column in found.description]
                self._connection.executemany(
                    f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
                    found,
                )
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def app_passwords(self, account: str) -> Sequence[AppPassword]:
        """By label."""
        with self._errors():
            rows = self._connection.execute(
                f"{_SELECT_APP_PASSWORD} WHERE account = ? ORDER BY label", (account.lower(),)
            )
            return [_app_password(row) for row in rows]

    def app_password(self, account: str, digest: str) -> AppPassword | None:
        """The one that has this digest."""
        with self._errors():
            row = self._connection.execute(
                f"{_SELECT_APP_PASSWORD} WHERE account = ? AND digest = ?", (account.lower(), digest)
            ).fetchone()
        return _app_password(row) if row else None

    def add_app_password(self, account: str, made: AppPassword, digest: str) -> None:
        """Raises: AccountsError if there is no such account, or the label is taken."""
        name = account.lower()
        if self.account(name) is None:
            raise AccountsError(f"there is no account {name}")
        with self._errors():
            done = self._connection.execute(
                "INSERT OR IGNORE INTO app_passwords (account, label, digest, scopes, created, expires)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (name, made.label, digest, " ".join(made.scopes), made.created, made.expires),
            )
        if not done.rowcount:
            raise AccountsError(f"{name} has an app password {made.label} already")

    def remove_app_password(self, account: str, label: str) -> None:
        """Raises: AccountsError if there is none of this label."""
        with self._errors():
            done = self._connection.execute(
                "DELETE FROM app_passwords WHERE account = ? AND label = ?", (account.lower(), label)
            )
        if not done.rowcount:
            raise AccountsError(f"{account.lower()} has no app password {label}")

    def aliases(self) -> dict[str, list[str]]:
        """Address → where its mail goes. "@domain" is the catch-all of the domain."""
        found: dict[str, list[str]] = {}
        with self._errors():
            for address, target in self._connection.execute(
                "SELECT address, target FROM aliases ORDER BY address, target"
            ):
                found.setdefault(address, []).append(target)
        return found

    def add_alias(self, address: str, target: str) -> None:
        """Raises: AccountsError if it exists."""
        with self._errors():
            known = self._connection.execute(
                "SELECT 1 FROM aliases WHERE address = ? AND target = ?", (address.lower(), target.lower())
            ).fetchone()
            if known:
                raise AccountsError(f"{address.lower()} leads to {target.lower()} already")
            self._connection.execute(
                "INSERT INTO aliases (address, target) VALUES (?, ?)", (address.lower(), target.lower())
            )

    def remove_alias(self, address: str, target: str | None = None) -> None:
        """One target, or all of them. Raises: AccountsError if there is no such alias."""
        with self._errors():
            if target is None:
                done = self._connection.execute("DELETE FROM aliases WHERE address = ?", (address.lower(),))
            else:
                done = self._connection.execute(
                    "DELETE FROM aliases WHERE address = ? AND target = ?", (address.lower(), target.lower())
                )
        if not done.rowcount:
            leading = f" that leads to {target.lower()}" if target else ""
            raise AccountsError(f"there is no alias {address.lower()}{leading}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise AccountsError(f"accounts database {self.path}: {error}") from error


_SELECT = "SELECT name, password_hash, created, CASE WHEN scram_of = password_hash THEN scram END FROM accounts"


def _account(row: tuple[str, str, float, str | None]) -> StoredAccount:
    return StoredAccount(AccountName(row[0]), row[1], row[2], row[3] or "")


_SELECT_APP_PASSWORD = "SELECT label, scopes, created, expires FROM app_passwords"


def _app_password(row: tuple[str, str, float, float | None]) -> AppPassword:
    return AppPassword(row[0], tuple(row[1].split()), row[2], row[3])
