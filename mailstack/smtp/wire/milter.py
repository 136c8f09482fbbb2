"""The milter protocol, version 6, as its client: packets out, answers in; no IO.

There is no RFC. What the packets are is said by the documentation of Sendmail's libmilter, and by Postfix's
MILTER_README for what a server does with them. A packet is a length of four octets, which counts what follows, a
letter, and data: numbers of four octets, highest first, and strings that end in NUL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntFlag
from struct import error as StructError
from struct import unpack

VERSION = 6
OLDEST_VERSION = 2
MAX_DATA = 65535
"""Octets of data in one packet to a milter; libmilter takes no more."""
MAX_ANSWER = 128 * 1024
"""Octets of one packet of a milter; longer ones are of none."""
MAX_REPLY_LINES = 32
"""Lines of a reply that a milter wants to be given; libmilter makes no more."""
MAX_REPLY_LINE = 480
"""Octets of one of them: with what stands before it, the 512 of RFC 5321 §4.5.3.1.5."""


class Garbage(Exception):
    """What came is no packet of a milter, or not one that has a place here."""


class Action(IntFlag):
    """What a milter may do to a message."""

    ADD_FIELDS = 0x01
    CHANGE_BODY = 0x02
    ADD_RECIPIENTS = 0x04
    DELETE_RECIPIENTS = 0x08
    CHANGE_FIELDS = 0x10
    QUARANTINE = 0x20
    CHANGE_SENDER = 0x40
    ADD_RECIPIENTS_WITH_PARAMETERS = 0x80
    NAME_MACROS = 0x100


class Manner(IntFlag):
    """How the conversation goes: steps that a milter does not want, steps that it does not answer, and more."""

    NO_CONNECT = 0x01
    NO_HELO = 0x02
    NO_MAIL = 0x04
    NO_RCPT = 0x08
    NO_BODY = 0x10
    NO_FIELDS = 0x20
    NO_END_OF_HEADER = 0x40
    SILENT_FIELDS = 0x80
    NO_UNKNOWN = 0x100
    NO_DATA = 0x200
    MAY_SKIP = 0x400
    SILENT_CONNECT = 0x1000
    SILENT_HELO = 0x2000
    SILENT_MAIL = 0x4000
    SILENT_RCPT = 0x8000
    SILENT_DATA = 0x10000
    SILENT_UNKNOWN = 0x20000
    SILENT_END_OF_HEADER = 0x40000
    SILENT_BODY = 0x80000
    LEADING_SPACE = 0x100000
    """The blank behind a field's colon is part of its value."""


ALL_ACTIONS = Action(0x1FF)
ALL_MANNERS = Manner(0x1FF7FF)
"""All but that recipients are shown which we have refused."""


class Step(Enum):
    """What a milter is told, and asked about."""

    CONNECT = b"C"
    HELO = b"H"
    MAIL = b"M"
    RCPT = b"R"
    DATA = b"T"
    FIELD = b"L"
    END_OF_HEADER = b"N"
    BODY = b"B"
    END_OF_MESSAGE = b"E"


_UNWANTED: Mapping[Step, Manner] = {
    Step.CONNECT: Manner.NO_CONNECT,
    Step.HELO: Manner.NO_HELO,
    Step.MAIL: Manner.NO_MAIL,
    Step.RCPT: Manner.NO_RCPT,
    Step.DATA: Manner.NO_DATA,
    Step.FIELD: Manner.NO_FIELDS,
    Step.END_OF_HEADER: Manner.NO_END_OF_HEADER,
    Step.BODY: Manner.NO_BODY,
}
_SILENT: Mapping[Step, Manner] = {
    Step.CONNECT: Manner.SILENT_CONNECT,
    Step.HELO: Manner.SILENT_HELO,
    Step.MAIL: Manner.SILENT_MAIL,
    Step.RCPT: Manner.SILENT_RCPT,
    Step.DATA: Manner.SILENT_DATA,
    Step.FIELD: Manner.SILENT_FIELDS,
    Step.END_OF_HEADER: Manner.SILENT_END_OF_HEADER,
    Step.BODY: Manner.SILENT_BODY,
}
_MACRO_STAGES = (
    Step.CONNECT, Step.HELO, Step.MAIL, Step.RCPT, Step.DATA, Step.END_OF_MESSAGE, Step.END_OF_HEADER,
)  # fmt: skip
"""By the numbers with which a milter says which macros it wants at a step."""
DATA_SINCE = 4
"""The version that brought the step DATA."""
QUIT_NC_SINCE = 6
"""The version that brought another connection after the first."""


# --- what is sent


def packet(letter: bytes, data: bytes = b"") -> bytes:
    """One packet."""
    return (len(data) + 1).to_bytes(4, "big") + letter + data


