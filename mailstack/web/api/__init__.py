"""The resources of the HTTP API, a file each."""

from __future__ import annotations

from mailstack.web.api import mailboxes, messages, openapi, ready, reset, wait
from mailstack.web.rows import Row

RESOURCES: tuple[Row, ...] = (
    *ready.ROWS,
    *mailboxes.ROWS,
    *messages.ROWS,
    *wait.ROWS,
    *reset.ROWS,
    *openapi.rows(lambda: RESOURCES),
)
