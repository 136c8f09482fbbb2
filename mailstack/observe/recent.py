"""The journal of the development mode: the last events, in memory."""

from __future__ import annotations

from collections import deque

from mailstack.journeys import Event

MAX_EVENTS = 20_000
"""About 500 octets each."""


class RecentJournal:
    """Implements `journeys.Journal`."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)

    def note(self, event: Event) -> None:
        self._events.append(event)

    def find(self, asked: str) -> list[Event]:
        """All that happened to a message, by its id here or its Message-ID with or without angle brackets."""
        message_id = f"<{asked.strip('<>')}>"
        journeys = {event.journey for event in self._events if asked == event.journey or message_id == event.message_id}
        return [event for event in self._events if event.journey in journeys] if journeys else []

    def forget(self) -> None:
        self._events.clear()
