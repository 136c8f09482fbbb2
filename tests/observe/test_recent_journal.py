"""The development mode's journal."""

from __future__ import annotations

from mailstack.journeys import Event, Step
from mailstack.observe.recent import MAX_EVENTS, RecentJournal


def test_it_finds_by_message_id_and_by_transaction_and_forgets_the_oldest() -> None:
    journal = RecentJournal()
    first = Event(1.0, "c.1", Step.DELIVERED, "a@b.test", message_id="<x@y>")
    second = Event(2.0, "c.1", Step.DELIVERED, "c@b.test")
    journal.note(first)
    journal.note(second)
    journal.note(Event(3.0, "c.2", Step.REFUSED, "a@b.test"))
    assert journal.find("x@y") == journal.find("<x@y>") == journal.find("c.1") == [first, second]
    assert journal.find("c") == journal.find("") == []
    for number in range(MAX_EVENTS - 1):
        journal.note(Event(4.0, f"d.{number}", Step.DELIVERED, "d@b.test"))
    assert journal.find("c.1") == []
    assert len(journal.find("c.2")) == 1
    journal.forget()
    assert journal.find("c.2") == []
