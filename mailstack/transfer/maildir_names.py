"""What is beside the messages in a Maildir of Dovecot, Courier or ours, and which mailbox a directory is."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mailstack.mail.mailbox_name import from_modified_utf7
from mailstack.ports import FIRST_KEYWORD, MAX_KEYWORDS, Flag, Flags
from mailstack.store.maildir import names
from mailstack.transfer.values import DELIMITER, INBOX, usable_keywords

DOVECOT_KEYWORDS = "dovecot-keywords"
COURIER_KEYWORDS = "courierimapkeywords/:list"
SUBSCRIPTIONS = ("subscriptions", "courierimapsubscribed")
SPECIAL_USE = "special-use"
SUBDIRECTORIES = ("cur", "new", "tmp")
_IGNORED_PREFIXES = ("dovecot", "courier", "maildirfolder", "maildirsize", "subscriptions", "special-use", "transfers.",
                     "index.sqlite3", ".mbsyncstate", ".uidvalidity", ".isyncuidmap", "maildrop", "quota", "sieve",
                     "access-keys", ".dovecot", ".sieve")  # fmt: skip


@dataclass(slots=True)
class Maildirs:
    """The Maildirs of a tree: paths relative to it, "" for the root. Filled by a first look at all names."""

    paths: set[str] = field(default_factory=set)
    keywords: dict[str, list[str]] = field(default_factory=dict)
    """Maildir → keyword by number of `dovecot-keywords`."""
    courier: dict[str, dict[str, frozenset[str]]] = field(default_factory=dict)
    """Maildir → base name → keywords."""
    subscriptions: set[str] | None = None
    special_uses: dict[str, str] = field(default_factory=dict)
    root: str | None = None
    """The one that is INBOX."""

    def settle(self, *, is_archive: bool) -> None:
        """All paths are known. In an archive, what lies above all Maildirs is no part of names."""
        if not self.paths:
            return
        common = posixpath.commonpath(self.paths) if "" not in self.paths else ""
        self.root = common if common == "" or is_archive else None
        if is_archive and common not in self.paths and any(part.startswith(".") for part in common.split("/")):
            self.root = posixpath.dirname(common)

    def mailbox(self, path: str) -> str:
        """The name of the mailbox in a Maildir: Maildir++, directories within each other, or both."""
        if path == self.root:
            return INBOX
        below = path if not self.root else path[len(self.root) + 1 :]
        parts: list[str] = []
        for part in below.split("/"):
            parts += part[1:].split(".") if part.startswith(".") and len(part) > 1 else [part]
        return DELIMITER.join(_decoded(part) for part in parts)

    def flags(self, path: str, name: str) -> Flags:
        """Of a message file's name."""
        base, letters = names.split(name)
        bits = names.bits(letters)
        known = self.keywords.get(path, [])
        found = {
            known[number] for number in range(min(len(known), MAX_KEYWORDS)) if bits >> (FIRST_KEYWORD + number) & 1
        }
        if "P" in letters:
            found.add("$Forwarded")  # "passed": resent, forwarded or bounced
        found |= self.courier.get(path, {}).get(base, frozenset())
        return Flags(Flag(bits & ((1 << (FIRST_KEYWORD - 1)) - 1)), usable_keywords(found))

    def take(self, path: str, content: bytes) -> bool:
        """Read a file that is beside messages; False if it is none of these."""
        directory, name = posixpath.split(path)
        if name == DOVECOT_KEYWORDS:
            self.keywords[directory] = dovecot_keywords(content)
        elif path.endswith(COURIER_KEYWORDS):
            self.courier[posixpath.dirname(directory)] = _courier_keywords(content)
        elif name in SUBSCRIPTIONS:
            self.subscriptions = (self.subscriptions or set()) | _subscriptions(content)
        elif name == SPECIAL_USE:
            self.special_uses |= _special_uses(content)
        else:
            return False
        return True


def is_beside(path: str) -> bool:
    """Whether `Maildirs.take` wants the content of a file."""
    name = posixpath.basename(path)
    return name in (DOVECOT_KEYWORDS, SPECIAL_USE, *SUBSCRIPTIONS) or path.endswith(COURIER_KEYWORDS)


def is_no_mail(path: str) -> bool:
    """Whether a file is of those that mail servers keep beside messages."""
    return any(part.startswith(_IGNORED_PREFIXES) for part in path.split("/")[-2:])


def _decoded(part: str) -> str:
    try:
        return from_modified_utf7(part)
    except ValueError:
        return part  # some servers write names in UTF-8


def dovecot_keywords(content: bytes) -> list[str]:
    """Keyword by number; "" for a number that is not used."""
    found: list[str] = []
    for line in content.decode("utf-8", "replace").splitlines():
        number, _, name = line.partition(" ")
        if number.isdecimal() and int(number) < MAX_KEYWORDS and name:
            found.extend([""] * (int(number) + 1 - len(found)))
            found[int(number)] = name
    return found


def _courier_keywords(content: bytes) -> dict[str, frozenset[str]]:
    # Keywords, one a line; an empty line; then "<base>:<number> <number>…"
    listed, _, files = content.decode("utf-8", "surrogateescape").partition("\n\n")
    known = listed.splitlines()
    found: dict[str, frozenset[str]] = {}
    for line in files.splitlines():
        base, _, numbers = line.rpartition(":")
        chosen = [int(word) for word in numbers.split() if word.isdecimal()]
        found[base] = frozenset(known[number] for number in chosen if number < len(known))
    return found


def _subscriptions(content: bytes) -> set[str]:
    lines = content.decode("utf-8", "surrogateescape").splitlines()
    separator = "."
    if lines and lines[0] == "V\t2":
        separator, lines = "\t", lines[1:]
    decoded = {DELIMITER.join(_decoded(part) for part in line.split(separator)) for line in lines if line}
    # Courier's names all begin with INBOX, which is no part of them here.
    return {name.removeprefix("INBOX/") for name in decoded}


def _special_uses(content: bytes) -> dict[str, str]:
    pairs = (line.partition(" ") for line in content.decode("ascii", "replace").splitlines())
    return {_decoded(name): use for use, _, name in pairs if use.startswith("\\")}


def sidecar(lines: Iterable[str]) -> Mapping[str, Flags]:
    """`mailstack-flags` beside .eml files: one line "<file name>\\t<flag> <flag>…" each."""
    found: dict[str, Flags] = {}
    for line in lines:
        name, tab, words = line.rstrip("\n").partition("\t")
        if tab:
            found[name] = named_flags(words.split())
    return found


_NAMES = {"\\seen": Flag.SEEN, "\\answered": Flag.ANSWERED, "\\flagged": Flag.FLAGGED, "\\deleted": Flag.DELETED,
          "\\draft": Flag.DRAFT}  # fmt: skip


def named_flags(words: Iterable[str]) -> Flags:
    """Flags as IMAP writes them; unknown system flags and \\Recent are passed over."""
    listed = list(words)
    system = Flag(0)
    for word in listed:
        system |= _NAMES.get(word.lower(), Flag(0))
    return Flags(system, usable_keywords(word for word in listed if not word.startswith("\\")))


def flag_words(flags: Flags) -> list[str]:
    """The reverse of `named_flags`."""
    words = ["\\" + name[1:].capitalize() for name, bit in _NAMES.items() if flags.system & bit]
    return words + sorted(flags.keywords)
