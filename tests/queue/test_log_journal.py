"""What is counted of mail that leaves."""

from __future__ import annotations

from queue_world import DONE, EPOCH, LATER, NEVER, envelope

from mailstack.app.outgoing import LogJournal
from mailstack.journeys import NoJournal
from mailstack.observe.metrics import MAX_LABELS, Counts
from mailstack.queue.items import Item, Waiting
from mailstack.queue.settlement import Settlement
from mailstack.testing.log import RecordingLog


def test_recipients_are_counted_by_domain_and_these_are_bounded() -> None:
    counts = Counts()
    journal = LogJournal(RecordingLog(), counts, NoJournal())
    names = [f"bob@d{number}.example" for number in range(MAX_LABELS + 50)]
    item = Item("x", envelope("a@EXAMPLE.net", "b@example.net", "c@example.com", *names), EPOCH, EPOCH + 9, 0, 1)
    waiting = Waiting(item, ">hub", tuple(range(3 + len(names))), EPOCH)
    rest = Waiting(item, ">hub", (1,), EPOCH, attempts=1, last={1: LATER})
    journal.settled(waiting, Settlement(rest, {0: DONE}, {2: NEVER}, {}), EPOCH)
    assert counts.value("outbound_sent", "example.net") == counts.value("outbound_deferred", "example.net") == 1
    assert counts.value("outbound_failed", "example.com") == 1
    journal.settled(waiting, Settlement(None, {number + 3: DONE for number in range(len(names))}, {}, {}), EPOCH)
    assert counts.value("outbound_sent", "d0.example") == 1
    assert counts.value("outbound_sent", "other") == 50 + 1
    assert counts.value("outbound", "sent") == 1 + len(names)
