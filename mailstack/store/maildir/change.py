"""Changes that clients ask for: flags, expunge, copy, append. Used in the account's lane.

Each function leaves the files and the `FolderFiles` that it is given in agreement, and says what it
did; who has the mailbox open tells its sessions."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mailstack.errors import Problem, Refused
from mailstack.ports import ALL_FLAGS, FIRST_KEYWORD, FlagAction, Flags
from mailstack.store.maildir import keywords, names
from mailstack.store.maildir.arrivals import admit
from mailstack.store.maildir.deliver import copy as copy_octets
from mailstack.store.maildir.differences import Differences, Hints
from mailstack.store.maildir.folder import FolderFiles
from mailstack.store.maildir.layout import sync_directory
from mailstack.store.maildir.reflag import reflag_plain
from mailstack.store.maildir.sync import sync
from mailstack.store.spool import StoredBlob, write_all
from mailstack.store.syncs import sync_files

TOGETHER = 100
"""Files of one APPEND that are open at once."""
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
MANY = 100
"""Messages whose flags are changed in the quicker way, if nobody listens."""
TRIES = 5
"""Looks for a message that others rename again and again, before it is taken for gone."""
_SYSTEM_FLAGS = (1 << FIRST_KEYWORD) - 1
_SIZE_WORDS = re.compile(r",S=\d{1,15},W=\d{1,15}$")
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP})


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message of APPEND, on its way into a mailbox."""

    blob: StoredBlob
    flags: Flags
    internal_date: float | None