ABORT = packet(b"A")
QUIT = packet(b"Q")
QUIT_NC = packet(b"K")


def negotiate(actions: Action) -> bytes:
    """The first packet: our version, what a milter may do, and how it may want to be asked."""
    numbers = (VERSION, int(actions), int(ALL_MANNERS))
    return packet(b"O", b"".join(number.to_bytes(4, "big") for number in numbers))


def macros(step: Step, pairs: Iterable[tuple[str, str]]) -> bytes:
    """What belongs to the step that follows; nothing at all if there is nothing to say. Macros that have no room
    in a packet are left out."""
    data = step.value
    for name, value in pairs:
        pair = strings(name if len(name) == 1 else f"{{{name}}}", value)
        if len(data) + len(pair) <= MAX_DATA:
            data += pair
    return packet(b"D", data) if len(data) > 1 else b""


def strings(*texts: str) -> bytes:
    """Strings as packets have them: a NUL in one would be its end, and is left out."""
    return b"".join(text.replace("\0", "").encode() + b"\0" for text in texts)


def client(name: str, host: str, port: int) -> bytes:
    """The data of CONNECT: how the client is called, and its IP address; "" on a unix socket."""
    if not host:
        return strings(name) + b"U"
    family, shown = (b"6", f"IPv6:{host}") if ":" in host else (b"4", host)
    return strings(name) + family + port.to_bytes(2, "big") + strings(shown)


# --- what is answered


class Verdict(Enum):
    """Answers that consist of their letter."""

    CONTINUE = b"c"
    ACCEPT = b"a"
    REJECT = b"r"
    TEMPFAIL = b"t"
    DISCARD = b"d"
    SKIP = b"s"
    PROGRESS = b"p"
    SHUTDOWN = b"4"
    CONNECTION_FAILED = b"f"


@dataclass(frozen=True, slots=True)
class Said:
    """A refusal in the milter's words: `code` 400 to 599, `enhanced` as "5.7.1" or ""."""

    code: int
    enhanced: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Options:
    """What a milter chose; `macros` are those it wants, at steps of which it said so."""

    version: int
    actions: Action
    manners: Manner
    macros: Mapping[Step, frozenset[str]] = field(default_factory=dict)

    def wants(self, step: Step) -> bool:
        """Whether it is told of this step."""
        if step is Step.DATA and self.version < DATA_SINCE:
            return False
        return not self.manners & _UNWANTED.get(step, Manner(0))

    def answers(self, step: Step) -> bool:
        """Whether it says something to it."""
        return not self.manners & _SILENT.get(step, Manner(0))


@dataclass(frozen=True, slots=True)
class AddField:
    """Below all others."""

    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class InsertField:
    """Below so many others; our own Received counts."""

    index: int
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class ChangeField:
    """Of the fields of this name, number `index` (from 1) gets another value, or is gone if that is empty."""

    index: int
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class ReplaceBody:
    """A piece of the body that stands for the whole of the old one."""

    data: bytes


@dataclass(frozen=True, slots=True)
class AddRecipient:
    """`path` with or without its brackets, `parameters` as RCPT has them."""

    path: bytes
    parameters: bytes = b""


@dataclass(frozen=True, slots=True)
class DeleteRecipient:
    """`path` with or without its brackets."""

    path: bytes


