"""Maildir++: where a mailbox lies, and how its name is written on disk.

    <account>/            INBOX: cur/ new/ tmp/
    <account>/.Lists.Py   the mailbox Lists/Py, with a file `maildirfolder`
    <account>/subscriptions, special-use, dovecot-uidvalidity, …

Names are in modified UTF-7 with "." between levels, as Dovecot writes them. Source: Maildir++
(Courier), Dovecot's maildir format; RFC 3501 §5.1.3 for modified UTF-7."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mailstack.errors import Problem, Refused
from mailstack.mail.mailbox_name import from_modified_utf7, to_modified_utf7

DELIMITER = "/"
INBOX = "INBOX"
OTHER_USERS = "Other Users"
"""The level above the mailboxes of other users; an account's own mailboxes are elsewhere."""
MAX_ON_DISK = 254
"""Octets of a folder's name, which "." comes before; file systems allow 255."""
MAX_NAME = 240
"""The same for a name that we make, so that something may be put after it."""
MAX_DEPTH = 32
"""Levels of a name that we make; a client that needs more is lost."""
SUBDIRECTORIES = ("tmp", "new", "cur")
FOLDER_MARK = "maildirfolder"


def normalise(name: str) -> str:
    """INBOX in any case is INBOX; other names are case-sensitive (RFC 9051 §5.1). Passes every name that
    a folder can have, whoever made it. Raises: Refused(BAD_MAILBOX_NAME)."""
    if name.upper() == INBOX:
        return INBOX
    parts = name.split(DELIMITER)
    if parts[0].upper() == INBOX:
        parts[0] = INBOX
    if not all(_possible(part) for part in parts):
        raise Refused(Problem.BAD_MAILBOX_NAME, repr(name))
    on_disk = ".".join(to_modified_utf7(part) for part in parts)
    if len(on_disk) > MAX_ON_DISK:
        raise Refused(Problem.BAD_MAILBOX_NAME, f"longer than {MAX_ON_DISK} octets on disk")
    return DELIMITER.join(parts)


def _possible(part: str) -> bool:
    # "." is the delimiter on disk.
    return bool(part) and "." not in part and not any("\ud800" <= c <= "\udfff" for c in part)


def check_new(name: str) -> None:
    """What a normalised name must also be when we make the mailbox. Dovecot refuses the same: control
    characters, and "~" at the start, which means a home directory to other programs.
    Raises: Refused(BAD_MAILBOX_NAME)."""
    if name.startswith("~") or any(c < " " or "\x7f" <= c < "\xa0" for c in name):
        raise Refused(Problem.BAD_MAILBOX_NAME, repr(name))
    if name.count(DELIMITER) >= MAX_DEPTH:
        raise Refused(Problem.BAD_MAILBOX_NAME, f"more than {MAX_DEPTH} levels")
    if len(directory_name(name)) > MAX_NAME + 1:
        raise Refused(Problem.BAD_MAILBOX_NAME, f"longer than {MAX_NAME} octets on disk")


def directory_name(name: str) -> str:
    """The directory of a normalised name below the account's; "" for INBOX."""
    if name == INBOX:
        return ""
    return "." + ".".join(to_modified_utf7(part) for part in name.split(DELIMITER))


def mailbox_name(directory: str) -> str | None:
    """The mailbox in a directory `.A.B`; None if no mailbox can have that directory."""
    if not directory.startswith(".") or directory in (".", ".."):
        return None
    try:
        name = DELIMITER.join(from_modified_utf7(part) for part in directory[1:].split("."))
        return name if directory_name(normalise(name)) == directory else None
    except (Refused, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Folder:
    """One mailbox on disk."""

    name: str
    path: Path

    @property
    def exists(self) -> bool:
        """A directory with `cur`, or marked as a folder (who copied it may have left out what is empty),
        which is not a symbolic link that leads out of the account."""
        if not (self.path / "cur").is_dir() and (self.name == INBOX or not (self.path / FOLDER_MARK).exists()):
            return False
        if self.name == INBOX or not self.path.is_symlink():
            return True
        return self.path.resolve().is_relative_to(self.path.parent.resolve())


def folder(account: Path, name: str) -> Folder:
    """The place of a mailbox, whether it exists or not. Raises: Refused(BAD_MAILBOX_NAME)."""
    normal = normalise(name)
    directory = directory_name(normal)
    return Folder(normal, account / directory if directory else account)


def new_folder(account: Path, name: str) -> Folder:
    """The place of a mailbox that is to be made. Raises: Refused(BAD_MAILBOX_NAME)."""
    place = folder(account, name)
    check_new(place.name)
    return place


def existing(account: Path, name: str) -> Folder:
    """A mailbox with all its directories. Raises: Refused(NO_SUCH_MAILBOX | BAD_MAILBOX_NAME), OSError."""
    found = folder(account, name)
    if not found.exists:
        raise Refused(Problem.NO_SUCH_MAILBOX, name)
    if not all((found.path / directory).is_dir() for directory in SUBDIRECTORIES):
        make(found)
    return found


def folders(account: Path) -> list[Folder]:
    """All mailboxes, INBOX first, the others by name. Raises: OSError."""
    found = []
    for entry in os.scandir(account):
        name = mailbox_name(entry.name)
        if name is not None and (candidate := Folder(name, Path(entry.path))).exists:
            found.append(candidate)
    return [Folder(INBOX, account), *sorted(found, key=lambda folder: folder.name)]


def make(place: Folder) -> None:
    """Make an empty mailbox, durable on return. `cur` comes last: it is what makes it exist.
    Raises: OSError."""
    place.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in SUBDIRECTORIES[:-1]:
        (place.path / name).mkdir(mode=0o700, exist_ok=True)
    if place.name != INBOX:
        (place.path / FOLDER_MARK).touch(mode=0o600)
    (place.path / SUBDIRECTORIES[-1]).mkdir(mode=0o700, exist_ok=True)
    sync_directory(place.path)
    sync_directory(place.path.parent)


def make_directory(path: Path) -> None:
    """Make a directory, with those above it, unless it is there; what was made is durable on return.
    Raises: OSError."""
    missing = [path]
    while not missing[-1].exists():
        missing.append(missing[-1].parent)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for parent in missing[1:]:
        sync_directory(parent)


def sync_directory(path: Path | str) -> None:
    """fsync(2) of a directory: its entries survive a power cut. Raises: OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, content: bytes, *, modified: int | None = None) -> None:
    """Put `content` in the place of a file: who reads it, at any time and after any crash, sees the
    old or the new, whole. Durable on return. `modified` is its modification time in seconds, None for
    now. Raises: OSError; then the file is the old one, or the new one if only the directory could not be
    synced."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            if modified is not None:
                os.utime(fd, (modified, modified))
            os.fsync(fd)
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
