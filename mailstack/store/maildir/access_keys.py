"""The secrets with which URLs of an account's messages are authorised (RFC 4467 §2; RFC 5092 §6.1.1.2).

access-keys     ours: one line "<key in hexadecimal> <mailbox name in modified UTF-7>" each"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from mailstack.mail.mailbox_name import from_modified_utf7, to_modified_utf7
from mailstack.store.maildir.layout import replace_file

ACCESS_KEYS = "access-keys"
KEY_SIZE = 32
"""Octets; RFC 5092 §6.1.1.2 asks for 128 bits at least."""


def keys(account: Path) -> dict[str, bytes]:
    """Key by mailbox name; empty for an account that is not there. Raises: OSError."""
    try:
        lines = (account / ACCESS_KEYS).read_text("ascii", "replace").split("\n")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found: dict[str, bytes] = {}
    for line in lines:
        key, _, name = line.partition(" ")
        try:
            found[from_modified_utf7(name)] = bytes.fromhex(key)
        except ValueError:
            continue  # a line that we did not write
    found.pop("", None)
    return found


def make(account: Path, name: str, *, renew: bool) -> bytes:
    """The mailbox's key, a new one with `renew` or if it has none; durable on return. Raises: OSError."""
    found = keys(account)
    if renew or name not in found:
        found[name] = secrets.token_bytes(KEY_SIZE)
        _write(account, found)
    return found[name]


def forget(account: Path) -> None:
    """No URL of the account is authorised any more. Raises: OSError."""
    if keys(account):
        _write(account, {})


def _write(account: Path, found: Mapping[str, bytes]) -> None:
    lines = [f"{key.hex()} {to_modified_utf7(name)}\n" for name, key in found.items()]
    replace_file(account / ACCESS_KEYS, "".join(lines).encode("ascii"))
