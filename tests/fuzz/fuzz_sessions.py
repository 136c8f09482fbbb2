"""A whole connection on random octets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from transcript_sessions import factory
from transcripts import Fakes, Transcript
from twisted.internet.defer import Deferred

from mailstack.ports import Flags
from mailstack.testing.connection import MemoryConnection
from mailstack.testing.store import MemoryStore

ALICE = "alice@example.org"
CUT = b"\xff\xff"
"""Where the octets of a session are cut into segments."""
SMALL = b"From: A <a@example.org>\r\nTo: b@example.org\r\nSubject: =?utf-8?q?gr=C3=BCn?=\r\n"
MESSAGES = (
    SMALL + b"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\r\nHello\r\n",
    SMALL + b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\none\r\n--x\r\n"
    b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+aGk8L2I+\r\n--x--\r\n",
    "Subject: grün\r\n\r\n.\r\n..dots\r\n".encode(),
)


class Found(AssertionError):
    """The program did what it must not."""


def run_session(
    protocol: str,
    before: bytes,
    data: bytes,
    response: re.Pattern[bytes],
    settings: dict[str, str] | None = None,
    *,
    whole: bool = False,
    offers: tuple[str, ...] = ("PLAIN", "LOGIN"),
) -> None:
    """A connection from its greeting to its end; `response` is what the server says at once has to begin with, or to
    be as a `whole`."""
    fakes = Fakes(Transcript(Path(), protocol, users={ALICE: "secret"}, offers=offers))
    assert isinstance(fakes.store, MemoryStore)
    for octets in MESSAGES:
        fakes.store.put(ALICE, octets, flags=Flags())
    connection, over = MemoryConnection(), list[object]()
    session: Any = factory(protocol, settings or {})(connection, fakes)
    Deferred.fromCoroutine(session.run()).addBoth(over.append)
    matches = response.fullmatch if whole else response.match
    for segment in (before, *data.split(CUT)):
        if not over:
            connection.feed(segment)
        said = connection.take()
        if said and not matches(said):
            raise Found(f"the server said {said[:200]!r} to {segment[:200]!r}")
        fakes.store.put(ALICE, MESSAGES[0])  # so that there is something to tell
    connection.close()
    for line in fakes.log.failures:
        raise Found(line.what) from line.error
    if not over or over[0] is not None:
        raise Found(f"the session ended with {over}")
    if fakes.spool.leaks:  # type: ignore[attr-defined]
        raise Found("a message was not discarded")
