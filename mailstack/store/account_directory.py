"""Which directory below `<data>/mail` is an account's."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, unquote

from mailstack.errors import Problem, Refused
from mailstack.ports import AccountName

MAIL = "mail"
"""In the data directory."""
MAX_DIRECTORY = 255
"""Octets of an account's directory name."""


def directory_of(account: AccountName) -> str:
    """An account's directory: its name, with what a file system or a shell might misread as %XX.
    Raises: Refused(STORE_UNAVAILABLE) for a name that no directory can have."""
    name = quote(account, safe="@+-_=.,!#$^{}~' ")
    if name.startswith("."):
        name = "%2E" + name[1:]
    if not name or len(name) > MAX_DIRECTORY:
        raise Refused(Problem.STORE_UNAVAILABLE, f"no directory can be named {account!r}")
    return name


def accounts(mail: Path) -> list[AccountName]:
    """All accounts that have a directory, by name. Blocking. Raises: OSError."""
    found = [AccountName(unquote(name)) for name in sorted(os.listdir(mail)) if (mail / name / "cur").is_dir()]
    return [account for account in found if _can_be_named(account)]


def _can_be_named(account: AccountName) -> bool:
    try:
        directory_of(account)
    except Refused:
        return False
    return True
