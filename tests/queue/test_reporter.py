"""Who hears of what becomes of queued messages, and who must not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
from queue_world import DONE, LATER, NEVER, envelope, result

from mailstack.config.returns import Reports
from mailstack.mail.parameters import DeliverBy, MailParameters, Notify, RcptParameters
from mailstack.ports import AccountName
from mailstack.queue.content import Slice
from mailstack.queue.items import LOCAL, Item, Waiting
from mailstack.queue.queue import NewReport
from mailstack.queue.reporter import SenderReports
from mailstack.queue.settlement import Settlement
from mailstack.testing.counters import MemoryCounters
from mailstack.testing.log import RecordingLog

NOW = 1_700_000_000.0
HEAD = b"Subject: lunch\r\n\r\nat nine\r\n"
MINE = AccountName("me@example.org")


def waiting(*to: str, destination: str = "example.net", **more: Any) -> Waiting:
    found = envelope(*(to or ("bob@example.net",)), **{"account": MINE, **more})
    item = Item("q1", found, NOW - 4000, NOW + 5 * 86400, 100, len(HEAD))
    return Waiting(item, destination, tuple(range(len(found.recipients))), NOW, 3, last={0: LATER}, last_at=NOW - 60)


def reporter(log: RecordingLog | None = None, **more: Any) -> SenderReports:
    return SenderReports("mx.example.org", Reports(**more), lambda _: None, log or RecordingLog(), MemoryCounters())


def reports(made: SenderReports, row: Waiting, settled: Settlement, head: bytes = HEAD) -> Sequence[NewReport]:
    found: Sequence[NewReport] = result(made.reports(row, settled, head, NOW))
    return found


def failed(*numbers: int) -> Settlement:
    return Settlement(None, {}, dict.fromkeys(numbers or (0,), NEVER), {})


def text_of(report: NewReport) -> str:
    octets = b"".join(HEAD if isinstance(part, Slice) else part for part in report.parts)
    message = message_from_bytes(octets, policy=default)
    return str(message["Subject"]) + "\n" + octets.decode()


def test_our_user_hears_of_a_failure_with_his_message() -> None:
    row = waiting(journey="j1")
    (report,) = reports(reporter(), row, failed())
    assert report.envelope.sender is None and report.envelope.recipients == (row.item.envelope.sender,)
    assert report.envelope.journey == "j1"
    assert Slice("q1", 100, len(HEAD)) in report.parts
    text = text_of(report)
    assert "Action: failed" in text and "Status: 5.1.1" in text and "at nine" in text


def test_a_stranger_hears_nothing_for_he_may_be_made_up() -> None:
    log = RecordingLog()
    assert not reports(reporter(log), waiting(account=None), failed())
    assert log.whats("warning") == ["failed without a report: the sender is not known to be one of ours"]


def test_a_stranger_hears_of_mail_that_we_took_as_backup_exchanger() -> None:
    made = reporter()
    made.relay_domains = frozenset({"example.net"})
    assert len(reports(made, waiting("bob@Example.NET", account=None), failed())) == 1
    assert not reports(made, waiting("bob@example.net", "eve@example.com", account=None), failed())
    assert not reports(made, waiting(account=None, sender=""), failed())


def test_who_is_behind_a_rewritten_sender_hears_of_it() -> None:
    made = reporter()
    made.original_sender = lambda address: address
    assert len(reports(made, waiting(account=None), failed())) == 1


def test_one_sender_gets_so_many_an_hour() -> None:
    log = RecordingLog()
    made = reporter(log, per_hour=2)
    assert [len(reports(made, waiting(), failed())) for _ in range(4)] == [1, 1, 0, 0]
    assert log.whats("warning") == ["report not sent: too many to this sender"] * 2


def test_of_a_message_that_cannot_be_read_nothing_is_given_back() -> None:
    (report,) = reports(reporter(), waiting(), failed(), head=b"")
    assert not any(isinstance(part, Slice) for part in report.parts)


def test_late_mail_is_reported_with_the_time_until_which_it_is_tried() -> None:
    row = waiting()
    (report,) = reports(reporter(), row, Settlement(row, {}, {}, {0: LATER}))
    text = text_of(report)
    assert text.startswith("Delayed") and "Action: delayed" in text and "Will-Retry-Until: " in text


def test_mail_that_is_not_there_in_its_time_is_reported_so() -> None:
    by = MailParameters(deliver_by=DeliverBy(int(NOW) - 1, or_return=False))
    row = waiting(parameters=by)
    (report,) = reports(reporter(), row, Settlement(row, {}, {}, {0: LATER}))
    assert text_of(report).startswith("Not there in time")


@pytest.mark.parametrize(
    ("destination", "reported", "action"),
    [("example.net", True, ""), ("example.net", False, "relayed"), (LOCAL, False, "delivered")],
)
def test_success_is_reported_by_who_is_last_to_know(destination: str, reported: bool, action: str) -> None:
    asked = (RcptParameters(frozenset({Notify.SUCCESS})),)
    row = waiting(destination=destination, rcpt_parameters=asked)
    found = reports(reporter(), row, Settlement(None, {0: replace(DONE, reports=reported)}, {}, {}))
    assert [f"Action: {action}" in text_of(report) for report in found] == ([True] if action else [])
    assert not reports(reporter(), waiting(destination=destination), Settlement(None, {0: DONE}, {}, {}))
