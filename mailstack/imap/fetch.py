"""FETCH: data items as the octets of a response (RFC 9051 §6.4.5 and §7.5.2, RFC 3501, RFC 3516).

`plan` sorts what a command asks for into columns, which an open mailbox has in memory, and content,
which `FetchPlan.render` makes from a message's octets in a worker. One response is

    plan.render_column(...)  b" "  the pieces of plan.render(octets)  b")\\r\\n"
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from mailstack.errors import BadSyntax, FramingLost
from mailstack.imap.fetch_kept import HEADER_SUBSETS, Kept, header_subset, kept, part_label, section_label
from mailstack.imap.wire import encode
from mailstack.imap.wire.values import (
    BinarySection,
    BinarySize,
    BodySection,
    ColumnItem,
    ContentItem,
    FetchAtt,
    FetchItem,
    Partial,
    Section,
    SectionText,
)
from mailstack.mail import mime, transfer
from mailstack.mail.header import block, body_start, subset
from mailstack.ports import MEMORY_LIMIT, Connection, Mailbox, Octets

MAX_ITEMS = 250
"""Different data items of one FETCH; ours, above a client that wants the MIME header of every part."""
INLINE_LIMIT = 2 * MEMORY_LIMIT
"""Octets of one message that `render` returns as bytes, headers and structure aside; the rest is Slices."""
SMALL = 4096
"""A section of so many octets is never a Slice: reading it again costs more than holding it."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The inside of a literal that is read while it is sent: octets [start, end) of the message with
    `encoding` undone ("" for none), and of what that gives `length` octets from `skip` on."""

    start: int
    end: int
    encoding: bytes = b""
    skip: int = 0
    length: int = -1
    """-1 for all."""

    def take(self) -> SliceReader:
        """Makes the inside of the literal from the octets of [start, end), given in order."""
        return SliceReader(self)


class SliceReader:
    """Undoes a Slice's encoding and cuts out what is wanted."""

    def __init__(self, piece: Slice) -> None:
        found = transfer.decoder(piece.encoding)
        assert found is not None, "render makes no Slice of an unknown encoding"
        self._decoder = found
        self._skip = piece.skip
        self._left = piece.length

    def feed(self, data: bytes) -> bytes:
        return self._cut(self._decoder.feed(data))

    def finish(self) -> bytes:
        return self._cut(self._decoder.finish())

    def _cut(self, data: bytes) -> bytes:
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        if self._left >= 0:
            data = data[: self._left]
            self._left -= len(data)
        return data


class Trouble(Enum):
    """What stands at the end of the pieces when an item could not be made."""

    UNKNOWN_CTE = "UNKNOWN-CTE"
    """The item is left out, and the command must end with NO [UNKNOWN-CTE] (RFC 9051 §7.5.2)."""


Piece = bytes | Slice | Trouble


async def send_slice(connection: Connection, mailbox: Mailbox, uid: int, piece: Slice) -> None:
    """Write the inside of a literal whose head is written already.
    Raises: FramingLost, when the message vanishes half-way; what Connection.drain raises."""
    reader = piece.take()
    for start in range(piece.start, piece.end, MEMORY_LIMIT):
        data = await mailbox.read(uid, start, min(start + MEMORY_LIMIT, piece.end))
        if data is None:
            raise FramingLost("a message vanished while it was sent")
        connection.write(reader.feed(data))
        await connection.drain()
    connection.write(reader.finish())


# --- the plan -------------------------------------------------------------------------------

