"""Whatever a server does: who is DONE has the message, and nobody else has it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_client import ENVELOPE, SETTINGS, Message
from transcripts import result

from mailstack.errors import ConnectionClosed, IdleTimeout
from mailstack.handover import HopFailed, TlsDemand, Verdict
from mailstack.smtp.client.session import ClientSession
from mailstack.surroundings import TlsInfo
from mailstack.testing.clock import ManualClock
from mailstack.testing.hop import WrongLine

ANSWERS = ("250 ok", "250 ok", "250 ok", "250-two\r\n250 lines", "251 ok", "450 later", "452 too many", "503 order",
           "550 no", "552 full", "421 bye", "what?", "*close*", "*silence*")  # fmt: skip
SAYS = st.lists(st.sampled_from(ANSWERS), max_size=30)


@dataclass
class ModelServer:
    """A server that keeps the order of commands, as a HopConnection. It answers what `says` has, in that order, where
    it is asked something; when that is used up, all is well. `got` is what it has taken: recipients and octets."""

    says: list[str]
    pipelining: bool
    chunking: bool
    lmtp: bool
    waits: bool
    """Whether it says 354 to a DATA for nobody."""
    host = "mx.example"
    address = "192.0.2.25"
    timeout = 0.0
    tls: TlsInfo | None = None
    tls_verified = False
    got: list[tuple[str, bytes]] = field(default_factory=list)
    _input: bytes = b""
    _output: list[str] = field(default_factory=lambda: ["220 hi"])
    _end: type[Exception] | None = None
    _sender: bool = False
    _recipients: list[str] = field(default_factory=list)
    _in_data: bool = False
    _closed: bool = False

    def write(self, data: bytes) -> None:
        if self._closed:
            raise WrongLine("written to after it was closed")
        self._input += data

    async def drain(self) -> None:
        self._work()

    @property
    def has_input(self) -> bool:
        self._work()
        return bool(self._output) or self._end is not None

    async def receive(self) -> bytes:
        self._work()
        if self._output:
            said, self._output = self._output, []
            return "".join(f"{line}\r\n" for line in said).encode()
        if self._end is None:
            raise WrongLine("the client waits for nothing")
        raise self._end

    async def start_tls(self, demand: TlsDemand) -> None:
        raise WrongLine("no TLS is offered")

    def close(self) -> None:
        self._closed = True

    abort = close

    def _work(self) -> None:
        while self._end is None and (self._data() if self._in_data else self._command()):
            pass

    def _data(self) -> bool:
        octets, end, rest = (b"\r\n" + self._input).partition(b"\r\n.\r\n")
        if not end:
            return False
        self._input, self._in_data = rest, False
        self._take((octets + b"\r\n")[2:].replace(b"\r\n.", b"\r\n"))
        return True

    def _take(self, octets: bytes) -> None:
        recipients, self._recipients, self._sender = self._recipients, [], False
        if not recipients:
            self._output.append("554 nobody")
            return
        for each in [[name] for name in recipients] if self.lmtp else [recipients]:
            if self._end is None and self._answer():
                self.got += [(name, octets) for name in each]

    def _command(self) -> bool:
        line, end, rest = self._input.partition(b"\r\n")
        if not end:
            return False
        self._input = rest
        verb = line[:4].upper()
        if verb in (b"EHLO", b"LHLO"):
            offers = ["PIPELINING"] * self.pipelining + ["CHUNKING"] * self.chunking
            self._output += [f"250-{word}" for word in ("mx", *offers)] + ["250 SIZE"]
        elif verb == b"RSET":
            self._sender, self._recipients = False, []
            self._output.append("250 ok")
        elif verb == b"QUIT":
            self._output.append("221 bye")
        elif verb == b"MAIL":
            assert not self._sender, "MAIL within a transaction"
            self._sender = self._answer()
        elif verb == b"RCPT":
            if not self._sender:
                self._output.append("503 MAIL first")
            elif self._answer():
                self._recipients.append(line.decode().partition("<")[2].rstrip(">"))
        elif verb == b"DATA":
            self._begin_data()
        elif verb == b"BDAT":
            size = int(line.split()[1])
            assert len(self._input) >= size, "a small message in one piece"
            octets, self._input = self._input[:size], self._input[size:]
            self._take(octets)
        else:
            raise WrongLine(f"no command: {line!r}")
        return True

    def _begin_data(self) -> None:
        self._in_data = bool(self._recipients) and (not self.says or self.says[0].startswith("2"))
        if self._in_data:
            del self.says[:1]
            self._output.append("354 go")
        elif self._recipients:
            self._answer()
        elif self.waits:
            self._in_data = True
            self._output.append("354 go on")
        else:
            self._output.append("503 nobody")

    def _answer(self) -> bool:
        """Say the next thing; whether that is yes."""
        said = self.says.pop(0) if self.says else "250 ok"
        if said in ("*close*", "*silence*"):
            self._end = ConnectionClosed if said == "*close*" else IdleTimeout
            return False
        self._output.append(said)
        if said.startswith("421"):
            self._end = ConnectionClosed
        return said.startswith("25")


@settings(max_examples=60)
@given(says=SAYS, flags=st.tuples(*[st.booleans()] * 4), count=st.integers(1, 3))
def test_who_is_done_has_it_and_nobody_else(says: list[str], flags: tuple[bool, bool, bool, bool], count: int) -> None:
    pipelining, chunking, lmtp, waits = flags
    server = ModelServer(says, pipelining, chunking, lmtp, waits)
    session = ClientSession(server, replace(SETTINGS, lmtp=lmtp, chunking_from=0), ManualClock())
    result(session.open(None))
    for number in range(count):
        message = Message(b"Subject: %d\r\n\r\n.dot\r\n" % number)
        before = len(server.got)
        try:
            outcomes = result(session.send(ENVELOPE, (0, 1, 2), message))
        except HopFailed as failed:
            assert failed.stale and number and len(server.got) == before
            break
        done = [str(ENVELOPE.recipients[n]) for n in outcomes if outcomes[n].verdict is Verdict.DONE]
        assert outcomes and [(name, message.octets) for name in done] == server.got[before:]
        for outcome in outcomes.values():
            assert outcome.status[0] == {Verdict.DONE: "2", Verdict.LATER: "4", Verdict.NEVER: "5"}[outcome.verdict]
            assert outcome.text and outcome.text.isprintable()
        if not session.usable:
            assert server._closed
            break
    result(session.quit())
    assert server._closed


def test_the_model_takes_a_message() -> None:
    server = ModelServer([], True, False, False, False)
    session = ClientSession(server, SETTINGS, ManualClock())
    result(session.open(None))
    assert len(result(session.send(ENVELOPE, (0, 1), Message()))) == 2
    assert server.got == [("joe@example.com", Message().octets), ("ann@example.com", Message().octets)]
    with pytest.raises(WrongLine):
        result(server.receive())
