"""A session of the client with a scripted server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from transcripts import result

from mailstack.handover import Certainty, Content, HopFailed, Outcome, TlsDemand, Verdict
from mailstack.mail.address import Address
from mailstack.ports import Envelope
from mailstack.smtp.client.session import ClientSession
from mailstack.smtp.client.settings import ClientSettings
from mailstack.surroundings import TlsInfo
from mailstack.testing.clock import ManualClock
from mailstack.testing.hop import ScriptedHop

DONE, LATER, NEVER = Verdict.DONE, Verdict.LATER, Verdict.NEVER
SETTINGS = ClientSettings("me.example")
JOE, ANN, BOB = (Address(name, "example.com") for name in ("joe", "ann", "bob"))
ENVELOPE = Envelope(Address("me", "example.org"), (JOE, ANN, BOB))
BODY = b"Subject: x\r\n\r\n.dot\r\n"
HELLO = "S: 220 hi\nC: EHLO me.example\nS: 250-mx\n"
PIPE = HELLO + "S: 250 PIPELINING\n"
SLOW = HELLO + "S: 250 OK\n"
ONE = "C: MAIL FROM:<me@example.org>\nC: RCPT TO:<joe@example.com>\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n"
DATA = "C: Subject: x\nC:\nC: ..dot\nC: .\n"

TLS_OFFER = HELLO + "S: 250-STARTTLS\nS: 250 PIPELINING\n"
DEMAND = TlsDemand(required=True, certainty=Certainty.NAMED, names=("mx.example",))


@dataclass
class Message:
    """A Content in memory; `broken` octets of it can be read."""

    octets: bytes = BODY
    broken: int | None = None

    @property
    def size(self) -> int:
        return len(self.octets)

    async def read(self, start: int, end: int) -> bytes:
        assert 0 <= start <= end <= len(self.octets) and end - start <= 128 * 1024
        if self.broken is not None and end > self.broken:
            raise OSError(5, "Input/output error")
        return self.octets[start:end]


def opened(
    script: str, demand: TlsDemand | None = None, settings: ClientSettings = SETTINGS, **hop: TlsInfo
) -> tuple[ClientSession, ScriptedHop]:
    connection = ScriptedHop(script, **hop)
    session = ClientSession(connection, settings, ManualClock())
    result(session.open(demand))
    return session, connection


def send(
    session: ClientSession, envelope: Envelope = ENVELOPE, numbers: Sequence[int] = (0,), content: Content | None = None
) -> dict[int, Outcome]:
    found: dict[int, Outcome] = result(session.send(envelope, numbers, content or Message()))
    return found


def shown(outcomes: dict[int, Outcome]) -> dict[int, tuple[Verdict, str]]:
    return {number: (outcome.verdict, outcome.status) for number, outcome in outcomes.items()}


def refused(script: str, demand: TlsDemand | None = None, settings: ClientSettings = SETTINGS) -> HopFailed:
    connection = ScriptedHop(script)
    with pytest.raises(HopFailed) as failed:
        result(ClientSession(connection, settings, ManualClock()).open(demand))
    connection.finish()
    assert connection.closed
    return failed.value
