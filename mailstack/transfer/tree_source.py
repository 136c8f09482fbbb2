"""Mail in files: Maildirs, mbox files and .eml files, in any mixture, below a directory or in an archive."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from mailstack.mail import header
from mailstack.ports import Flags
from mailstack.transfer import mbox
from mailstack.transfer.maildir_names import (
    SUBDIRECTORIES,
    Maildirs,
    is_beside,
    is_no_mail,
    sidecar,
)
from mailstack.transfer.tree import BROKEN, PIECE, Entry, Tree, whole
from mailstack.transfer.values import (
    DELIMITER,
    INBOX,
    Folder,
    Known,
    Message,
    Trouble,
    Unreadable,
    Unusable,
)

FLAGS_FILE = "mailstack-flags"
"""Beside .eml files: what their octets do not tell."""
MAX_BESIDE = 64 * 1024 * 1024
"""Octets of a file with keywords or the like that are read."""
_SNIFF = 512


@dataclass(slots=True)
class _Found:
    """What the first look at all names has found."""

    maildirs: Maildirs = field(default_factory=Maildirs)
    sidecars: dict[str, Mapping[str, Flags]] = field(default_factory=dict)
    mailboxes: list[str] = field(default_factory=list)
    total: int = 0


class TreeSource:
    """A `values.Source`. `mboxo`: how mbox files are quoted."""

    def __init__(self, tree: Tree, *, mboxo: bool = False) -> None:
        self.identity = ""
        self.ignored = 0
        """Files that are no mail."""
        self._tree = tree
        self._mboxo = mboxo
        self._found = self._survey()
        self.total = self._found.total

    def close(self) -> None:
        """There is nothing to close."""

    def _survey(self) -> _Found:
        found = _Found()
        for entry in self._tree.entries():
            if isinstance(entry, Trouble):
                continue  # told when the messages are read
            parent, name = posixpath.split(entry.path)
            if entry.directory:
                if name == "cur":
                    found.maildirs.paths.add(parent)
                continue
            found.total += entry.size
            if posixpath.basename(parent) == "cur":
                found.maildirs.paths.add(posixpath.dirname(parent))
            try:
                if is_beside(entry.path):
                    found.maildirs.take(entry.path, _content(entry))
                elif name.endswith(".mbox") and not entry.size:
                    found.mailboxes.append(_mbox_name(entry.path))
                elif name == FLAGS_FILE:
                    found.mailboxes.append(parent or INBOX)
                    found.sidecars[parent] = sidecar(_content(entry).decode("utf-8", "replace").splitlines())
            except BROKEN:
                continue  # flags are lost, the messages are not
        found.maildirs.settle(is_archive=self._tree.is_archive)
        return found

    def folders(self) -> Iterator[Folder]:
        maildirs = self._found.maildirs
        for path in sorted(maildirs.paths):
            yield self._maildir_folder(path)
        for name in self._found.mailboxes:
            yield Folder(name)

    def _maildir_folder(self, path: str) -> Folder:
        maildirs = self._found.maildirs
        name = maildirs.mailbox(path)
        subscribed = None if maildirs.subscriptions is None else name in maildirs.subscriptions
        return Folder(name, maildirs.special_uses.get(name, ""), subscribed)

    def messages(self, known: Known) -> Iterator[Message | Trouble]:
        any_mail = False
        for entry in self._tree.entries():
            if isinstance(entry, Trouble):
                yield entry
            elif not entry.directory:
                for found in self._of_entry(entry):
                    any_mail = any_mail or isinstance(found, Message)
                    yield found
        if not (any_mail or self._found.maildirs.paths or self._found.mailboxes):
            raise Unusable(f"{self._tree.name}: no mail is there, as a Maildir, an mbox file or .eml files")

    def _of_entry(self, entry: Entry) -> Iterator[Message | Trouble]:
        place = (
            f"{self._tree.name}{'/' if not self._tree.is_archive else ': '}{entry.path}"
            if entry.path
            else self._tree.name
        )
        parent, name = posixpath.split(entry.path)
        maildir, subdirectory = posixpath.split(parent)
        try:
            if subdirectory in SUBDIRECTORIES and maildir in self._found.maildirs.paths:
                if subdirectory != "tmp" and not name.startswith("."):
                    yield self._maildir_message(entry, place, maildir, name)
            elif name == FLAGS_FILE or is_beside(entry.path) or is_no_mail(entry.path):
                return
            else:
                yield from self._file(entry, place)
        except BROKEN as error:
            yield Trouble(place, _words(error), weight=entry.size)

    def _maildir_message(self, entry: Entry, place: str, maildir: str, name: str) -> Message:
        flags = self._found.maildirs.flags(maildir, name)
        return Message(
            self._maildir_folder(maildir),
            place,
            flags,
            entry.modified,
            _pieces(entry),
            entry.size,
        )

    def _file(self, entry: Entry, place: str) -> Iterator[Message | Trouble]:
        with entry.open() as file:
            beginning = file.read(_SNIFF) or b""
            if not mbox.is_mbox(beginning):
                if _is_message(entry, beginning):
                    yield self._eml(entry, place, _chain(beginning, file))
                else:
                    self.ignored += 1
                return
            with whole(entry, beginning, file) as seekable:
                yield from self._mbox(entry, place, seekable)

    def _eml(self, entry: Entry, place: str, pieces: Iterator[bytes]) -> Message:
        parent, name = posixpath.split(entry.path)
        flags = self._found.sidecars.get(parent, {}).get(name, Flags())
        return Message(Folder(parent or INBOX), place, flags, entry.modified, pieces, entry.size)

    def _mbox(self, entry: Entry, place: str, file: BinaryIO) -> Iterator[Message | Trouble]:
        file.seek(0, 2)
        size, folder = file.tell(), Folder(_mbox_name(entry.path))
        told = False
        for found in mbox.entries(file, size):
            told = True
            where = f"{place}, octet {found.at}"
            message = mbox.content(file, found, mboxo=self._mboxo)
            if mbox.is_internal(message):
                continue
            if found.date is None:
                yield Trouble(where, "its From_ line has no date that can be read", taken=True)
            yield Message(
                folder,
                where,
                message.flags,
                found.date,
                message.pieces,
                found.end - found.at,
                entry.modified,
            )
        if not told:
            yield Trouble(place, "no From_ line that begins a message", weight=entry.size)


def _mbox_name(path: str) -> str:
    """The mailbox of an mbox file: its path, without what programs add to names."""
    parts = [part.removesuffix(".sbd") for part in path.split("/")]
    if len(parts) > 1 and parts[-1] == "mbox" and parts[-2].endswith(".mbox"):
        parts.pop()  # Apple's: a directory NAME.mbox with a file mbox
    parts = [part.removesuffix(".mbox").removesuffix(".mbx") if len(part) > 5 else part for part in parts]
    return INBOX if parts in ([""], ["mbox"], ["mbox.mbox"]) else DELIMITER.join(parts)


def _is_message(entry: Entry, beginning: bytes) -> bool:
    if entry.path.lower().endswith(".eml"):
        return True
    # A file that was named itself may be called anything.
    return (
        not entry.path
        and next(header.fields(beginning), None) is not None
        and next(header.fields(beginning)).start == 0
    )


def _content(entry: Entry) -> bytes:
    with entry.open() as file:
        return b"".join(iter(lambda: file.read(PIECE), b""))[:MAX_BESIDE]


def _pieces(entry: Entry) -> Iterator[bytes]:
    try:
        with entry.open() as file:
            yield from _chain(b"", file)
    except BROKEN as error:
        raise Unreadable(_words(error)) from error


def _chain(first: bytes, file: BinaryIO) -> Iterator[bytes]:
    if first:
        yield first
    try:
        while piece := file.read(PIECE):
            yield piece
    except BROKEN as error:
        raise Unreadable(_words(error)) from error


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