_COLUMNS = (FetchAtt.UID, FetchAtt.FLAGS, FetchAtt.INTERNALDATE, FetchAtt.RFC822_SIZE)


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """What one FETCH asks for. `columns` and `content` have each item once, in the client's order."""

    columns: tuple[FetchAtt | ColumnItem, ...]
    content: tuple[FetchItem, ...]
    needs_content: bool
    needs_measure: bool
    """Whether sizes or internal dates are wanted, so that Mailbox.measure comes first."""
    sets_seen: bool
    utf8: bool
    head: bytes
    """The format of a response up to the last column."""
    kept: tuple[Kept, ...] = ()
    """How each content item is made, when all of them are small and kept once they are made."""

    def render(self, octets: Octets) -> list[Piece]:
        """The content items of one message, with spaces between and none around. Pure; for
        Mailbox.examine. Bytes never stand next to bytes."""
        return _Rendering(octets, self.utf8).all(self.content)

    def render_column(
        self, seq: int, uid: int, flags: bytes, size: int, internal_date: float, more: Iterable[bytes] = ()
    ) -> bytes:
        """One response up to its last column, without the closing parenthesis. `more` are the values of its
        ColumnItems."""
        added = iter(more)
        row = [
            next(added) if isinstance(att, ColumnItem) else _column(att, uid, flags, size, internal_date)
            for att in self.columns
        ]
        return self.head % (seq, *row)

    @property
    def extension_columns(self) -> tuple[ColumnItem, ...]:
        """The columns that extensions added."""
        return tuple(att for att in self.columns if isinstance(att, ColumnItem))

    def render_columns(
        self,
        seqs: Iterable[int],
        uids: Iterable[int],
        flags: Iterable[int] = (),
        sizes: Iterable[int] = (),
        dates: Iterable[float] = (),
        *,
        names: encode.FlagLists,
        contents: Iterable[bytes] | None = None,
        more: Iterable[Iterable[bytes]] = (),
    ) -> bytes:
        """Whole responses for many messages: parallel columns, of which those that the plan does not have
        may be left out, and the content items of each message if any are wanted. `flags` are bits; `more` has
        a column for each of `extension_columns`. For some
        thousand messages at a time, so that memory and others' turns are bounded."""
        columns: list[Iterable[object]] = [seqs]
        added = iter(more)
        for att in self.columns:
            if isinstance(att, ColumnItem):
                columns.append(next(added))
            elif att is FetchAtt.UID:
                columns.append(uids)
            elif att is FetchAtt.FLAGS:
                columns.append(map(names.__getitem__, flags))
            elif att is FetchAtt.RFC822_SIZE:
                columns.append(sizes)
            else:
                columns.append(map(encode.date_time, dates))
        form = self.head
        if contents is not None:
            form += b" %b" if self.columns else b"%b"
            columns.append(contents)
        return b"".join(map((form + b")\r\n").__mod__, zip(*columns, strict=True)))


def _column(att: FetchAtt, uid: int, flags: bytes, size: int, internal_date: float) -> int | bytes:
    if att is FetchAtt.UID:
        return uid
    if att is FetchAtt.FLAGS:
        return flags
    return size if att is FetchAtt.RFC822_SIZE else encode.date_time(internal_date)


def plan(items: Sequence[FetchItem], *, utf8: bool = False, uid_only: bool = False) -> FetchPlan:
    """Raises: BadSyntax, for too many items."""
    unique = tuple(dict.fromkeys(items))
    if len(unique) > MAX_ITEMS:
        raise BadSyntax(f"at most {MAX_ITEMS} different data items")
    columns = tuple(item for item in unique if isinstance(item, FetchAtt | ColumnItem) and _is_column(item))
    content = tuple(item for item in unique if item not in columns)
    directive = {FetchAtt.UID: b"%d", FetchAtt.RFC822_SIZE: b"%d"}
    inside = b" ".join(
        b"%b %%b" % att.name.encode()
        if isinstance(att, ColumnItem)
        else b"%b %b" % (att.value.encode(), directive.get(att, b"%b"))
        for att in columns
    )
    return FetchPlan(
        columns,
        content,
        needs_content=bool(content),
        needs_measure=FetchAtt.INTERNALDATE in columns or FetchAtt.RFC822_SIZE in columns,
        sets_seen=any(_sets_seen(item) for item in content),
        utf8=utf8,
        # Built with % rather than +, so that the directives stay for later.
        head=b"* %%d %b (%b" % (b"UIDFETCH" if uid_only else b"FETCH", inside),
        kept=kept(content, utf8=utf8),
    )


def _is_column(item: FetchAtt | ColumnItem) -> bool:
    return isinstance(item, ColumnItem) or item in _COLUMNS


def _sets_seen(item: FetchItem) -> bool:
    if isinstance(item, BodySection | BinarySection):
        return not item.peek
    return item is FetchAtt.RFC822 or item is FetchAtt.RFC822_TEXT


