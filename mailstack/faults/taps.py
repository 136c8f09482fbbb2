"""Light looks at what a client says: where a command begins, which it is, and what else goes with it. What does not
look like a command is passed on; the session judges it."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from dataclasses import dataclass

from mailstack.faults.book import MARK
from mailstack.faults.rules import CONNECT, MESSAGE, Moment, Protocol, stage_of

MAX_LINE = 64 * 1024
"""Octets without a line's end after which it is no line."""
_ADDRESS = re.compile(rb"(?:FROM|TO):[ ]*<([^>]*)>", re.IGNORECASE)
_CHUNK = re.compile(rb"BDAT +([0-9]{1,12})( +LAST)?", re.IGNORECASE)
_LITERAL = re.compile(rb"\{([0-9]{1,10})(\+?)\}\r?\n\Z")
_LOGIN = re.compile(rb'LOGIN +(?:"((?:[^"\\]|\\.)*)"|([^ "{\r\n]+))', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Unit:
    """The next octets of the client that belong together. `stage` is "" where no command begins, or none that has a
    name; `tag` is IMAP's. More of the same command follows, whatever the server says, unless it `ends`."""

    octets: int
    stage: str = ""
    tag: bytes = b""
    ends: bool = True


class Tap:
    """What is known of a connection by what was said on it."""

    protocol: Protocol

    def __init__(self) -> None:
        self.helo = self.sender = self.login = ""
        self.recipients: tuple[str, ...] = ()
        self._asked: tuple[str, ...] = ()
        self._mechanism = b""
        self.names_fault = False
        """An address was said that may name a fault."""

    def next(self, waiting: bytes, last: bytes) -> Unit | None:
        """The first unit of what waits, or None if it is not whole. `last` is what the server wrote last."""
        raise NotImplementedError

    @property
    def is_at_rest(self) -> bool:
        """Whether the next unit is the beginning of something."""
        return True

    def catch_up(self, heard: bytes) -> None:
        """Take notes of commands that went by, and of the responses between them."""
        for line in heard.splitlines(keepends=True):
            self.note(line)
            self._note_response(line)

    def note(self, line: bytes) -> tuple[str, bytes]:
        """Take notes of a command; returns its stage and tag."""
        raise NotImplementedError

    def refusal(self, text: str, tag: bytes, stage: str) -> bytes:
        """What goes on the wire for an Answer."""
        return text.encode() + b"\r\n"

    def is_farewell(self, text: str, stage: str) -> bool:
        """Whether the connection ends with such an Answer."""
        return stage == CONNECT

    def moment(self, stage: str, client: str) -> Moment:
        """This moment."""
        recipients = self._asked if stage == "RCPT" else self.recipients
        return Moment(self.protocol, stage, client, self.helo, self.sender, recipients, self.login)

    def _note_mechanism(self, words: list[bytes]) -> None:
        """Of AUTH or AUTHENTICATE, with or without an initial response."""
        self._mechanism = words[0].upper() if words else b""
        if len(words) > 1:
            self._note_response(words[1])

    def _note_response(self, line: bytes) -> None:
        """Of PLAIN (RFC 4616) and LOGIN, which say who it is."""
        try:
            said = b64decode(line.strip(), validate=True)
        except (binascii.Error, ValueError):
            return
        if self._mechanism == b"PLAIN" and said.count(b"\0") == 2:
            self.login = _text(said.split(b"\0")[1])
        elif self._mechanism == b"LOGIN":
            self.login, self._mechanism = _text(said), b""
        self._look(self.login)

    def _look(self, address: str) -> None:
        self.names_fault = self.names_fault or MARK in address


def _line(waiting: bytes) -> int:
    """Octets of the first line, 0 if it is not whole."""
    end = waiting.find(b"\n") + 1
    return end or (len(waiting) if len(waiting) > MAX_LINE else 0)


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "replace").strip().lower()


def _verb(words: list[bytes], protocol: Protocol) -> str:
    """The stage of a command, "" of one that has no name."""
    word = words[0].decode("ascii", "replace") if words else ""
    try:
        return stage_of(protocol, word) if word.isalnum() and word.upper() not in (CONNECT, "TLS", MESSAGE) else ""
    except ValueError:
        return ""


