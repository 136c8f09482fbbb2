"""What accounts may send: counted in windows, kept over a restart, known recipients, and how sessions say it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from mailstack.auth import sent
from mailstack.auth.sent import DAY, HOUR, MESSAGES, NEW, RECIPIENTS, SentDatabase, SentMail
from mailstack.config.policy import Sending
from mailstack.mail.address import Address
from mailstack.ports import AccountName, SendingLimit
from mailstack.smtp.session import SmtpSession
from mailstack.smtp.settings import Role, SmtpResources, SmtpSettings
from mailstack.store.workers import InlineWorkers
from mailstack.testing.accounts import MemoryAccounts, MemoryDirectory
from mailstack.testing.clock import ManualClock
from mailstack.testing.connection import MemoryConnection
from mailstack.testing.counters import MemoryCounters
from mailstack.testing.log import RecordingLog
from mailstack.testing.outbound import MemoryOutbound
from mailstack.testing.store import MemorySpool, MemoryStore

NOW = 1_700_000_000.0
JOE = "joe@example.com"
LIMITS = Sending(messages_per_hour=2, recipients_per_day=4, new_recipients_per_day=2)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SentDatabase]:
    found = SentDatabase(tmp_path / "sent.sqlite3")
    yield found
    found.close()


def to(name: str) -> Address:
    return Address(name, "example.net")


def test_messages_of_an_hour(database: SentDatabase) -> None:
    assert database.take_message(JOE, LIMITS, NOW) is None
    assert database.take_message(JOE, LIMITS, NOW + 100) is None
    reached = SendingLimit(MESSAGES, 2, NOW + HOUR)
    assert database.take_message(JOE, LIMITS, NOW + HOUR - 1) == reached
    assert database.take_message("ann@example.com", LIMITS, NOW + 200) is None
    assert database.take_message(JOE, LIMITS, NOW + HOUR) is None, "a new window"
    assert database.take_message(JOE, LIMITS, NOW - DAY) is None, "the clock was set back"


def test_recipients_of_a_day_and_new_ones(database: SentDatabase) -> None:
    assert database.take_recipient(JOE, to("a"), LIMITS, NOW) is None
    assert database.take_recipient(JOE, to("b"), LIMITS, NOW + 1) is None
    new = SendingLimit(NEW, 2, NOW + DAY)
    assert database.take_recipient(JOE, to("c"), LIMITS, NOW + 2) == new
    assert database.take_recipient(JOE, to("A"), LIMITS, NOW + 3) is None, "in any case of letters it is known"
    assert database.take_recipient(JOE, to("b"), LIMITS, NOW + 4) is None
    assert database.take_recipient(JOE, to("a"), LIMITS, NOW + 5) == SendingLimit(RECIPIENTS, 4, NOW + DAY)
    assert database.take_recipient(JOE, to("c"), LIMITS, NOW + DAY) is None


def test_counters_survive_a_restart_and_can_be_reset(tmp_path: Path) -> None:
    path = tmp_path / "sent.sqlite3"
    for _ in range(2):
        before = SentDatabase(path)
        assert before.take_message(JOE, LIMITS, NOW) is None
        assert before.take_recipient(JOE, to("a"), LIMITS, NOW) is None
        before.close()
    first, second = SentDatabase(path), SentDatabase(path)
    assert first.take_message(JOE, LIMITS, NOW) is not None
    counts = {count.what: count.number for count in second.counts(JOE, LIMITS, NOW)}
    assert counts == {MESSAGES: 2, RECIPIENTS: 2, NEW: 1}
    second.reset(JOE)
    assert first.take_message(JOE, LIMITS, NOW) is None
    assert {c.what: c.number for c in second.counts(JOE, LIMITS, NOW)} == {MESSAGES: 1, RECIPIENTS: 0, NEW: 0}
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"a@example.net" not in path.read_bytes()
    first.close()
    second.close()


def test_so_many_recipients_are_remembered(database: SentDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent, "MAX_KNOWN", 2)
    any_number = dataclasses.replace(LIMITS, recipients_per_day=0, new_recipients_per_day=100)
    for name in ("a", "b", "c", "c", "a"):
        assert database.take_recipient(JOE, to(name), any_number, NOW) is None
    assert [c.number for c in database.counts(JOE, any_number, NOW) if c.what == NEW] == [4], "c is new each time"


class Submission:
    """A session with a login."""

    def __init__(self, limits: SentMail) -> None:
        users = {JOE: "secret", "ann@example.com": "secret"}
        self.clock, self.log = ManualClock(NOW), RecordingLog()
        resources = SmtpResources(
            MemoryDirectory(users, {}), MemoryAccounts(users), MemoryStore(), MemoryOutbound(), MemorySpool(),
            self.log, MemoryCounters(), self.clock, sending=limits,
        )  # fmt: skip
        self.connection = MemoryConnection()
        settings = SmtpSettings(hostname="mx.example", role=Role.SUBMISSION, allow_plaintext_auth=True)
        Deferred.fromCoroutine(SmtpSession(self.connection, resources, settings).run())
        self.say("EHLO client.example", "AUTH PLAIN AGpvZUBleGFtcGxlLmNvbQBzZWNyZXQ=")

    def say(self, *lines: str) -> list[str]:
        self.connection.feed("".join(f"{line}\r\n" for line in lines).encode())
        return self.connection.take().decode().split("\r\n")[:-1]


def test_what_a_client_hears(database: SentDatabase) -> None:
    limits = SentMail(database, InlineWorkers().run, LIMITS)
    session = Submission(limits)
    mail = f"MAIL FROM:<{JOE}>"
    assert session.say(mail, *(f"RCPT TO:<{name}@example.net>" for name in "abc"), "RSET", mail, "RSET", mail) == [
        "250 2.1.0 Sender ok",
        "250 2.1.5 Recipient ok",
        "250 2.1.5 Recipient ok",
        "550 5.7.1 This account may send 2 new recipients a day; it can go on at 22:13 UTC on 15 November 2023",
        "250 2.0.0 Reset",
        "250 2.1.0 Sender ok",
        "250 2.0.0 Reset",
        "450 4.7.1 This account may send 2 messages an hour; it can go on at 23:13 UTC on 14 November 2023",
    ]
    session.clock.advance(HOUR)
    assert session.say(mail) == ["250 2.1.0 Sender ok"]


def test_who_is_not_limited(database: SentDatabase) -> None:
    for sending in (dataclasses.replace(LIMITS, unlimited=(AccountName(JOE),)), Sending(0, 0, 0)):
        session = Submission(SentMail(database, InlineWorkers().run, sending))
        lines = [f"MAIL FROM:<{JOE}>", *(f"RCPT TO:<{n}@example.net>" for n in range(6)), "RSET"] * 3
        assert all(reply.startswith("250") for reply in session.say(*lines))
        assert all(count.number == 0 for count in database.counts(JOE, sending, NOW))


def test_a_file_that_is_broken_stops_mail_for_now(database: SentDatabase) -> None:
    session = Submission(SentMail(database, InlineWorkers().run, LIMITS))
    database.close()
    assert session.say(f"MAIL FROM:<{JOE}>") == ["451 4.3.0 Temporarily unavailable; try again later"]
