"""The client and Postfix's smtp-sink, which refuses, falls silent and goes away as it is told to."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import free_base
from hop_peers import Rig, in_reactor
from twisted.internet import reactor
from twisted.internet.task import deferLater

from mailstack.handover import HopFailed, Verdict
from mailstack.mail.address import Address
from mailstack.ports import Envelope
from mailstack.smtp.client.settings import ClientSettings

SINK = shutil.which("smtp-sink", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = [pytest.mark.interop, pytest.mark.skipif(SINK is None, reason="smtp-sink is not installed")]

ENVELOPE = Envelope(Address("me", "example.org"), (Address("joe", "example.com"), Address("ann", "example.com")))
BODY = b"Subject: x\r\n\r\n.dot\r\n"
SETTINGS = ClientSettings("me.example")


class Message:
    size = len(BODY)

    async def read(self, start: int, end: int) -> bytes:
        return BODY[start:end]


class Sink:
    """smtp-sink with some options."""

    def __init__(self, *options: str, port: int = 0) -> None:
        assert SINK is not None
        self.port = port or free_base()
        as_whom = ["-u", "nobody"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen([SINK, *as_whom, *options, f"127.0.0.1:{self.port}", "10"])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.stop()


async def up(rig: Rig, sink: Sink) -> None:
    """Wait until it listens."""
    for _ in range(200):
        try:
            (await rig.connect(sink.port)).abort()
            return
        except HopFailed:
            await deferLater(reactor, 0.02)  # type: ignore[arg-type]
    raise AssertionError("smtp-sink does not listen")


@in_reactor
@pytest.mark.parametrize(
    ("options", "lmtp", "verdict"),
    [
        ((), False, Verdict.DONE),
        (("-p",), False, Verdict.DONE),
        (("-e",), False, Verdict.DONE),
        (("-L",), True, Verdict.DONE),
        (("-f", "RCPT"), False, Verdict.NEVER),
        (("-r", "MAIL"), False, Verdict.LATER),
        (("-f", "."), False, Verdict.NEVER),
        (("-f", ".", "-L"), True, Verdict.NEVER),
        (("-q", "."), False, Verdict.LATER),
        (("-Q", "DATA"), False, Verdict.LATER),
        (("-A", "0"), False, Verdict.NEVER),
    ],
)
async def test_outcomes(rig: Rig, options: tuple[str, ...], lmtp: bool, verdict: Verdict) -> None:
    sink = Sink(*options)
    try:
        await up(rig, sink)
        session = await rig.session(sink.port, None, replace(SETTINGS, lmtp=lmtp))
        outcomes = await session.send(ENVELOPE, (0, 1), Message())
        assert {outcome.verdict for outcome in outcomes.values()} == {verdict}, session.transcript.text
        assert sorted(outcomes) == [0, 1]
        if session.usable and "-A" not in options:  # which closes the connection
            again = await session.send(ENVELOPE, (0,), Message())
            assert again[0].verdict is verdict
        await session.quit()
    finally:
        sink.stop()


@in_reactor
async def test_what_is_sent_is_what_was_written(rig: Rig, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o755)
    sink = Sink("-R", str(tmp_path), "-D", "mail")
    try:
        await up(rig, sink)
        session = await rig.session(sink.port)
        assert (await session.send(ENVELOPE, (0,), Message()))[0].verdict is Verdict.DONE
        await session.quit()
    finally:
        sink.stop()
    written = (tmp_path / "mail").read_bytes()
    assert b"\nX-Mail-Args: <me@example.org>" in written and written.rstrip().endswith(b"\n\n.dot")
