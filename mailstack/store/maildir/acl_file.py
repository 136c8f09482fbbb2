"""`dovecot-acl`: a mailbox's access control list, in its directory. Dovecot's plugin `acl = vfile` shares it.

    user=bob@example.org lrswi
    -user=carl@example.org w
    authenticated l
    anyone lr :insert              names of rights may stand behind a colon
    "user=with space" lr

A line is an identifier and the letters of RFC 4314. Lines that are none of these are kept. Source: Dovecot's
"ACL file format" and acl-backend-vfile."""

from __future__ import annotations

import re
from pathlib import Path

from mailstack.acl import ALL_RIGHTS, ANYONE, AUTHENTICATED, GROUP, RIGHTS, Acl, Entry, Rights
from mailstack.store.maildir.layout import replace_file

FILE = "dovecot-acl"
LISTING = "dovecot-acl-list"
"""In the account's directory: Dovecot's cache of which mailboxes have a list; made again when it is missing."""
MAX_FILE = 256 * 1024
"""Octets of a file that is read."""
_LINE = re.compile(r'(?:"((?:[^"\\]|\\.)*)"|(\S+))\s*([a-z]*)\s*(?::(.*))?')
_NAMED = {
    "lookup": "l", "read": "r", "write": "w", "write-seen": "s", "write-deleted": "t", "insert": "i", "post": "p",
    "expunge": "e", "create": "k", "delete": "x", "admin": "a",
}  # fmt: skip
_ESCAPED = re.compile(r"\\(.)")


def parse(content: bytes) -> tuple[Acl, tuple[str, ...]]:
    """The entries, and the lines that are none that we know."""
    entries: list[Entry] = []
    others: list[str] = []
    for line in content.decode("utf-8", "surrogateescape").split("\n"):
        if not line.strip():
            continue
        entry = None if line.startswith("#") else _entry(line)
        if entry is None:
            others.append(line)
        else:
            entries.append(entry)
    return tuple(entries), tuple(others)


def _entry(line: str) -> Entry | None:
    found = _LINE.fullmatch(line.strip())
    if found is None:
        return None
    quoted, word, letters, named = found.groups()
    text = word if quoted is None else _ESCAPED.sub(r"\1", quoted)
    negative = text.startswith("-")
    identifier = _from_file(text.removeprefix("-"))
    if identifier is None:
        return None
    rights = frozenset(letters) | {_NAMED.get(name, "") for name in (named or "").split()}
    return Entry(identifier, frozenset(rights & ALL_RIGHTS), negative)


def _from_file(text: str) -> str | None:
    kind, equals, name = text.partition("=")
    if not equals:
        return {"anyone": ANYONE, "anonymous": ANYONE, "authenticated": AUTHENTICATED}.get(kind)
    if not name:
        return None
    return {"user": name.lower(), "group": GROUP + name}.get(kind)


def made(acl: Acl, others: tuple[str, ...] = ()) -> bytes:
    """A whole file."""
    lines = [f"{_identifier(entry)} {_letters(entry.rights)}".rstrip() for entry in acl]
    return "".join(f"{line}\n" for line in (*lines, *others)).encode("utf-8", "surrogateescape")


def _identifier(entry: Entry) -> str:
    name = entry.identifier
    if name.startswith(GROUP):
        name = f"group={name.removeprefix(GROUP)}"
    elif name not in (ANYONE, AUTHENTICATED):
        name = f"user={name}"
    name = "-" + name if entry.negative else name
    if re.search(r'[\s"\\]', name):
        return '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'
    return name


def _letters(rights: Rights) -> str:
    return "".join(letter for letter in RIGHTS if letter in rights)


def read(folder: Path) -> tuple[Acl, tuple[str, ...]]:
    """As `parse`, of a mailbox's directory. Raises: OSError."""
    try:
        with open(folder / FILE, "rb") as file:
            return parse(file.read(MAX_FILE))
    except FileNotFoundError:
        return (), ()


def write(folder: Path, acl: Acl, others: tuple[str, ...] = ()) -> None:
    """Durable on return. Raises: OSError."""
    if acl or others:
        replace_file(folder / FILE, made(acl, others))
    elif (folder / FILE).exists():
        (folder / FILE).unlink()