# --- the content ----------------------------------------------------------------------------


def part_at(message: mime.Part, numbers: Sequence[int]) -> mime.Part | None:
    """The part of a section-part (RFC 9051 §6.4.5.1): a multipart counts its parts, anything else has
    part 1, itself; a message inside a part goes on counting in its own."""
    part, inside = message, message.children or (message,)
    for number in numbers:
        if number > len(inside):
            return None
        part = inside[number - 1]
        inside = part.children
        if part.message is not None:
            inside = part.message.children or (part.message,)
    return part


def located(octets: Octets, section: Section, partial: Partial | None) -> bytes | Slice | None:
    """What BODY[section]<partial> has inside its literal; None if there is no such part. A length of 0 goes
    to the end. Pure; for Mailbox.examine."""
    extent = _Rendering(octets, utf8=False).extent(section)
    if extent is None:
        return None
    start, end = extent
    if section.text in (SectionText.HEADER_FIELDS, SectionText.HEADER_FIELDS_NOT):
        names = frozenset(name.lower() for name in section.fields)
        found = subset(block(octets, start, end), names, exclude=section.text is SectionText.HEADER_FIELDS_NOT)
        return found if partial is None else found[partial.offset :][: partial.length or None]
    if partial is not None:
        start = min(start + partial.offset, end)
        end = min(start + partial.length, end) if partial.length else end
    return octets[start:end] if end - start <= SMALL else Slice(start, end)


