"""Which accounts have mail in a data directory, for commands that work on all of them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from mailstack.errors import Refused
from mailstack.ports import AccountName
from mailstack.store.account_directory import MAIL, directory_of
from mailstack.store.maildir.layout import SUBDIRECTORIES


def mail_directory(data: Path) -> Path:
    """Where the accounts' directories are."""
    return data / MAIL


def account_directories(data: Path) -> dict[str, Path]:
    """Name → directory of each account that has one, by name. What lies there and can be no account's is
    left out (`strangers`). Raises: OSError."""
    return dict(sorted((name, path) for path in _entries(data) if (name := _name(path)) is not None))


def strangers(data: Path) -> list[Path]:
    """What lies among the accounts and is none. Raises: OSError."""
    return sorted(path for path in _entries(data) if _name(path) is None)


def account_directory(data: Path, name: str) -> Path:
    """The directory of an account, whether it is there or not. Raises: Refused for a name that none can have."""
    return mail_directory(data) / directory_of(AccountName(name))


def _entries(data: Path) -> list[Path]:
    return list(mail_directory(data).iterdir())


def _name(path: Path) -> str | None:
    if not path.is_dir() or not any((path / name).is_dir() for name in SUBDIRECTORIES):
        return None
    name = unquote(path.name)
    try:
        return name if directory_of(AccountName(name)) == path.name else None
    except (Refused, UnicodeError):
        return None
