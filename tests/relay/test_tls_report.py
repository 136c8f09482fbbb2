"""Counts of sessions, bounded and on disk, and the report that is made of them (RFC 8460)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mailstack.app.outgoing import tls_database as tls_database_of
from mailstack.net.hop import Target
from mailstack.relay import tls_database, tls_notes
from mailstack.relay.tls_database import TlsDatabase
from mailstack.relay.tls_notes import TlsNotes
from mailstack.relay.tls_policy import STS, TLSA, Applied
from mailstack.relay.tls_report import report, totals
from mailstack.store.workers import InlineWorkers
from mailstack.testing.counters import MemoryCounters
from mailstack.testing.log import RecordingLog

DAY = "2025-11-24"
NOW = 1_764_000_000.0
LINES = ("version: STSv1", "mode: enforce", "mx: *.example.net", "max_age: 86400")
SERVER = Target("192.0.2.1", 25, "mx.example.net", "198.51.100.1")


class World:
    def __init__(self, path: Path) -> None:
        self.database = TlsDatabase(path)
        self.reactor, self.log, self.counters = Clock(), RecordingLog(), MemoryCounters()
        self.time = NOW
        self.notes = TlsNotes(
            self.reactor, self.database, InlineWorkers().run, lambda: self.time, self.log, self.counters
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "tls.sqlite3")


def now(waits: Any) -> Any:
    found: list[Any] = []
    Deferred.fromCoroutine(waits).addCallback(found.append)
    return found[0]


def test_a_report(world: World) -> None:
    sts, dane = (
        Applied("example.net", "example.net", STS, LINES),
        Applied("example.net", "mx.example.net", TLSA, ("3 1 1 aa",)),
    )
    for _ in range(3):
        world.notes.count(sts)
    for _ in range(2):
        world.notes.count(sts, "certificate-expired", SERVER, "it has expired")
    world.notes.count(dane)
    world.notes.count(Applied("example.net", "example.net"))
    world.notes.count(Applied("other.example", "other.example"))
    assert not world.database.counts(DAY)
    world.reactor.advance(tls_notes.WRITE_AFTER)
    world.notes.count(sts)
    now(world.notes.flush())
    counts = world.database.counts(DAY, "example.net")
    assert totals(counts) == (6, 2) and not world.database.counts("2025-11-23")
    made = report(DAY, "example.net", counts, "mail.example.org", "mailto:postmaster@example.org")
    again = report(DAY, "example.net", counts[:1], "mail.example.org", "mailto:postmaster@example.org")
    assert made["report-id"] == again["report-id"] != report(DAY, "a", counts, "mail.example.org", "")["report-id"]
    assert dict(made, **{"report-id": ""}) == {
        "organization-name": "mail.example.org",
        "date-range": {"start-datetime": "2025-11-24T00:00:00Z", "end-datetime": "2025-11-24T23:59:59Z"},
        "contact-info": "mailto:postmaster@example.org",
        "report-id": "",
        "policies": [
            {
                "policy": {"policy-type": "no-policy-found", "policy-domain": "example.net"},
                "summary": {"total-successful-session-count": 1, "total-failure-session-count": 0},
            },
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-string": list(LINES),
                    "policy-domain": "example.net",
                    "mx-host": ["*.example.net"],
                },
                "summary": {"total-successful-session-count": 4, "total-failure-session-count": 2},
                "failure-details": [
                    {
                        "result-type": "certificate-expired",
                        "sending-mta-ip": "198.51.100.1",
                        "receiving-mx-hostname": "mx.example.net",
                        "receiving-ip": "192.0.2.1",
                        "failed-session-count": 2,
                        "failure-reason-code": "it has expired",
                    }
                ],
            },
            {
                "policy": {
                    "policy-type": "tlsa",
                    "policy-string": ["3 1 1 aa"],
                    "policy-domain": "mx.example.net",
                    "mx-host": ["mx.example.net"],
                },
                "summary": {"total-successful-session-count": 1, "total-failure-session-count": 0},
            },
        ],
    }


def test_what_is_kept_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_database, "MAX_COUNTS", 2)
    monkeypatch.setattr(tls_notes, "MAX_UNWRITTEN", 3)
    for number in range(4):
        world.notes.count(Applied(f"{number}.example", f"{number}.example"))
    assert world.counters.totals["outbound_tls_uncounted", ""] == 1
    now(world.notes.flush())
    assert len(world.database.counts(DAY)) == 2
    assert world.log.whats("warning") == ["report of TLS incomplete: too many different sessions today"]
    world.time += (tls_database.DAYS + 1) * 86400
    world.notes.count(Applied("0.example", "0.example"))
    now(world.notes.flush())
    assert not world.database.counts(DAY), "a month later it is gone"
    monkeypatch.setattr(tls_database, "MAX_HOSTS", 2)
    world.database.put_hosts([(f"mx{number}", 1, NOW + number) for number in range(4)])
    assert [world.database.host(f"mx{number}")[0] for number in range(4)] == [0, 0, 1, 1]


def test_a_database_that_is_gone_is_a_warning(world: World) -> None:
    world.notes.count(Applied("example.net", "example.net"))
    world.notes.worked("mx.example.net", 2)
    assert now(world.notes.level("mx.example.net")) == 2
    world.database.close()
    now(world.notes.flush())
    assert now(world.notes.level("mx.example.net")) == 0
    assert set(world.log.whats("warning")) == {"what is known of others' TLS cannot be read or written"}


def test_a_file_that_is_no_database_keeps_no_mail(tmp_path: Path) -> None:
    (tmp_path / "tls.sqlite3").write_bytes(b"no database" * 100)
    log = RecordingLog()
    database = tls_database_of(tmp_path / "tls.sqlite3", log)
    assert log.whats("warning") == ["what is known of others' TLS is forgotten at a restart"]
    database.put_hosts([("mx.example.net", 2, NOW)])
    assert database.host("mx.example.net") == (2, NOW)
    assert tls_database_of(tmp_path / "fresh.sqlite3", log).host("mx.example.net") == (0, 0.0)
