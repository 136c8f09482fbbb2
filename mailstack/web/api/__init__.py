"""The resources of the HTTP API, a file each."""

from __future__ import annotations

from mailstack.web.api import journeys, mailboxes, messages, openapi, ready, reset, send, users, wait
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
    # /api/v1/faults has its place here; `MailApi.resets` undoes what it sets up.
    *openapi.rows(lambda: RESOURCES),
)
