"""Plays one side of a transcript, and says where the other one deviates."""

from __future__ import annotations

import re
import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence

from mailstack.transcripts.lines import WILDCARD, Step, escape, matcher, unescape

SILENCE = 0.2
"""Seconds in which `*nothing*` comes."""
_SECRET = re.compile(rb"(?:[^ ]+ +)?(AUTH|AUTHENTICATE|LOGIN|PASS|APOP)\b", re.IGNORECASE)


class Deviates(Exception):
    """The other side does not do what the transcript says."""

    def __init__(self, step: Step, expected: str, got: str) -> None:
        super().__init__(f"line {step.number}: expected {expected}, got {got}")
        self.step = step


def received(sock: socket.socket) -> bytes | None:
    """What has come; b"" at the end, None when nothing is there: not all that comes by TLS is for us."""
    timeout = sock.gettimeout()
    sock.settimeout(0.0)
    try:
        return sock.recv(65536)
    except (BlockingIOError, ssl.SSLWantReadError):
        return None
    except (ConnectionError, ssl.SSLEOFError):
        return b""
    finally:
        sock.settimeout(timeout)


class Wire:
    """Lines over a socket."""

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        self.sock = sock
        self.timeout = timeout
        self._read = b""

    def send(self, octets: bytes) -> None:
        """Raises: OSError."""
        self.sock.sendall(octets)

    def line(self) -> bytes | None:
        """The next line without CRLF; what is there if it does not get whole; None at the end. Raises: TimeoutError."""
        end = time.monotonic() + self.timeout
        while b"\r\n" not in self._read:
            if not self._fill(max(0.0, end - time.monotonic())):
                rest, self._read = self._read, b""
                return rest or None
        line, _, self._read = self._read.partition(b"\r\n")
        return line

    def exactly(self, octets: int) -> bytes:
        """So many octets, fewer at the end. Raises: TimeoutError."""
        while len(self._read) < octets and self._fill(self.timeout):
            pass
        taken, self._read = self._read[:octets], self._read[octets:]
        return taken

    def unread(self, seconds: float = 0.0) -> bytes:
        """What has come and was not read; waits so long for it."""
        if not self._read:
            try:
                self._fill(seconds)
            except TimeoutError:
                return b""
        return self._read

    def secure(self, context: ssl.SSLContext, host: str | None) -> None:
        """TLS, as the client if there is a host. Raises: OSError."""
        self.sock = context.wrap_socket(self.sock, server_side=host is None, server_hostname=host)

    def _fill(self, seconds: float) -> bool:
        """Whether there is more. Raises: TimeoutError."""
        end = time.monotonic() + seconds
        while (octets := received(self.sock)) is None:
            if not select.select([self.sock], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError
        self._read += octets
        return bool(octets)


def shown(line: bytes | None) -> str:
    """What was got, for people."""
    return "the end of the connection" if line is None else repr(escape(line, client=True))


Show = Callable[[str], None]


class ClientSide:
    """Says the lines of the client. `connect` opens a connection, `tls` is the context of `*starttls*`."""

    def __init__(self, connect: Callable[[], Wire], tls: ssl.SSLContext, host: str, show: Show) -> None:
        self._connect = connect
        self._tls = tls
        self._host = host
        self._show = show
        self._wires: dict[int, Wire] = {}

    def play(self, steps: Sequence[Step]) -> None:
        """Raises: Deviates, OSError."""
        try:
            at = 0
            while at < len(steps):
                at = self._turn(steps, at)
            for number, wire in self._wires.items():
                if wire.unread():
                    raise Deviates(steps[-1], f"nothing more on connection {number}", shown(wire.line()))
        finally:
            for wire in self._wires.values():
                wire.sock.close()

    def _turn(self, steps: Sequence[Step], at: int) -> int:
        step = steps[at]
        if step.connection not in self._wires:
            self._wires[step.connection] = self._connect()
        wire = self._wires[step.connection]
        if not step.client:
            self._expect(step, wire)
            return at + 1
        if wire.unread():
            raise Deviates(step, "nothing before this line", shown(wire.line()))
        if step.is_event:
            self._event(step, wire)
            return at + 1
        end = at
        while end < len(steps) and _same(steps[end], step):
            end += 1
        wire.send(b"".join(each.octets for each in steps[at:end]))  # neighbouring lines are one segment
        for each in steps[at:end]:
            self._show(f"C: {each.text}")
        return end

    def _event(self, step: Step, wire: Wire) -> None:
        if step.text == "*close*":
            wire.sock.close()
            del self._wires[step.connection]
        elif step.text == "*starttls*":
            wire.secure(self._tls, self._host)
        else:
            raise Deviates(step, f"{step.text} to happen", "a server that cannot be told so")
        self._show(f"C: {step.text}")

    def _expect(self, step: Step, wire: Wire) -> None:
        if step.text == "*nothing*":
            if wire.unread(SILENCE):
                raise Deviates(step, "nothing", shown(wire.line()))
            return
        if step.text == "*until*" or step.text.startswith("*until* "):
            accepts = matcher(step.text.removeprefix("*until*").strip())
            while (said := self._line(step, wire, step.text)) is None or not accepts(said):
                if said is None:
                    raise Deviates(step, repr(step.text), shown(None))
            return
        closes = step.text == "*close*"
        line = self._line(step, wire, "the end of the connection" if closes else repr(step.text))
        if closes and line is not None:
            raise Deviates(step, "the end of the connection", shown(line))
        if not closes and (line is None or not matcher(step.text)(line)):
            raise Deviates(step, repr(step.text), shown(line))

    def _line(self, step: Step, wire: Wire, expected: str) -> bytes | None:
        try:
            line = wire.line()
        except TimeoutError:
            raise Deviates(step, expected, f"nothing for {wire.timeout:g} s") from None
        if line is not None:
            self._show(f"S: {escape(line, client=False)}")
        return line


def _same(step: Step, first: Step) -> bool:
    return step.client and not step.is_event and step.connection == first.connection


class ServerSide:
    """Says the lines of the server to clients that `accept` gives. Where a line of the server has a wildcard, nothing
    stands in its place; a pattern cannot be said."""

    def __init__(self, accept: Callable[[], Wire], tls: Callable[[], ssl.SSLContext], show: Show) -> None:
        self._accept = accept
        self._tls = tls
        self._show = show
        self._wires: dict[int, Wire] = {}
        self._private: dict[int, bool] = {}

    def play(self, steps: Sequence[Step]) -> None:
        """Raises: Deviates, OSError."""
        for step in steps:  # before anybody connects
            words_of(step)
        try:
            for step in steps:
                if step.connection not in self._wires:
                    self._wires[step.connection] = self._accept()
                wire = self._wires[step.connection]
                if step.client:
                    self._expect(step, wire)
                else:
                    self._say(step, wire)
        finally:
            for wire in self._wires.values():
                wire.sock.close()

    def _say(self, step: Step, wire: Wire) -> None:
        words = words_of(step)
        self._show(f"S: {step.text}")
        if step.text == "*close*":
            wire.sock.close()
        elif words is not None:
            self._private[step.connection] = words[:3] == b"334" or words[:2] == b"+ "
            wire.send(words + b"\r\n")

    def _expect(self, step: Step, wire: Wire) -> None:
        if step.text == "*starttls*":
            wire.secure(self._tls(), None)
        elif step.text == "*close*":
            line = self._read(step, wire, None)
            if line:
                raise Deviates(step, "the end of the connection", shown(line))
        elif step.is_event:
            raise Deviates(step, f"{step.text} to happen", "a client that cannot be told so")
        elif step.octets.endswith(b"\r\n"):
            for expected in step.octets[:-2].split(b"\r\n"):
                self._one(step, wire, expected)
        else:
            octets = wire.exactly(len(step.octets))
            if octets != step.octets:
                raise Deviates(step, repr(step.text), shown(octets))

    def _one(self, step: Step, wire: Wire, expected: bytes) -> None:
        line = self._read(step, wire, expected)
        text = escape(expected, client=True) if "<<" in step.text else step.text
        secret = self._private.pop(step.connection, False) or self._is_secret(expected, line)
        if line is None or not (secret or matcher(text)(line)):
            raise Deviates(step, repr(text), shown(line))
        self._show(f"C: {text}")

    def _is_secret(self, expected: bytes, line: bytes | None) -> bool:
        """A login may be that of anybody: the transcript does not have the password."""
        wanted, got = _SECRET.match(expected), _SECRET.match(line or b"")
        return wanted is not None and got is not None and wanted[0].upper() == got[0].upper()

    def _read(self, step: Step, wire: Wire, expected: bytes | None) -> bytes | None:
        try:
            return wire.line()
        except TimeoutError:
            what = "the end of the connection" if expected is None else repr(step.text)
            raise Deviates(step, what, f"nothing for {wire.timeout:g} s") from None


def words_of(step: Step) -> bytes | None:
    """What the server says in this line without CRLF; None where it says nothing. Raises: Deviates."""
    if step.client or step.text in ("*close*", "*nothing*"):
        return None
    if len(step.text) > 1 and step.text[0] == step.text[-1] == "/" or step.text.startswith("*until*"):
        raise Deviates(step, "words that can be said to a client", f"the pattern {step.text!r}")
    return unescape(step.text.replace(WILDCARD, ""))
