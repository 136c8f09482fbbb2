"""Maildir++ trees, mbox files and .eml files as targets. What is there is never written over."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from mailstack.mail import header
from mailstack.mail.mailbox_name import to_modified_utf7
from mailstack.ports import FIRST_KEYWORD, MAX_KEYWORDS, Octets
from mailstack.store.maildir import layout, names
from mailstack.transfer import mbox
from mailstack.transfer.maildir_names import (
    DOVECOT_KEYWORDS,
    SPECIAL_USE,
    dovecot_keywords,
    flag_words,
)
from mailstack.transfer.outgoing import (
    Exported,
    Occupied,
    Outgoing,
    size_with_lf,
    slices,
    with_lf,
)
from mailstack.transfer.sinks import Disk, Sink
from mailstack.transfer.tree_source import FLAGS_FILE
from mailstack.transfer.values import DELIMITER

NOTED_EVERY = 500
"""Messages of an mbox file after which it is noted how far it is whole."""


class MaildirTarget:
    """A `Target`: a Maildir++ tree as Dovecot and Courier have it, with LF line ends."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._subscribed: list[str] = []
        self._uses: list[tuple[str, str]] = []

    def box(self, mailbox: Exported) -> MaildirBox:
        directory = layout.directory_name(mailbox.name)
        above = f"{directory}/" if directory else ""
        self._sink.directory(directory)
        for name in layout.SUBDIRECTORIES:
            self._sink.directory(above + name)
        if directory and self._sink.read(above + layout.FOLDER_MARK) is None:
            self._sink.replace(above + layout.FOLDER_MARK, b"")
        if mailbox.subscribed:
            self._subscribed.append("\t".join(to_modified_utf7(part) for part in mailbox.name.split(DELIMITER)))
        if mailbox.special_use:
            self._uses.append((mailbox.special_use, to_modified_utf7(mailbox.name)))
        return MaildirBox(self._sink, above, mailbox.uid_validity)

    def close(self, *, whole: bool) -> None:
        if whole and self._sink.read("subscriptions") is None:
            self._sink.replace("subscriptions", "\n".join(["V\t2", "", *self._subscribed, ""]).encode())
        if whole and self._uses and self._sink.read(SPECIAL_USE) is None:
            self._sink.replace(
                SPECIAL_USE,
                "".join(f"{use} {name}\n" for use, name in self._uses).encode(),
            )
        self._sink.close(whole=whole)


class MaildirBox:
    """A message's name is made of its UID, so that the next run knows it again."""

    def __init__(self, sink: Sink, above: str, validity: int) -> None:
        self._sink = sink
        self._above = above
        self._validity = validity
        self.refused: list[tuple[int, str]] = []
        self._keywords = dovecot_keywords(sink.read(above + DOVECOT_KEYWORDS) or b"")
        self._there = {
            name.partition(",")[0].partition(":")[0].partition(".")[2]
            for directory in ("cur", "new")
            for name in sink.names(above + directory)
        }

    def known(self, uid: int) -> bool:
        return self._unique(uid) in self._there

    def _unique(self, uid: int) -> str:
        return f"V{self._validity}U{uid}.mailstack"

    def put(self, message: Outgoing) -> None:
        size = size_with_lf(message.octets)
        base = f"{message.date}.{self._unique(message.uid)},S={size},W={len(message.octets)}"
        bits = int(message.flags.system)
        for keyword in sorted(message.flags.keywords):
            bits |= self._bit(keyword)
        name = names.join(base, names.letters(bits))
        part = f"{self._above}tmp/{base}"
        self._sink.file(
            f"{self._above}cur/{name}",
            with_lf(message.octets),
            size,
            message.date,
            part=part,
        )

    def _bit(self, keyword: str) -> int:
        if keyword not in self._keywords:
            if len(self._keywords) >= MAX_KEYWORDS:
                return 0
            self._keywords.append(keyword)
            lines = (f"{number} {name}\n" for number, name in enumerate(self._keywords) if name)
            self._sink.replace(self._above + DOVECOT_KEYWORDS, "".join(lines).encode())
        return 1 << (FIRST_KEYWORD + self._keywords.index(keyword))

    def end(self) -> None:
        """Each file is whole when it is there."""

    def close(self) -> None:
        """Nothing is open."""


class EmlTarget:
    """A `Target`: a directory a mailbox, a file <UID>.eml a message, and beside them a file with the flags."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def box(self, mailbox: Exported) -> EmlBox:
        self._sink.directory(mailbox.name)
        return EmlBox(self._sink, mailbox)

    def close(self, *, whole: bool) -> None:
        self._sink.close(whole=whole)


class EmlBox:
    """Octets are those of the store. The first line beside them says whose UIDs these are."""

    def __init__(self, sink: Sink, mailbox: Exported) -> None:
        self._sink = sink
        self._above = mailbox.name
        self.refused: list[tuple[int, str]] = []
        self._flags = f"{mailbox.name}/{FLAGS_FILE}"
        self._there = {name for name in sink.names(mailbox.name) if name.endswith(".eml")}
        first = f"# {mailbox.mailbox_id} {mailbox.uid_validity}\n".encode()
        before = sink.read(self._flags)
        if (before is None and self._there) or (before is not None and not before.startswith(first)):
            raise Occupied(f"{mailbox.name} has .eml files of another mailbox")
        if before is None:
            sink.append(self._flags, first)

    def known(self, uid: int) -> bool:
        return f"{uid:08d}.eml" in self._there

    def put(self, message: Outgoing) -> None:
        name = f"{message.uid:08d}.eml"
        words = flag_words(message.flags)
        if words:  # first, since the next run passes over what is there
            self._sink.append(self._flags, f"{name}\t{' '.join(words)}\n".encode())
        path, octets = f"{self._above}/{name}", message.octets
        self._sink.file(
            path,
            slices(octets),
            len(octets),
            message.date,
            part=f"{self._above}/.{name}.part",
        )

    def end(self) -> None:
        """Each file is whole when it is there."""

    def close(self) -> None:
        """Nothing is open."""


class MboxTarget:
    """A `Target`: an mboxrd file a mailbox, NAME.mbox; below a hierarchy's names, directories."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def box(self, mailbox: Exported) -> MboxBox:
        above, _, _ = mailbox.name.rpartition(DELIMITER)
        self._sink.directory(above)
        path = f"{mailbox.name}.mbox"
        if isinstance(self._sink, Disk):
            return MboxBox(*_continued(self._sink.root / path, mailbox), path)
        return MboxBox(
            cast(BinaryIO, tempfile.TemporaryFile()),
            _Note(None, mailbox),
            path,
            self._sink,
        )

    def close(self, *, whole: bool) -> None:
        self._sink.close(whole=whole)


