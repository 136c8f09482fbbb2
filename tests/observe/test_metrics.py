"""Counts, and the page that Prometheus reads."""

from __future__ import annotations

import pytest

from mailstack.observe.metrics import MAX_LABELS, Counts, exposition


def test_counts_and_gauges_are_on_the_page() -> None:
    counts = Counts()
    counts.count("smtp_messages", "accepted")
    counts.count("smtp_messages", "accepted", 2)
    counts.count("queued")
    counts.gauge("open_connections", "Connections now", lambda: 7)
    page = exposition(counts).decode()
    assert 'mailstack_smtp_messages_total{outcome="accepted"} 3.0' in page
    assert "mailstack_queued_total 1.0" in page
    assert "mailstack_open_connections 7.0" in page


def test_an_unknown_counter_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        Counts().count("smtp_mesages")


def test_labels_are_bounded() -> None:
    counts = Counts()
    for number in range(2 * MAX_LABELS):
        counts.count("imap_commands", f"X{number}")
    assert counts.value("imap_commands", "other") == MAX_LABELS
