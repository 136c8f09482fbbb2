"""`dovecot-keywords`: which keyword each of the letters a–z in a mailbox's file names means.

    0 $Forwarded
    1 NonJunk

The file is written anew under the lock of `dovecot-uidlist`. Dovecot looks at its modification time in
whole seconds, so that must grow each time. A letter that files have and the file lacks gets the name
`unknown-<number>`. Source: Dovecot's maildir format, and Dovecot 2.3's behaviour."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

from mailstack.errors import Problem, Refused
from mailstack.ports import MAX_KEYWORDS
from mailstack.store.maildir.layout import replace_file
from mailstack.store.maildir.names import split

FILE = "dovecot-keywords"
_ATOM = re.compile(r"[!#$&'+-\[^-z|}~]+")
"""flag-keyword (RFC 9051 §9)."""


def read(folder: Path) -> list[str]:
    """Names by number; "" for a number that is not used. Lines that make no sense are passed over, a name
    that IMAP cannot say is replaced. Raises: OSError."""
    names: list[str] = []
    try:
        content = (folder / FILE).read_text("utf-8", "replace")
    except FileNotFoundError:
        return names
    for line in content.split("\n"):
        number, _, name = line.partition(" ")
        if number.isascii() and number.isdecimal() and int(number) < MAX_KEYWORDS and name:
            names.extend([""] * (int(number) + 1 - len(names)))
            names[int(number)] = name if _ATOM.fullmatch(name) else _unknown(int(number))
    return names


def _unknown(number: int) -> str:
    return f"unknown-{number}"


def numbers(folder: Path, names: list[str], wanted: Iterable[str]) -> list[int]:
    """The numbers of the wanted keywords, in any case of letters; unknown ones are added to `names`
    and to the file, durable on return. The caller holds the uidlist's lock.
    Raises: Refused(TOO_MANY_KEYWORDS), OSError; then nothing was added."""
    known = {name.lower(): number for number, name in enumerate(names) if name}
    wanted = list(wanted)
    missing = dict.fromkeys(keyword.lower() for keyword in wanted if keyword.lower() not in known)
    if missing:
        added = [*names, *[""] * (MAX_KEYWORDS - len(names))]
        for number in _letters_in_use(folder):
            added[number] = added[number] or _unknown(number)
        spelled = {keyword.lower(): keyword for keyword in reversed(wanted)}
        for keyword in missing:
            if "" not in added:
                raise Refused(Problem.TOO_MANY_KEYWORDS, spelled[keyword])
            known[keyword] = added.index("")
            added[known[keyword]] = spelled[keyword]
        while not added[-1]:
            added.pop()
        _write(folder / FILE, added)
        names[:] = added
    return [known[keyword.lower()] for keyword in wanted]


def name_letters(folder: Path) -> None:
    """Write down a name for each letter that files have and the file lacks, durable on return. The caller holds
    the uidlist's lock. Raises: OSError."""
    names = read(folder)
    for number in sorted(_letters_in_use(folder)):
        names.extend([""] * (number + 1 - len(names)))
        names[number] = names[number] or _unknown(number)
    _write(folder / FILE, names)


def _letters_in_use(folder: Path) -> set[int]:
    """Numbers of the keywords in the names of files. Raises: OSError."""
    letters = {letter for name in os.listdir(folder / "cur") for letter in split(name)[1]}
    return {ord(letter) - 97 for letter in letters if "a" <= letter <= "z"}


def _write(path: Path, names: list[str]) -> None:
    try:
        before = int(path.stat().st_mtime)
    except FileNotFoundError:
        before = 0
    lines = (f"{number} {name}\n" for number, name in enumerate(names) if name)
    replace_file(path, "".join(lines).encode(), modified=max(int(time.time()), before + 1))
