"""The resources of the HTTP API, a file each."""

from __future__ import annotations

from mailstack.web.api import faults, journeys, mailboxes, messages, openapi, ready, reset, send, users, wait
from mailstack.web.rows import Row

RESOURCES: tuple[Row, ...] = (
    *ready.ROWS,
    *mailboxes.ROWS,
    *messages.ROWS,
    *send.ROWS,
    *wait.ROWS,
    *reset.ROWS,
    *users.ROWS,
    *journeys.ROWS,
    *faults.ROWS,
    *openapi.rows(lambda: RESOURCES),
)