class SmtpTap(Tap):
    """SMTP and LMTP."""

    protocol = Protocol.SMTP

    def __init__(self) -> None:
        super().__init__()
        self._tail: bytes | None = None
        """The last octets of the mail data so far, None outside of it."""
        self._chunk = 0
        """Octets of a BDAT to come."""
        self._last_chunk = False

    def next(self, waiting: bytes, last: bytes) -> Unit | None:
        if self._chunk:
            return self._of_chunk(waiting)
        if last[:3] == b"354":
            return self._of_data(waiting)
        self._tail = None
        octets = _line(waiting)
        if not octets:
            return None
        if last[:3] == b"334":
            self._note_response(waiting[:octets])
            return Unit(octets)
        stage, _ = self.note(waiting[:octets])
        if stage == "BDAT" and (said := _CHUNK.match(waiting)):
            self._chunk, self._last_chunk = int(said[1]), said[2] is not None
        return Unit(octets, stage, ends=not self._chunk)

    @property
    def is_at_rest(self) -> bool:
        return not self._chunk and self._tail is None

    def is_farewell(self, text: str, stage: str) -> bool:
        return stage == CONNECT or text.startswith("421")

    def note(self, line: bytes) -> tuple[str, bytes]:
        words = line.split()
        stage = _verb(words, self.protocol)
        if stage == "EHLO":
            self.helo = _text(words[1]) if len(words) > 1 else ""
        if stage in ("EHLO", "RSET", "MAIL", "STARTTLS"):
            self.sender, self.recipients = "", ()
        if stage in ("MAIL", "RCPT"):
            found = _ADDRESS.search(line)
            address = _text(found[1]) if found else ""
            self._look(address)
            if stage == "MAIL":
                self.sender = address
            else:
                self._asked = (address,)
                self.recipients = (*self.recipients, address)[-1000:]
        elif stage == "AUTH":
            self._note_mechanism(words[1:])
        return stage, b""

    def _of_chunk(self, waiting: bytes) -> Unit:
        octets = min(self._chunk, len(waiting))
        self._chunk -= octets
        ends = not self._chunk
        return Unit(octets, MESSAGE if ends and self._last_chunk else "", ends=ends)

    def _of_data(self, waiting: bytes) -> Unit:
        tail = b"\r\n" if self._tail is None else self._tail
        end = (tail + waiting).find(b"\r\n.\r\n")
        if end < 0:
            self._tail = (tail + waiting)[-4:]
            return Unit(len(waiting))
        self._tail = None
        return Unit(end + 5 - len(tail), MESSAGE)


class ImapTap(Tap):
    """IMAP: commands go on after literals (RFC 9051 §4.3, RFC 7888)."""

    protocol = Protocol.IMAP

    def __init__(self) -> None:
        super().__init__()
        self._literal: int | None = None
        """Octets to come of a literal."""
        self._asks = False
        """The client waits for a + before it sends that."""
        self._goes_on = False
        """The next line belongs to the command."""

    def next(self, waiting: bytes, last: bytes) -> Unit | None:
        if self._literal is not None:
            if not self._asks or last[:1] == b"+":
                return self._of_literal(waiting)
            self._literal, self._goes_on = None, False  # it was refused
        octets = _line(waiting)
        if not octets:
            return None
        line = waiting[:octets]
        if self._goes_on:
            return Unit(octets, ends=self._ends(line))
        if last[:1] == b"+" and last[:3] != b"+OK":
            self._note_response(line)
            return Unit(octets, ends=self._ends(line))  # none has a literal, but a client may send one
        stage, tag = self.note(line)
        return Unit(octets, stage, tag, self._ends(line))

    @property
    def is_at_rest(self) -> bool:
        return self._literal is None and not self._goes_on

    def note(self, line: bytes) -> tuple[str, bytes]:
        words = line.split()
        tag, command = (words[0], words[1:]) if len(words) > 1 else (b"", [])
        stage = _verb(command, self.protocol)
        if stage == "UID" and len(command) > 1:
            stage = f"UID {_verb(command[1:], self.protocol)}"
        if stage == "LOGIN" and (said := _LOGIN.search(line)):
            self.login = _text(said[1] if said[1] is not None else said[2])
            self._look(self.login)
        elif stage == "AUTHENTICATE":
            self._note_mechanism(command[1:])
        return stage, tag

    def refusal(self, text: str, tag: bytes, stage: str) -> bytes:
        if stage == CONNECT:
            text = "BYE " + text.split(" ", 1)[-1]
        return (b"*" if text.startswith("BYE") else tag or b"*") + b" " + text.encode() + b"\r\n"

    def is_farewell(self, text: str, stage: str) -> bool:
        return stage == CONNECT or text.startswith("BYE")

    def _ends(self, line: bytes) -> bool:
        """Whether a line of a command is its last one, as far as the server does not ask for more."""
        found = _LITERAL.search(line)
        self._goes_on = found is not None
        if found is None:
            return True
        self._literal = int(found[1])
        self._asks = not found[2]
        return self._asks

    def _of_literal(self, waiting: bytes) -> Unit | None:
        self._asks = False
        left = self._literal or 0
        octets = min(left, len(waiting))
        self._literal = left - octets or None
        return Unit(octets, ends=False) if octets else self.next(waiting, b"")


class Pop3Tap(Tap):
    """POP3."""

    protocol = Protocol.POP3

    def next(self, waiting: bytes, last: bytes) -> Unit | None:
        octets = _line(waiting)
        if not octets:
            return None
        if last[:2] == b"+ ":
            self._note_response(waiting[:octets])
            return Unit(octets)
        stage, _ = self.note(waiting[:octets])
        return Unit(octets, stage)

    def note(self, line: bytes) -> tuple[str, bytes]:
        words = line.split()
        stage = _verb(words, self.protocol)
        if stage in ("USER", "APOP") and len(words) > 1:
            self.login = _text(words[1])
            self._look(self.login)
        elif stage == "AUTH":
            self._note_mechanism(words[1:])
        return stage, b""


TAPS: dict[Protocol, type[Tap]] = {
    Protocol.SMTP: SmtpTap,
    Protocol.IMAP: ImapTap,
    Protocol.POP3: Pop3Tap,
}
