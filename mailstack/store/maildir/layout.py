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
MAX_NAME = 240
"""Octets of a folder's name on disk; most file systems allow 255."""
MAX_DEPTH = 32
"""Levels of a name; a client that needs more is lost."""
SUBDIRECTORIES = ("tmp", "new", "cur")
FOLDER_MARK = "maildirfolder"


def normalise(name: str) -> str:
    """INBOX in any case is INBOX; other names are case-sensitive (RFC 9051 §5.1).
    Raises: Refused(BAD_MAILBOX_NAME)."""
    if name.upper() == INBOX:
        return INBOX
    parts = name.split(DELIMITER)
    if parts[0].upper() == INBOX:
        parts[0] = INBOX
    if len(parts) > MAX_DEPTH or not all(_good(part) for part in parts):
        raise Refused(Problem.BAD_MAILBOX_NAME, repr(name))
    on_disk = ".".join(to_modified_utf7(part) for part in parts)
    if len(on_disk) > MAX_NAME:
        raise Refused(Problem.BAD_MAILBOX_NAME, f"longer than {MAX_NAME} octets on disk")
    return DELIMITER.join(parts)


def _good(part: str) -> bool:
    # "." is the delimiter on disk; "~" at the start means a home directory to other programs.
    if not part or part.startswith("~") or "." in part:
        return False
    return not any(c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in part)


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
        return (self.path / "cur").is_dir()


def folder(account: Path, name: str) -> Folder:
    """The place of a mailbox, whether it exists or not. Raises: Refused(BAD_MAILBOX_NAME)."""
    normal = normalise(name)
    directory = directory_name(normal)
    return Folder(normal, account / directory if directory else account)


def existing(account: Path, name: str) -> Folder:
    """Raises: Refused(NO_SUCH_MAILBOX | BAD_MAILBOX_NAME)."""
    found = folder(account, name)
    if not found.exists:
        raise Refused(Problem.NO_SUCH_MAILBOX, name)
    return found


def folders(account: Path) -> list[Folder]:
    """All mailboxes, INBOX first, the others by name. A symbolic link that leads out of the account
    is not a mailbox."""
    found = [Folder(INBOX, account)]
    for entry in os.scandir(account):
        name = mailbox_name(entry.name)
        if name is None or not entry.is_dir():
            continue
        if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(account.resolve()):
            continue
        candidate = Folder(name, Path(entry.path))
        if candidate.exists:
            found.append(candidate)
    found[1:] = sorted(found[1:], key=lambda folder: folder.name)
    return found


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


def sync_directory(path: Path) -> None:
    """fsync(2) of a directory: its entries survive a power cut. Raises: OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` in the place of a file: who reads it, at any time and after any crash, sees the
    old or the new, whole. Durable on return. Raises: OSError."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
