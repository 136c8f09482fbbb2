"""Changes that clients ask for: flags, expunge, copy, append. Used in the account's lane.

Each function leaves the files and the `FolderFiles` that it is given in agreement, and says what it
did; who has the mailbox open tells its sessions."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailstack.errors import Problem, Refused
from mailstack.ports import FIRST_KEYWORD, FlagAction, Flags
from mailstack.store.maildir import keywords, names
from mailstack.store.maildir.deliver import copy as copy_octets
from mailstack.store.maildir.layout import sync_directory
from mailstack.store.maildir.sync import FolderFiles
from mailstack.store.spool import StoredBlob, write_all

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP})


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message of APPEND, on its way into a mailbox."""

    blob: StoredBlob
    flags: Flags
    internal_date: float | None


def flag_bits(files: FolderFiles, flags: Flags, *, add_keywords: bool) -> int:
    """Flags as bits of one mailbox; keywords that it does not have yet are added, or passed over.
    Raises: Refused(TOO_MANY_KEYWORDS), OSError."""
    value = int(flags.system)
    if not flags.keywords:
        return value
    if add_keywords:
        with files.lock():
            files.keywords = keywords.read(files.path)
            found = keywords.numbers(files.path, files.keywords, sorted(flags.keywords))
    else:
        wanted = {keyword.lower() for keyword in flags.keywords}
        found = [number for number, name in enumerate(files.keywords) if name.lower() in wanted]
    for number in found:
        value |= 1 << (FIRST_KEYWORD + number)
    return value


def store_flags(files: FolderFiles, uids: Collection[int], action: FlagAction, flags: Flags) -> list[tuple[int, int]]:
    """Returns (UID, flags) of the messages whose flags are others now. Messages that are gone are
    passed over. Raises: Refused(TOO_MANY_KEYWORDS), OSError."""
    operand = flag_bits(files, flags, add_keywords=action is not FlagAction.REMOVE)
    changed: list[tuple[int, int]] = []
    for uid in uids:
        value = _rename(files, uid, action, operand)
        if value is not None:
            changed.append((uid, value))
    if changed:
        files.touched()
    return changed


def _rename(files: FolderFiles, uid: int, action: FlagAction, operand: int) -> int | None:
    for _ in range(3):  # others may rename it between our look and our rename
        name = files.names.get(uid)
        if name is None:
            return None
        base, before = names.split(name)
        old = names.bits(before)
        if action is FlagAction.ADD:
            value = old | operand
        elif action is FlagAction.REMOVE:
            value = old & ~operand
        else:
            value = operand
        if value == old:
            return None
        target = names.join(base, names.letters(value, before))
        try:
            os.rename(files.path / "cur" / name, files.path / "cur" / target)
        except FileNotFoundError:
            if files.find(uid) is None:
                return None
            continue
        files.know(uid, target)
        return value
    return None


def expunge(files: FolderFiles, uids: Collection[int]) -> list[int]:
    """Remove messages, durable on return; returns those that are gone by it. Raises: OSError."""
    removed: list[int] = []
    for uid in uids:
        path = files.path_of(uid)
        if path is None:
            continue
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        files.forget(uid)
        removed.append(uid)
    if removed:
        sync_directory(files.path / "cur")
        files.touched()
    return removed


def copy(
    source: FolderFiles, uids: Sequence[int], target: FolderFiles, unique: names.UniqueNames
) -> tuple[list[int], list[int]]:
    """Copy messages by hard link, flags, keywords and internal date with them; durable on return.
    Returns the UIDs in the source and in the target. All or none: Raises OSError, Refused."""
    mapping = _keyword_mapping(source, target)
    made: list[Path] = []
    copied: list[int] = []
    bases: list[str] = []
    try:
        with target.lock():
            for uid in uids:
                path = source.path_of(uid)
                if path is None:
                    continue
                base, letters = names.split(path.name)
                new_base = unique.new() + _size_words(base)
                value = _mapped(names.bits(letters), mapping)
                place = target.path / "cur" / names.join(new_base, names.letters(value))
                _link(path, place)
                made.append(place)
                copied.append(uid)
                bases.append(new_base)
            given = _admit(target, bases) if bases else []
    except BaseException:
        for place in made:
            place.unlink(missing_ok=True)
        raise
    return copied, given


def append(target: FolderFiles, messages: Sequence[Incoming], unique: names.UniqueNames) -> list[int]:
    """Store messages with flags and internal date, durable on return; returns their UIDs. All or
    none: Raises OSError, Refused(TOO_MANY_KEYWORDS)."""
    values = [flag_bits(target, message.flags, add_keywords=True) for message in messages]
    written: list[Path] = []
    places: list[Path] = []
    bases: list[str] = []
    try:
        for message in messages:
            base = f"{unique.new()},S={message.blob.size},W={message.blob.size}"
            written.append(target.path / "tmp" / base)
            _write(written[-1], message)
            bases.append(base)
        with target.lock():
            for path, base, value in zip(written, bases, values, strict=True):
                places.append(target.path / "cur" / names.join(base, names.letters(value)))
                path.rename(places[-1])
            return _admit(target, bases)
    except BaseException:
        for path in written + places:
            path.unlink(missing_ok=True)
        raise


def _admit(target: FolderFiles, bases: Sequence[str]) -> list[int]:
    """Sync the files in cur/ and give them UIDs. The caller holds the lock."""
    sync_directory(target.path / "cur")
    if not target.uidlist.load():
        target.uidlist.create(target.account)
    uids = target.uidlist.append(bases)
    target.touched()
    return uids


def _write(path: Path, message: Incoming) -> None:
    fd = os.open(path, _CREATE, 0o600)
    try:
        write_all(fd, b"".join(message.blob.chunks))
        if message.blob.fd >= 0:
            copy_octets(message.blob.fd, fd)
        if message.internal_date is not None:
            os.utime(fd, (message.internal_date, message.internal_date))
        os.fsync(fd)
    finally:
        os.close(fd)


def _link(path: Path, place: Path) -> None:
    try:
        os.link(path, place)
        return
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
    with open(path, "rb") as source:
        stat = os.fstat(source.fileno())
        fd = os.open(place, _CREATE, 0o600)
        try:
            copy_octets(source.fileno(), fd)
            os.utime(fd, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            os.fsync(fd)
        finally:
            os.close(fd)


def _size_words(base: str) -> str:
    sizes = names.sizes(base)
    octets = f",S={sizes.octets}" if sizes.octets >= 0 else ""
    return octets + (f",W={sizes.with_crlf}" if sizes.with_crlf >= 0 else "")


def _keyword_mapping(source: FolderFiles, target: FolderFiles) -> list[int]:
    """Keyword number in the source → bit in the target. Raises: Refused(TOO_MANY_KEYWORDS)."""
    used = [name for name in source.keywords if name]
    with target.lock():
        target.keywords = keywords.read(target.path)
        try:
            numbers = keywords.numbers(target.path, target.keywords, used)
        except Refused as refused:
            raise Refused(Problem.TOO_MANY_KEYWORDS, f"{target.folder.name}: {refused.detail}") from refused
    found = dict(zip(used, numbers, strict=True))
    return [1 << (FIRST_KEYWORD + found[name]) if name else 0 for name in source.keywords]


def _mapped(value: int, mapping: Sequence[int]) -> int:
    system = value & ((1 << FIRST_KEYWORD) - 1)
    for number, bit in enumerate(mapping):
        if value >> (FIRST_KEYWORD + number) & 1:
            system |= bit
    return system
