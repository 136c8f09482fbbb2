"""`dovecot-keywords`: which keyword each of the letters a–z in a mailbox's file names means.

0 $Forwarded
1 NonJunk"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mailstack.errors import Problem, Refused
from mailstack.ports import MAX_KEYWORDS
from mailstack.store.maildir.layout import replace_file

FILE = "dovecot-keywords"


def read(folder: Path) -> list[str]:
    """Names by number; "" for a number that is not used. Lines that make no sense are passed over.
    Raises: OSError."""
    names: list[str] = []
    try:
        content = (folder / FILE).read_text("utf-8", "replace")
    except FileNotFoundError:
        return names
    for line in content.splitlines():
        number, _, name = line.partition(" ")
        if number.isdecimal() and int(number) < MAX_KEYWORDS and name:
            names.extend([""] * (int(number) + 1 - len(names)))
            names[int(number)] = name
    return names


def numbers(folder: Path, names: list[str], wanted: Iterable[str]) -> list[int]:
    """The numbers of the wanted keywords, in any case of letters; unknown ones are added to `names`
    and to the file, durable on return. The caller holds the uidlist's lock.
    Raises: Refused(TOO_MANY_KEYWORDS), OSError."""
    known = {name.lower(): number for number, name in enumerate(names) if name}
    found: list[int] = []
    added = list(names)
    for keyword in wanted:
        number = known.get(keyword.lower())
        if number is None:
            number = len(added)
            if number >= MAX_KEYWORDS:
                raise Refused(Problem.TOO_MANY_KEYWORDS, keyword)
            added.append(keyword)
            known[keyword.lower()] = number
        found.append(number)
    if len(added) > len(names):
        lines = (f"{number} {name}\n" for number, name in enumerate(added) if name)
        replace_file(folder / FILE, "".join(lines).encode())
        names[:] = added
    return found
