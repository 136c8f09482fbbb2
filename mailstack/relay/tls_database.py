"""What is remembered of others' TLS, in SQLite in the data directory: policies of MTA-STS, where TLS has worked, and
counts for reports. All SQL of it. Blocking; one thread at a time.

Nothing here is lost mail if it is lost; commits need not be durable at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mailstack.store.sqlite_file import SqliteFile

TLS_DATABASE = "tls.sqlite3"
MAX_POLICIES = 20_000
"""Domains whose policies are remembered: those that were fetched last."""
MAX_HOSTS = 100_000
"""Hosts of which is remembered that TLS has worked: those where it did last."""
MAX_COUNTS = 20_000
"""Different counts of one day; what comes then is not counted."""
DAYS = 30
"""For which counts are kept."""
_SCHEMA = """
BEGIN;
CREATE TABLE IF NOT EXISTS policy (domain TEXT PRIMARY KEY, id TEXT NOT NULL, fetched REAL NOT NULL,
  until REAL NOT NULL, text TEXT NOT NULL, used REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS policy_fetched ON policy (fetched);
CREATE TABLE IF NOT EXISTS host (name TEXT PRIMARY KEY, level INTEGER NOT NULL, seen REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS host_seen ON host (seen);
CREATE TABLE IF NOT EXISTS sessions (day TEXT NOT NULL, domain TEXT NOT NULL, kind TEXT NOT NULL,
  policy_domain TEXT NOT NULL, policy TEXT NOT NULL, failure TEXT NOT NULL, source TEXT NOT NULL,
  host TEXT NOT NULL, address TEXT NOT NULL, reason TEXT NOT NULL, sessions INTEGER NOT NULL,
  PRIMARY KEY (day, domain, kind, policy_domain, policy, failure, source, host, address)) WITHOUT ROWID;
COMMIT;
"""


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """`text` is the policy as it was published; in force `until`. Times in seconds since the epoch."""

    domain: str
    id: str
    fetched: float
    until: float
    text: str


@dataclass(frozen=True, slots=True)
class Session:
    """What came of a session with a server of `domain`, as in a report (RFC 8460 §4.3, §4.4): `day` as "2026-01-31",
    `kind` is "sts", "tlsa" or "no-policy-found", `policy` its lines, `failure` "" or what went wrong. `source` is our
    IP address, `host` and `address` are the server's; "" in a session that went well."""

    day: str
    domain: str
    kind: str
    policy_domain: str
    policy: str
    failure: str = ""
    source: str = ""
    host: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Count:
    """So many equal sessions; `reason` is what was said of one of them."""

    session: Session
    number: int
    reason: str = ""


class TlsDatabase(SqliteFile):
    """The file, made when it is not there; None: in memory only. Raises: sqlite3.Error, OSError."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(path, _SCHEMA)

    # --- policies

    def policy(self, domain: str) -> StoredPolicy | None:
        """Also one whose time is over."""
        row = self._connection.execute(
            "SELECT domain, id, fetched, until, text FROM policy WHERE domain = ?", (domain,)
        ).fetchone()
        return StoredPolicy(*row) if row is not None else None

    def put_policy(self, policy: StoredPolicy) -> None:
        """Instead of the domain's one before. One that is new is used now."""
        with self._transaction():
            self._connection.execute(
                "INSERT INTO policy (domain, id, fetched, until, text, used) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (domain) DO UPDATE SET id = excluded.id, fetched = excluded.fetched,"
                " until = excluded.until, text = excluded.text",
                (policy.domain, policy.id, policy.fetched, policy.until, policy.text, policy.fetched),
            )
            self._connection.execute(
                "DELETE FROM policy WHERE domain IN"
                " (SELECT domain FROM policy ORDER BY fetched DESC LIMIT -1 OFFSET ?)",
                (MAX_POLICIES,),
            )

    def use_policy(self, domain: str, now: float) -> None:
        """Mail goes to the domain."""
        self._connection.execute("UPDATE policy SET used = ? WHERE domain = ?", (now, domain))

    def to_refresh(self, now: float, age: float, used: float, most: int) -> list[str]:
        """Domains whose policies are in force and were fetched so many seconds ago, or half their time, if they were
        used after a time: those that expire first."""
        rows = self._connection.execute(
            "SELECT domain FROM policy WHERE until > ? AND (fetched < ? OR ? - fetched > (until - fetched) / 2)"
            " AND used > ? ORDER BY until LIMIT ?",
            (now, now - age, now, used, most),
        )
        return [row[0] for row in rows]

    # --- hosts where TLS has worked

    def host(self, name: str) -> tuple[int, float]:
        """How well, and when last; (0, 0.0) of a host that is not known."""
        row = self._connection.execute("SELECT level, seen FROM host WHERE name = ?", (name,)).fetchone()
        return (int(row[0]), float(row[1])) if row is not None else (0, 0.0)

    def put_hosts(self, hosts: Iterable[tuple[str, int, float]]) -> None:
        """Names, how well, and when."""
        with self._transaction():
            self._connection.executemany("INSERT OR REPLACE INTO host (name, level, seen) VALUES (?, ?, ?)", hosts)
            self._connection.execute(
                "DELETE FROM host WHERE name IN (SELECT name FROM host ORDER BY seen DESC LIMIT -1 OFFSET ?)",
                (MAX_HOSTS,),
            )

    # --- counts

    def add_counts(self, counts: Iterable[Count]) -> int:
        """Returns how many of them found no room."""
        left_out = 0
        with self._transaction():
            for count in counts:
                left_out += not self._add(count)
        return left_out

    def _add(self, count: Count) -> bool:
        s = count.session
        key = (s.day, s.domain, s.kind, s.policy_domain, s.policy, s.failure, s.source, s.host, s.address)
        found = self._connection.execute(
            "UPDATE sessions SET sessions = sessions + ? WHERE day = ? AND domain = ? AND kind = ? AND"
            " policy_domain = ? AND policy = ? AND failure = ? AND source = ? AND host = ? AND address = ?",
            (count.number, *key),
        )
        if found.rowcount:
            return True
        (number,) = self._connection.execute("SELECT count(*) FROM sessions WHERE day = ?", (s.day,)).fetchone()
        if number >= MAX_COUNTS:
            return False
        self._connection.execute(
            "INSERT INTO sessions (day, domain, kind, policy_domain, policy, failure, source, host, address, reason,"
            " sessions) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*key, count.reason, count.number),
        )
        return True

    def counts(self, day: str, domain: str = "") -> list[Count]:
        """Of one day, of one domain or all, ordered by domain."""
        rows = self._connection.execute(
            "SELECT day, domain, kind, policy_domain, policy, failure, source, host, address, sessions, reason"
            " FROM sessions WHERE day = ? AND (? = '' OR domain = ?)"
            " ORDER BY domain, kind, policy_domain, policy, failure, host, address",
            (day, domain, domain),
        )
        return [Count(Session(*row[:9]), row[9], row[10]) for row in rows]

    def forget_before(self, day: str) -> None:
        """Counts of days before this one."""
        self._connection.execute("DELETE FROM sessions WHERE day < ?", (day,))
