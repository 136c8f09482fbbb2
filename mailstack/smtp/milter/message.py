"""The message as milters see it and change it: its header in memory, its body where the spool has it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from mailstack.ports import Blob, Sink, Spool
from mailstack.smtp.header_tap import MAX_HEADER
from mailstack.smtp.milter.stream import Broken
from mailstack.smtp.replies import Reply
from mailstack.smtp.transaction import Transaction
from mailstack.smtp.wire.framing import NewlineRepair
from mailstack.smtp.wire.milter import MAX_DATA, AddField, ChangeField, InsertField

MAX_FIELDS = 2000
"""Fields of a header that milters are asked about one by one."""
MAX_SHOWN_FIELD = MAX_DATA - 2
"""Octets of a field's name and value; a milter sees no more of it."""
HEADER_TOO_LARGE = Reply(552, "5.3.4", "Message header exceeds the limit")
_BETWEEN_FIELDS = re.compile(rb"(?<=\r\n)(?![ \t]|\Z)")
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")


@dataclass(slots=True)
class Field:
    """One field with its line ends; `name` in lower case, b"" for lines that are no field and are left alone."""

    name: bytes
    octets: bytes


class Message:
    """A message between its mail data and its delivery. Changes are seen by `transaction` after `finish`."""

    __slots__ = ("_body_at", "_changed", "_ours", "_spool", "_transaction", "fields")

    def __init__(self, transaction: Transaction, spool: Spool, fields: list[Field], body_at: int) -> None:
        self._transaction = transaction
        self._spool = spool
        self._body_at = body_at
        self._changed = False
        self._ours = Field(b"", b"")
        self.fields = [self._ours, *fields]
        """Among them, without octets, the place of our own trace field, which milters do not see but count."""

    @classmethod
    async def of(cls, transaction: Transaction, spool: Spool, lacking: bytes) -> Message | None:
        """`lacking` are fields that we add ourselves, and that milters are to see. None if its header is larger
        than they could be shown. Raises: Refused."""
        blob, header = await transaction.finished(), transaction.tap.header
        end = len(header)
        between = await spool.read(blob, end, end + 2)
        if end > MAX_HEADER or between not in (b"", b"\r\n"):
            return None  # its end was not seen, but by chance
        if header and not header.endswith(b"\r\n"):
            header += b"\r\n"
        fields = split(lacking + header)
        if len(fields) > MAX_FIELDS:
            return None
        message = cls(transaction, spool, fields, end + len(between))
        message._changed = bool(lacking)
        return message

    async def body(self) -> AsyncIterator[bytes]:
        """The body in pieces that milters take. Raises: Refused."""
        blob = self._blob
        for start in range(self._body_at, blob.size, MAX_DATA):
            yield await self._spool.read(blob, start, min(start + MAX_DATA, blob.size))

    def replace_body(self, blob: Blob) -> None:
        """Another body; the old one is discarded."""
        self._blob.discard()
        self._transaction.blob = blob
        self._body_at = 0
        self._changed = True

    def change(self, modification: AddField | InsertField | ChangeField, *, leading_space: bool) -> None:
        """Change the header. With `leading_space` the value begins right behind the colon."""
        self._changed = True
        name, value = modification.name, modification.value
        made = Field(name.lower(), name + b":" + (b"" if leading_space else b" ") + _folded(value) + b"\r\n")
        match modification:
            case AddField():
                self.fields.append(made)
            case InsertField(index=index):
                self.fields.insert(index, made)
            case ChangeField(index=index):
                self._change(max(index, 1), made, gone=not value)

    def finish(self) -> None:
        """What was changed is the message from now on."""
        self._transaction.complete = True
        if self._changed:
            octets = [field.octets for field in self.fields]
            ours = next(place for place, field in enumerate(self.fields) if field is self._ours)
            self._transaction.top = b"".join(octets[:ours])
            self._blob.behead(self._body_at, b"".join(octets[ours:]) + b"\r\n")

    @property
    def _blob(self) -> Blob:
        assert self._transaction.blob is not None, "a message that was not kept"
        return self._transaction.blob

    def _change(self, index: int, made: Field, *, gone: bool) -> None:
        places = [place for place, field in enumerate(self.fields) if field.name == made.name]
        if index > len(places):
            if not gone:
                self.fields.append(made)
        elif gone:
            del self.fields[places[index - 1]]
        else:
            self.fields[places[index - 1]] = made


class NewBody:
    """A body on its way from a milter to the spool."""

    __slots__ = ("_limit", "_lines", "_sink", "is_ascii")

    def __init__(self, sink: Sink, limit: int) -> None:
        self._sink = sink
        self._limit = limit
        self._lines = NewlineRepair()
        self.is_ascii = True

    async def take(self, piece: bytes) -> None:
        """Raises: Broken, Refused."""
        if self._sink.size + len(piece) > self._limit:
            raise Broken("it makes a message that is too large")
        self.is_ascii = self.is_ascii and piece.isascii()
        await self._sink.write(self._lines.feed(piece))

    async def finish(self) -> Blob:
        """Raises: Refused."""
        await self._sink.write(self._lines.finish())
        return await self._sink.finish()

    def discard(self) -> None:
        """Harmless after finish."""
        self._sink.discard()


def split(header: bytes) -> list[Field]:
    """The fields of a header whose lines end in CRLF."""
    fields: list[Field] = []
    for octets in _BETWEEN_FIELDS.split(header) if header else ():
        match = _FIELD.match(octets)
        fields.append(Field(match.group(1).lower() if match else b"", octets))
    return fields


def shown(field: Field, *, leading_space: bool) -> bytes:
    """The data of a field's packet. The lines of its value end in LF; a NUL would be its end."""
    name, _, value = field.octets.partition(b":")
    name = name.rstrip(b" \t")
    value = value.removesuffix(b"\r\n").replace(b"\r\n", b"\n").replace(b"\0", b"")
    if not leading_space and value[:1] in (b" ", b"\t"):
        value = value[1:]
    return name + b"\0" + value[: MAX_SHOWN_FIELD - len(name)] + b"\0"


def _folded(value: bytes) -> bytes:
    """A value whose lines are continued by each other, whatever a milter sends: no other field begins in it, and
    the header does not end in it."""
    lines = [line for line in re.split(rb"[\r\n]+", value.replace(b"\0", b"")) if line.strip(b" \t")]
    for number, line in enumerate(lines):
        if number and line[:1] not in (b" ", b"\t"):
            lines[number] = b"\t" + line
    return b"\r\n".join(lines)