class _Rendering:
    """The response of one message as it grows."""

    def __init__(self, octets: Octets, utf8: bool) -> None:
        self._octets = octets
        self._utf8 = utf8
        self._structure: mime.Part | None = None
        self._body_start = -1
        self._inline = INLINE_LIMIT
        self._pieces: list[Piece] = []
        self._text: list[bytes] = []
        self._space = b""
        self._unknown = False

    def all(self, items: Iterable[FetchItem]) -> list[Piece]:
        for item in items:
            self._item(item)
        self._flush()
        if self._unknown:
            self._pieces.append(Trouble.UNKNOWN_CTE)
        return self._pieces

    def _item(self, item: FetchItem) -> None:
        match item:
            case BodySection():
                self._body_section(item)
            case BinarySection():
                self._binary(item)
            case BinarySize():
                self._binary_size(item)
            case FetchAtt():
                self._word(item)
            case ContentItem(name, render):
                self._say(name.encode(), render(self._octets, self._utf8))
            case ColumnItem():
                raise AssertionError("columns are not rendered from content")
            case _:
                assert_never(item)

    def _word(self, att: FetchAtt) -> None:
        octets, label = self._octets, att.value.encode()
        match att:
            case FetchAtt.ENVELOPE:
                self._say(label, encode.envelope_of(block(octets, 0, self._header_end()), utf8=self._utf8))
            case FetchAtt.BODY | FetchAtt.BODYSTRUCTURE:
                extended = att is FetchAtt.BODYSTRUCTURE
                self._say(label, encode.body(octets, self._root(), extended=extended, utf8=self._utf8))
            case FetchAtt.RFC822:
                self._span(label, 0, len(octets))
            case FetchAtt.RFC822_HEADER:
                self._span(label, 0, self._header_end())
            case FetchAtt.RFC822_TEXT:
                self._span(label, self._header_end(), len(octets))
            case _:
                assert att in _COLUMNS, "columns are not rendered from content"

    # What is written

    def _say(self, label: bytes, value: bytes) -> None:
        self._text.append(b"%b%b %b" % (self._space, label, value))
        self._space = b" "

    def _flush(self) -> None:
        if self._text:
            self._pieces.append(b"".join(self._text))
            self._text = []

    def _span(self, label: bytes, start: int, end: int, partial: Partial | None = None) -> None:
        """Octets [start, end), or the part of them that is wanted, as nstring."""
        if partial is not None:
            start = min(start + partial.offset, end)
            end = min(start + partial.length, end)
        size = end - start
        if not size:
            self._say(label, b'""')
        elif self._fits(size):
            self._say(label, encode.literal(self._octets[start:end]))
        else:
            self._stream(label, b"{%d}\r\n" % size, Slice(start, end))

    def _fits(self, size: int) -> bool:
        if size > SMALL and (size > MEMORY_LIMIT or size > self._inline):
            return False
        self._inline -= size
        return True

    def _stream(self, label: bytes, head: bytes, piece: Slice) -> None:
        self._say(label, head)
        self._flush()
        self._pieces.append(piece)

    # Where things lie

    def _header_end(self) -> int:
        if self._body_start < 0:
            self._body_start = body_start(self._octets, 0, len(self._octets))
        return self._body_start

    def _root(self) -> mime.Part:
        if self._structure is None:
            self._structure = mime.scan(self._octets)
        return self._structure

    def extent(self, section: Section) -> tuple[int, int] | None:
        """Where the section lies, for a header subset the whole header; None if there is no such part."""
        if not section.part and section.text is not SectionText.MIME:
            end = len(self._octets)
            if section.text is SectionText.ALL:
                return 0, end
            return (self._header_end(), end) if section.text is SectionText.TEXT else (0, self._header_end())
        part = part_at(self._root(), section.part)
        if part is None:
            return None
        if section.text is SectionText.ALL:
            return part.body_start, part.end
        if section.text is SectionText.MIME:
            return part.header_start, part.body_start
        message = part.message
        if message is None:
            return None
        if section.text is SectionText.TEXT:
            return message.body_start, message.end
        return message.header_start, message.body_start

    # BODY[…] and BINARY[…]

    def _body_section(self, item: BodySection) -> None:
        section, partial = item.section, item.partial
        label = b"BODY[%b]%b" % (section_label(section), _origin(partial))
        extent = self.extent(section)
        if extent is None:
            self._say(label, b"NIL")
        elif section.text in HEADER_SUBSETS:
            self._say(label, header_subset(block(self._octets, *extent), section, partial))
        else:
            self._span(label, *extent, partial)

    def _binary(self, item: BinarySection) -> None:
        label = b"BINARY[%b]%b" % (part_label(item.part), _origin(item.partial))
        found = self._encoded(item.part)
        if found is None:
            self._say(label, b"NIL")
            return
        start, end, encoding = found
        if transfer.decoder(encoding) is None:
            self._unknown = True
            return
        partial = item.partial
        skip, length = (partial.offset, partial.length) if partial is not None else (0, end - start)
        piece = Slice(start, end, encoding, skip, length)
        # No encoding makes anything longer than it is, so this bounds what is held.
        if self._fits(min(end - start, length)):
            data = b"".join(self._decoded(piece))
            self._say(label, encode.literal8(data) if b"\0" in data else encode.literal(data) if data else b'""')
            return
        size = sum(map(len, self._decoded(piece)))
        self._stream(label, b"~{%d}\r\n" % size, Slice(start, end, encoding, skip, size))

    def _binary_size(self, item: BinarySize) -> None:
        found = self._encoded(item.part)
        if found is not None and transfer.decoder(found[2]) is None:
            self._unknown = True
            return
        size = sum(map(len, self._decoded(Slice(*found)))) if found is not None else 0
        self._say(b"BINARY.SIZE[%b]" % part_label(item.part), b"%d" % size)

    def _encoded(self, numbers: tuple[int, ...]) -> tuple[int, int, bytes] | None:
        """Where a part's body lies, and its encoding; what has parts inside has none (RFC 2045 §6.4)."""
        if not numbers:
            return 0, len(self._octets), b""
        part = part_at(self._root(), numbers)
        if part is None:
            return None
        return part.body_start, part.end, b"" if part.children or part.message is not None else part.encoding

    def _decoded(self, piece: Slice) -> Iterable[bytes]:
        reader, left = piece.take(), piece.length  # -1 never gets to 0
        for start in range(piece.start, piece.end, MEMORY_LIMIT):
            data = reader.feed(self._octets[start : min(start + MEMORY_LIMIT, piece.end)])
            left -= len(data)
            yield data
            if left == 0:
                return
        yield reader.finish()


def _origin(partial: Partial | None) -> bytes:
    return b"" if partial is None else b"<%d>" % partial.offset