@dataclass(frozen=True, slots=True)
class Placed:
    """Messages that were put into a mailbox: `sources` are UIDs of the mailbox they were copied from, or
    empty; `uids` are theirs; `found` is what is new in the mailbox, these messages among it."""

    sources: list[int]
    uids: list[int]
    found: Differences


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


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The test of UNCHANGEDSINCE (RFC 7162 §3.1.3). `changed` are those with a higher mod-sequence as far as the
    columns told, with the bits of their flags that may have changed; `known` is how far they told."""

    since: int
    changed: Mapping[int, int]
    known: int

    def fails(self, files: FolderFiles, uid: int, action: FlagAction, operand: int) -> bool:
        """Whether the message must stay as it is."""
        if self.since == 0 and action is FlagAction.ADD and not operand & _SYSTEM_FLAGS:
            row = files.rows.row(uid)  # a keyword that is not set does not exist, unlike a system flag
            return row >= 0 and files.rows.flags[row] & operand != 0
        if files.lately.modseq(uid) > max(self.since, self.known):
            return True
        if action is FlagAction.REPLACE or self.since == 0:
            return uid in self.changed
        return self.changed.get(uid, 0) & operand != 0  # another flag's change is none to +FLAGS (§3.1.12)


def store_flags(
    files: FolderFiles, uids: Collection[int], action: FlagAction, flags: Flags, test: Unchanged | None = None
) -> Differences:
    """`changed` has the messages whose flags are others now; `failed` those that did not pass the test. Messages that
    are gone are passed over. An error on the way is in `error`. Raises: Refused(TOO_MANY_KEYWORDS), OSError."""
    operand = flag_bits(files, flags, add_keywords=action is not FlagAction.REMOVE)
    done = Differences()
    try:
        if test is None and len(uids) >= MANY and (files.watch is None or not files.watch.listens):
            uids = reflag_plain(files, uids, lambda old: _with(old, action, operand), done.changed)
        for uid in uids:
            if test is not None and test.fails(files, uid, action, operand):
                done.failed.append(uid)
                continue
            value, others_too = _change_one(files, uid, action, operand, once=test is not None)
            if others_too:
                (done.others if test is None else done.failed).append(uid)
            if value is not None:
                done.changed.append((uid, value))
    except OSError as error:
        done.error = error
    if done.changed:
        files.touched()
        _number(files, done)
    return done


def _with(flags: int, action: FlagAction, operand: int) -> int:
    """The flags after the action."""
    if action is FlagAction.ADD:
        return flags | operand
    return flags & ~operand if action is FlagAction.REMOVE else operand


def _number(files: FolderFiles, done: Differences) -> None:
    """Give a change its mod-sequence. The change has been made: an error is told with it, not instead of it."""
    try:
        done.modseq = files.modseqs.next()
    except OSError as error:
        done.modseq = files.modseqs.next(durable=False)  # one that clients know would hide the change from them
        done.error = done.error or error
    files.lately.note([uid for uid, _ in done.changed], done.modseq)


def _change_one(
    files: FolderFiles, uid: int, action: FlagAction, operand: int, *, once: bool
) -> tuple[int | None, bool]:
    """The flags of a message, if they are not those that were known before, and whether that is by others, too, who
    renamed it between our look and our rename; with `once` it is left to them then."""
    rows = files.rows
    told: int | None = None
    old, others = 0, False
    for _ in range(TRIES):
        row = rows.row(uid)
        if row < 0:
            return None, False
        old = rows.flags[row]
        told = old if told is None else told
        value = _with(old, action, operand)
        if value == old:
            if files.is_as_known(row):
                break  # else others have given it other flags, which are not those that are wanted
        elif files.reflag(row, value):
            return value, others
        if not files.found_again(uid):
            break
        found = rows.flags[rows.row(uid)]
        others = others or found != old
        if once and others:
            return found, True
    return (None if old == told else old), others


def expunge(files: FolderFiles, uids: Collection[int]) -> Differences:
    """Remove messages, durable on return; `vanished` are those that are gone by it. An error on the way, or
    that it is not durable, is in `error`."""
    done = Differences()
    try:
        leftovers = {name.partition(":")[0]: name for name in os.listdir(files.path / "new")}
        for uid in uids:
            name = files.rows.name_of(uid)
            if name is None:
                continue
            _remove_leftover(files, leftovers.get(names.split(name)[0]))
            if files.remove(name) or (files.found_again(uid) and files.remove(files.rows.name_of(uid) or name)):
                done.vanished.append(uid)
    except OSError as error:
        done.error = error
    if done.vanished:
        files.rows.remove(done.vanished)
        files.touched()
        try:
            _sync_removal(files)
        except OSError as error:
            done.error = done.error or error
        _number(files, done)
    return done


def _remove_leftover(files: FolderFiles, name: str | None) -> None:
    """A power cut while a message was taken in may have kept its name in new/ beside the one in cur/."""
    if name is not None:
        files.taken_in = True
        (files.path / "new" / name).unlink(missing_ok=True)


def _sync_removal(files: FolderFiles) -> None:
    """Sync cur/; and new/, if that a message has left it may not be on disk yet: it would be there again.
    Raises: OSError."""
    sync_directory(files.path / "cur")
    if files.taken_in:
        sync_directory(files.path / "new")
        files.taken_in = False


def copy(
    source: FolderFiles, uids: Sequence[int], target: FolderFiles, unique: names.UniqueNames, keep: int = ALL_FLAGS
) -> Placed:
    """Copy messages by hard link, flags, keywords and internal date with them, of the flags those in `keep`; durable
    on return. All or none: Raises OSError, Refused."""
    mapping = _keyword_mapping(source, target) if keep >> FIRST_KEYWORD & 1 else []
    suffix = lru_cache(maxsize=1024)(lambda letters: names.suffix(_mapped(names.bits(letters) & keep, mapping)))
    made: list[str] = []
    copied: list[int] = []
    try:
        for uid in uids:
            place = _copy_one(source, uid, target, unique, suffix)
            if place is not None:
                made.append(place)
                copied.append(uid)
        if not made:
            return Placed([], [], Differences())
        return _admit(target, made, copied)
    except BaseException:
        _withdraw(made)
        raise


def _copy_one(
    source: FolderFiles, uid: int, target: FolderFiles, unique: names.UniqueNames, suffix: Callable[[str], str]
) -> str | None:
    """Where the copy is; None if the message is gone. `suffix` makes the end of its name from its letters.
    Raises: OSError."""
    path = source.locate(uid)
    for number in range(TRIES):
        if path is None:
            return None
        base, letters = names.split(path.rpartition("/")[2])
        name = unique.new() + _size_words(base) + suffix(letters)
        target.expect("cur", name, True)
        place = f"{target.cur}{name}"
        try:
            _link(path, place)
            return place
        except FileNotFoundError:
            if number == TRIES - 1:
                raise
            path = source.find(uid)
    return None


def append(target: FolderFiles, messages: Sequence[Incoming], unique: names.UniqueNames) -> Placed:
    """Store messages with flags and internal date, durable on return. All or none: Raises OSError,
    Refused(TOO_MANY_KEYWORDS)."""
    values = [flag_bits(target, message.flags, add_keywords=True) for message in messages]
    written = [f"{target.tmp}{unique.new()},S={each.blob.size},W={each.blob.size}" for each in messages]
    places: list[str] = []
    try:
        for start in range(0, len(messages), TOGETHER):
            _write_together(written[start : start + TOGETHER], messages[start : start + TOGETHER])
        for path, value in zip(written, values, strict=True):
            name = path.rpartition("/")[2] + names.suffix(value)
            target.expect("cur", name, True)
            place = f"{target.cur}{name}"
            os.rename(path, place)
            places.append(place)
        return _admit(target, places, [])
    except BaseException:
        _withdraw([*written, *places])
        raise


def _admit(target: FolderFiles, places: Sequence[str], sources: list[int]) -> Placed:
    """Sync the files in cur/ and give them UIDs; take them back if they cannot have any."""
    placed = [path.rpartition("/")[2] for path in places]
    found = admit(target, placed)
    if found is not None:
        uids = found.added.tolist()
    else:
        sync_directory(target.cur)
        found = sync(target, Hints(cur=dict.fromkeys(placed, True)))
        bases = [names.split(name)[0] for name in placed]
        uids = list(map(target.rows.find, bases))
        if found.error is None and not all(uids):
            found.extend(sync(target, force=True))  # others renamed some of them already
            uids = list(map(target.rows.find, bases))
    target.touched()
    if found.error is not None:
        _withdraw(places)
        return Placed([], [], found)
    if not all(uids):
        found.error = Refused(Problem.STORE_UNAVAILABLE, "another program removed what was just placed")
        _withdraw(places)
    found.recent.update(filter(None, uids))  # RFC 3501 §6.3.11 and §6.4.7
    return Placed(sources, uids, found)


def _withdraw(paths: Sequence[str]) -> None:
    for path in paths:
        with suppress(FileNotFoundError):
            os.unlink(path)


def _write_together(paths: Sequence[str], messages: Sequence[Incoming]) -> None:
    """Write files, durable on return."""
    fds: list[int] = []
    try:
        for path, message in zip(paths, messages, strict=True):
            fds.append(os.open(path, _CREATE, 0o600))
            _write(fds[-1], message)
        sync_files(fds)
    finally:
        for fd in fds:
            os.close(fd)


def _write(fd: int, message: Incoming) -> None:
    chunks = message.blob.chunks
    write_all(fd, chunks[0] if len(chunks) == 1 else b"".join(chunks))
    if message.blob.fd >= 0:
        copy_octets(message.blob.fd, fd, message.blob.start)
    if message.internal_date is not None:
        os.utime(fd, (message.internal_date, message.internal_date))


def _link(path: str, place: str) -> None:
    try:
        os.link(path, place)
        return
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
    cur, _, name = place.rpartition("/")
    part = Path(cur).parent / "tmp" / name.partition(":")[0]
    try:
        _copy(path, part)
        part.rename(place)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _copy(path: str, part: Path) -> None:
    with open(path, "rb") as source:
        stat = os.fstat(source.fileno())
        fd = os.open(part, _CREATE, 0o600)
        try:
            copy_octets(source.fileno(), fd)
            os.utime(fd, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            os.fsync(fd)
        finally:
            os.close(fd)


def _size_words(base: str) -> str:
    """ ",S=1200,W=1234", or less of it."""
    usual = _SIZE_WORDS.search(base)
    if usual is not None:
        return usual[0]
    sizes = names.sizes(base)
    octets = f",S={sizes.octets}" if sizes.octets >= 0 else ""
    return octets + (f",W={sizes.with_crlf}" if sizes.with_crlf >= 0 else "")


def _keyword_mapping(source: FolderFiles, target: FolderFiles) -> list[int]:
    """Keyword number in the source → bit in the target. Raises: Refused(TOO_MANY_KEYWORDS)."""
    known = keywords.read(source.path)  # the messages may have letters that are newer than our last look
    used = [name for name in known if name]
    with target.lock():
        target.keywords = keywords.read(target.path)
        try:
            numbers = keywords.numbers(target.path, target.keywords, used)
        except Refused as refused:
            raise Refused(Problem.TOO_MANY_KEYWORDS, f"{target.folder.name}: {refused.detail}") from refused
    found = dict(zip(used, numbers, strict=True))
    return [1 << (FIRST_KEYWORD + found[name]) if name else 0 for name in known]


def _mapped(value: int, mapping: Sequence[int]) -> int:
    system = value & ((1 << FIRST_KEYWORD) - 1)
    for number, bit in enumerate(mapping):
        if value >> (FIRST_KEYWORD + number) & 1:
            system |= bit
    return system