class _Note:
    """Beside an mbox file: which mailbox it has, up to which UID, and how many octets are whole."""

    def __init__(self, path: Path | None, mailbox: Exported) -> None:
        self._path = path
        self._of = [mailbox.mailbox_id, mailbox.uid_validity]
        self.uid = 0
        self.size = 0
        self.writing = False

    def read(self) -> bool:
        """False if there is none. Raises: Occupied."""
        assert self._path is not None
        try:
            noted = json.loads(self._path.read_text())
            whose, self.uid, self.size, self.writing = (
                noted["of"],
                noted["uid"],
                noted["size"],
                noted["writing"],
            )
        except FileNotFoundError:
            return False
        except (ValueError, KeyError, TypeError):
            raise Occupied(f"{self._path} is damaged") from None
        if whose != self._of:
            raise Occupied(f"{self._path} says that it has another mailbox")
        return True

    def write(self, *, writing: bool) -> None:
        """Durable on return."""
        if self._path is not None:
            noted = {
                "of": self._of,
                "uid": self.uid,
                "size": self.size,
                "writing": writing,
            }
            layout.replace_file(self._path, json.dumps(noted).encode())


def _continued(path: Path, mailbox: Exported) -> tuple[BinaryIO, _Note]:
    """A file to write on, as far as it is whole. Raises: Occupied, OSError."""
    note = _Note(path.with_name(f".{path.name}.mailstack"), mailbox)
    if not note.read():
        if path.exists():
            raise Occupied(f"{path} is there already, and not from an export")
        note.write(writing=True)
        return path.open("x+b"), note
    if not path.exists():
        note.uid = note.size = 0
        note.write(writing=True)
        return path.open("x+b"), note
    size = path.stat().st_size
    if size < note.size or (size != note.size and not note.writing):
        raise Occupied(f"{path} was changed since it was exported")
    file = path.open("r+b")
    note.write(writing=True)
    file.truncate(note.size)
    file.seek(note.size)
    return file, note


class MboxBox:
    """UIDs ascend, so the last one tells what is there."""

    def __init__(self, file: BinaryIO, note: _Note, path: str, sink: Sink | None = None) -> None:
        self._file = file
        self._note = note
        self._path = path
        self._sink = sink
        self._unnoted = 0
        self.refused: list[tuple[int, str]] = []
        os.fchmod(file.fileno(), 0o600)

    def known(self, uid: int) -> bool:
        return uid <= self._note.uid

    def put(self, message: Outgoing) -> None:
        write, octets = self._file.write, message.octets
        write(mbox.from_line(_return_path(octets), message.date))
        write(mbox.status_fields(message.flags))
        last = b"\n"
        for piece, at_line_start in _whole_lines(with_lf(octets)):
            write(mbox.quoted(piece, at_line_start=at_line_start))
            last = piece[-1:]
        write(b"\n" if last == b"\n" else b"\n\n")
        self._note.uid = message.uid
        self._unnoted += 1
        if self._unnoted >= NOTED_EVERY:
            self._noted(writing=True)

    def _noted(self, *, writing: bool) -> None:
        self._unnoted = 0
        self._file.flush()
        os.fsync(self._file.fileno())
        self._note.size = self._file.tell()
        self._note.write(writing=writing)

    def end(self) -> None:
        self._noted(writing=False)
        if self._sink is not None:
            size = self._file.seek(0, 2)
            self._file.seek(0)
            self._sink.file(
                self._path,
                iter(lambda: self._file.read(1 << 20), b""),
                size,
                0,
                part="",
            )

    def close(self) -> None:
        self._file.close()


def _whole_lines(pieces: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Pieces that end where lines do, as far as lines are not longer than `mbox.WINDOW`; and whether each begins
    where a line does."""
    held, at_line_start = b"", True
    for piece in pieces:
        held += piece
        cut = held.rfind(b"\n") + 1
        if not cut and len(held) > mbox.WINDOW:
            cut = len(held)
        if cut:
            yield held[:cut], at_line_start
            at_line_start, held = held[cut - 1 : cut] == b"\n", held[cut:]
    if held:
        yield held, at_line_start


def _return_path(octets: Octets) -> str:
    """The envelope's sender as delivery noted it; "" for the null reverse-path, and if there is none."""
    head = octets[0 : min(len(octets), 16 * 1024)]
    for field in header.fields(head[: header.body_start(head, 0, len(head))]):
        if field.name.lower() == b"return-path":
            found = header.unfold(head[field.value : field.end]).strip(b"<> \t").decode("utf-8", "replace")
            return "" if any(c.isspace() for c in found) else found
    return ""
