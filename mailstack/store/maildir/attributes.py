"""Annotations (RFC 5464) on disk: `dovecot-attributes`, which Dovecot's `mail_attribute_dict = file:…` shares.

A line with the key, a line with the value, and so on. Octets that would break a line are written as 0x01 and a
character. Keys are

    priv/<mailbox id>/<entry>       /private/<entry> of a mailbox
    shared/<mailbox id>/<entry>     /shared/<entry>
    …/<INBOX's id>/vendor/vendor.dovecot/pvt/server/<entry>     the account's own entries of the server

with the mailbox id (GUID) of `dovecot-uidlist`, so that they follow a mailbox that is renamed. Who writes holds
`dovecot-attributes.lock` and puts a new file in the place of the old one. Source: Dovecot's dict-file and
index-attribute."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from mailstack.errors import Problem, Refused
from mailstack.store.maildir.layout import replace_file
from mailstack.store.maildir.locks import dotlock

FILE = "dovecot-attributes"
SERVER_FILE = "server-attributes"
"""In the data directory: what all users share."""
MAX_FILE = 8 * 1024 * 1024
"""Octets of all annotations of an account. One read into memory when it has changed."""
MAX_ENTRIES = 100
"""Entries of one mailbox in each of /private and /shared. RFC 5464 §4.1 asks for 10 at least."""
SERVER = "vendor/vendor.dovecot/pvt/server/"
"""Before the server's entries, which Dovecot keeps as INBOX's."""
_SCOPES = {"/private/": "priv/", "/shared/": "shared/"}
_ESCAPES = {b"\x00": b"0", b"\x01": b"1", b"\t": b"t", b"\r": b"r", b"\n": b"n"}
_ESCAPED = {value: key for key, value in _ESCAPES.items()}
_SPECIAL = re.compile(rb"[\x00\x01\t\r\n]")
_SEQUENCE = re.compile(rb"\x01(.?)", re.DOTALL)

Entries = dict[bytes, bytes]
"""The file's keys and values."""


def parse(content: bytes) -> Entries:
    """What a file says. A key without a value is passed over."""
    lines = content.split(b"\n")
    pairs = zip(lines[0::2], lines[1::2], strict=False)
    return {_unescaped(key): _unescaped(value) for key, value in pairs if key}


def made(entries: Mapping[bytes, bytes]) -> bytes:
    """The file with these entries."""
    return b"".join(b"%s\n%s\n" % (_escaped(key), _escaped(value)) for key, value in entries.items())


def _escaped(octets: bytes) -> bytes:
    return _SPECIAL.sub(lambda found: b"\x01" + _ESCAPES[found[0]], octets)


def _unescaped(octets: bytes) -> bytes:
    if b"\x01" not in octets:
        return octets
    return _SEQUENCE.sub(lambda found: _ESCAPED.get(found[1], found[1]), octets)


def key_of(mailbox_id: str, entry: str) -> bytes:
    """The key of "/private/…" or "/shared/…" of a mailbox."""
    for prefix, scope in _SCOPES.items():
        if entry.startswith(prefix):
            return f"{scope}{mailbox_id}/{entry.removeprefix(prefix)}".encode()
    raise ValueError(f"no annotation entry: {entry}")


def of_mailbox(entries: Mapping[bytes, bytes], mailbox_id: str) -> dict[str, bytes]:
    """The entries of one mailbox: name → value."""
    found: dict[str, bytes] = {}
    for prefix, scope in _SCOPES.items():
        start = f"{scope}{mailbox_id}/".encode()
        for key, value in entries.items():
            if key.startswith(start):
                found[prefix + key[len(start) :].decode("utf-8", "replace")] = value
    return found


class AttributeFile:
    """The file of one account, or of the server. Blocking, from any worker."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: tuple[tuple[int, ...], Entries] = ((), {})

    def read(self) -> Mapping[bytes, bytes]:
        """What it says now; read only when it has changed. Raises: OSError."""
        known, entries = self._known
        stamp: tuple[int, ...] = ()
        try:
            with open(self.path, "rb") as file:
                stat = os.fstat(file.fileno())
                stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
                if stamp != known:
                    entries = parse(file.read(MAX_FILE))
        except FileNotFoundError:
            entries = {}
        self._known = stamp, entries
        return entries

    def change(self, change: Callable[[Entries], None]) -> None:
        """Let `change` change what it says; durable on return.
        Raises: OSError; Refused(TOO_MANY_ANNOTATIONS | STORE_UNAVAILABLE), and what `change` raises; then
        nothing was changed."""
        with dotlock(self.path):
            before = self.read()
            after = dict(before)
            change(after)
            if after == before:
                return
            content = made(after)
            if len(content) > MAX_FILE:
                raise Refused(Problem.TOO_MANY_ANNOTATIONS, f"{self.path} would have {len(content)} octets")
            replace_file(self.path, content)


def set_entries(entries: Entries, mailbox_id: str, changes: Mapping[str, bytes | None], prefix: str = "") -> None:
    """Set entries of a mailbox, those that are None go away. `prefix` comes before each name, behind its scope.
    Raises: Refused(TOO_MANY_ANNOTATIONS)."""
    for entry, value in changes.items():
        _, scope, rest = entry.split("/", 2)
        key = key_of(mailbox_id, f"/{scope}/{prefix}{rest}")
        if value is None:
            entries.pop(key, None)
        else:
            entries[key] = value
    for scope in _SCOPES.values():
        start = f"{scope}{mailbox_id}/".encode()
        if changes and sum(key.startswith(start) for key in entries) > MAX_ENTRIES and any(changes.values()):
            raise Refused(Problem.TOO_MANY_ANNOTATIONS, f"more than {MAX_ENTRIES} entries")


def drop_mailbox(entries: Entries, mailbox_id: str) -> None:
    """The mailbox is deleted (RFC 5464 §4.1)."""
    for scope in _SCOPES.values():
        start = f"{scope}{mailbox_id}/".encode()
        for key in [key for key in entries if key.startswith(start)]:
            del entries[key]
