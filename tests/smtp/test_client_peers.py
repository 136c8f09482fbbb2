"""The client and our own server, over real sockets: SMTP, submission and LMTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from hop_peers import Rig, in_reactor, server_tls

from mailstack.auth.client import LoginAs
from mailstack.auth.sasl import Secret
from mailstack.handover import HopFailed, Outcome, TlsDemand, Transcript, Verdict
from mailstack.mail.address import Address
from mailstack.net.hop import Target
from mailstack.ports import Envelope
from mailstack.smtp.client.session import ClientSession
from mailstack.smtp.client.settings import ClientSettings

DONE, NEVER = Verdict.DONE, Verdict.NEVER
RECIPIENTS = tuple(Address(name, "example.com") for name in ("joe", "nobody", "ann"))
ENVELOPE = Envelope(Address("me", "example.org"), RECIPIENTS, body_8bit=True)
SETTINGS = ClientSettings("me.example")


@dataclass
class Message:
    octets: bytes

    @property
    def size(self) -> int:
        return len(self.octets)

    async def read(self, start: int, end: int) -> bytes:
        return self.octets[start:end]


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.stop()


def verdicts(outcomes: dict[int, Outcome]) -> dict[int, Verdict]:
    return {number: outcome.verdict for number, outcome in outcomes.items()}


def inbox(rig: Rig, user: str) -> list[bytes]:
    """What came, without the header fields of the way."""
    return [message.octets.partition(b"Subject:")[2] for message in rig.store.box(user).messages.values()]


@in_reactor
@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize(("lines", "chunking_from"), [(1, 0), (1, 1 << 30), (60_000, 0), (60_000, 1 << 30)])
async def test_messages_arrive_as_they_are(rig: Rig, pipelining: bool, lines: int, chunking_from: int) -> None:
    session = await rig.session(
        rig.serve(), None, replace(SETTINGS, pipelining=pipelining, chunking_from=chunking_from)
    )
    bodies = [b"Subject: %d\r\n\r\n" % number + b"..\r\n.\r\n\xc3\xa4\r\n" * lines for number in range(2)]
    for body in bodies:
        session.transcript = Transcript()
        outcomes = await session.send(ENVELOPE, (0, 1, 2), Message(body))
        assert verdicts(outcomes) == {0: DONE, 1: NEVER, 2: DONE}, session.transcript.text
        assert outcomes[1].status == "5.1.1" and outcomes[0].reports
        assert ("BDAT" in session.transcript.text) is (chunking_from == 0)
    await session.quit()
    for user in ("joe@example.com", "ann@example.com"):
        assert inbox(rig, user) == [body.partition(b"Subject:")[2] for body in bodies]


@in_reactor
async def test_nobody_knows_the_recipients_and_the_next_message_comes(rig: Rig) -> None:
    session = await rig.session(rig.serve())
    message = Message(b"Subject: x\r\n\r\nx\r\n")
    assert verdicts(await session.send(ENVELOPE, (1,), message)) == {1: NEVER}
    assert verdicts(await session.send(ENVELOPE, (0,), message)) == {0: DONE}
    assert "RSET" in session.transcript.text
    await session.quit()


@in_reactor
@pytest.mark.parametrize("offered", ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"])
async def test_logging_in_over_tls(rig: Rig, tmp_path: Path, offered: str) -> None:
    rig.accounts.offers = frozenset({offered})
    port = rig.serve(server_tls(tmp_path, trustme.CA().issue_cert("mx.example")), accept_any=True)
    right = replace(SETTINGS, login=LoginAs("joe@example.com", Secret("secret")))
    session = await rig.session(port, TlsDemand(required=True), right)
    assert f"C: AUTH {offered} ..." in session.transcript.text and "S: 235" in session.transcript.text
    assert "secret" not in session.transcript.text
    await session.quit()
    with pytest.raises(HopFailed, match="535 5.7.8"):
        await rig.session(port, TlsDemand(), replace(right, login=LoginAs("joe@example.com", Secret("wrong"))))


@in_reactor
async def test_lmtp_over_a_unix_socket(rig: Rig, tmp_path: Path) -> None:
    path = str(tmp_path / "lmtp")
    rig.serve(lmtp=True, path=path)
    connection: Any = await rig.dialer.connect(Target(path))
    session = ClientSession(connection, replace(SETTINGS, lmtp=True), rig.clock)
    await session.open(None)
    outcomes = await session.send(ENVELOPE, (0, 1, 2), Message(b"Subject: x\r\n\r\nx\r\n"))
    assert verdicts(outcomes) == {0: DONE, 1: NEVER, 2: DONE} and outcomes[0].mta == path
    await session.quit()
    assert inbox(rig, "ann@example.com") == [b" x\r\n\r\nx\r\n"]


@in_reactor
async def test_a_server_that_stops_is_stale(rig: Rig) -> None:
    session = await rig.session(rig.serve())
    message = Message(b"Subject: x\r\n\r\nx\r\n")
    assert verdicts(await session.send(ENVELOPE, (0,), message)) == {0: DONE}
    await rig.listeners[0].drain(10)
    with pytest.raises(HopFailed) as failed:
        await session.send(ENVELOPE, (0,), message)
    assert failed.value.stale and not session.usable