@dataclass(frozen=True, slots=True)
class ChangeSender:
    """`path` with or without its brackets, `parameters` as MAIL has them."""

    path: bytes
    parameters: bytes = b""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Somebody should look at the message before its recipients do."""

    reason: str


Modification = (
    AddField | InsertField | ChangeField | ReplaceBody | AddRecipient | DeleteRecipient | ChangeSender | Quarantine
)
Answer = Verdict | Said | Options | Modification

NEEDED: Mapping[type[Modification], Action] = {
    AddField: Action.ADD_FIELDS,
    InsertField: Action.ADD_FIELDS,
    ChangeField: Action.CHANGE_FIELDS,
    ReplaceBody: Action.CHANGE_BODY,
    AddRecipient: Action.ADD_RECIPIENTS | Action.ADD_RECIPIENTS_WITH_PARAMETERS,
    DeleteRecipient: Action.DELETE_RECIPIENTS,
    ChangeSender: Action.CHANGE_SENDER,
    Quarantine: Action.QUARANTINE,
}
"""Of which actions one must have been agreed on."""


class Packets:
    """What a milter sends, cut into packets. Keeps one unfinished packet at most."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._buffer += data

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be asked for."""
        return not self._buffer

    def next(self) -> tuple[bytes, bytes] | None:
        """The letter and the data of the next packet; None if it is not whole yet.
        Raises: Garbage as soon as its length is not that of a packet."""
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        length = int.from_bytes(buffer[:4], "big")
        if not 1 <= length <= MAX_ANSWER:
            raise Garbage(f"a packet of {length} octets")
        if len(buffer) < 4 + length:
            return None
        letter, data = bytes(buffer[4:5]), bytes(buffer[5 : 4 + length])
        del buffer[: 4 + length]
        return letter, data


def answer(letter: bytes, data: bytes) -> Answer:
    """What a packet says. Raises: Garbage."""
    try:
        if letter in _VERDICTS:
            if data:
                raise Garbage(f"{len(data)} octets behind {letter!r}")
            return _VERDICTS[letter]
        return _ANSWERS[letter](data)
    except KeyError:
        raise Garbage(f"an answer {letter!r}") from None
    except (StructError, ValueError):
        raise Garbage(f"an answer {letter!r} of {data[:60]!r}") from None


_VERDICTS = {verdict.value: verdict for verdict in Verdict}
_NAME = re.compile(rb"[!-9;-~]{1,200}")
_REPLY = re.compile(rb"([45][0-9]{2})([ -]|$)(?:([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$))?(.*)", re.DOTALL)


def _texts(data: bytes, least: int, most: int) -> list[bytes]:
    """Strings that end in NUL. Raises: ValueError."""
    found = data.split(b"\0")
    if found.pop() or not least <= len(found) <= most:
        raise ValueError("not such strings")
    return found


def _field(data: bytes) -> tuple[bytes, bytes]:
    name, value = _texts(data, 2, 2)
    if not _NAME.fullmatch(name):
        raise ValueError("no name of a field")
    return name, value


def _indexed(data: bytes) -> tuple[int, bytes, bytes]:
    (index,) = unpack("!I", data[:4])
    return (index, *_field(data[4:]))


def _options(data: bytes) -> Options:
    version, actions, manners = unpack("!III", data[:12])
    if not OLDEST_VERSION <= version <= VERSION:
        raise Garbage(f"version {version} of the protocol")
    if actions & ~int(ALL_ACTIONS) or manners & ~int(ALL_MANNERS):  # of flags, ~ is what has a name
        raise Garbage(f"options {actions:#x}, {manners:#x} that were not offered")
    wanted: dict[Step, frozenset[str]] = {}
    rest = data[12:]
    while rest:
        (stage,) = unpack("!I", rest[:4])
        names, nul, rest = rest[4:].partition(b"\0")
        if not nul or stage >= len(_MACRO_STAGES):
            raise ValueError("no list of macros")
        words = names.decode("utf-8", "replace").replace(",", " ").split()
        wanted[_MACRO_STAGES[stage]] = frozenset(word.strip("{}") for word in words)
    return Options(version, Action(actions), Manner(manners), wanted)


def _said(data: bytes) -> Said:
    """ "550 5.7.1 text", or several such lines. In Sendmail the text is a format, in which %% stands for %."""
    (text,) = _texts(data, 1, 1)
    found: list[tuple[bytes, bytes, str]] = []
    for line in re.split(rb"[\r\n]+", text.rstrip(b"\r\n"))[:MAX_REPLY_LINES]:
        match = _REPLY.fullmatch(line)
        if match is None:
            raise ValueError("no reply")
        code, _, enhanced, words = match.groups()
        shown = re.sub(rb"[^ -~]", b"?", words.replace(b"%%", b"%"))[:MAX_REPLY_LINE]
        found.append((code, enhanced or b"", shown.decode("ascii")))
    code, enhanced, _ = found[0]
    if any(line[0] != code for line in found):
        raise ValueError("several codes")
    if enhanced and enhanced[:1] != code[:1]:
        enhanced = b""  # RFC 2034 §4: its class is that of the code
    return Said(int(code), enhanced.decode("ascii"), tuple(words for _, _, words in found))


def _recipient(data: bytes) -> AddRecipient:
    return AddRecipient(*_texts(data, 1, 2))


_ANSWERS: Mapping[bytes, Callable[[bytes], Answer]] = {
    b"O": _options,
    b"y": _said,
    b"h": lambda data: AddField(*_field(data)),
    b"i": lambda data: InsertField(*_indexed(data)),
    b"m": lambda data: ChangeField(*_indexed(data)),
    b"b": ReplaceBody,
    b"+": lambda data: AddRecipient(*_texts(data, 1, 1)),
    b"2": _recipient,
    b"-": lambda data: DeleteRecipient(*_texts(data, 1, 1)),
    b"e": lambda data: ChangeSender(*_texts(data, 1, 2)),
    b"q": lambda data: Quarantine(re.sub(r"[^ -~]", "?", _texts(data, 1, 1)[0].decode("utf-8", "replace"))),
}
