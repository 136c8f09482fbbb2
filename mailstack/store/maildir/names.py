"""File names of a Maildir: `<unique>,S=<octets>,W=<octets with CRLF>:2,<flags>`.

Sources: Bernstein, "Using maildir format"; Dovecot's maildir format for S=, W= and keywords."""

from __future__ import annotations

import itertools
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from mailstack.ports import FIRST_KEYWORD, Flag

INFO = ":2,"
MAX_DIGITS = 11
"""Digits of a time in seconds that is one: until the year 5138."""
_LETTERS: tuple[tuple[str, int], ...] = (
    ("D", int(Flag.DRAFT)), ("F", int(Flag.FLAGGED)), ("R", int(Flag.ANSWERED)), ("S", int(Flag.SEEN)),
    ("T", int(Flag.DELETED)),
)  # fmt: skip
_BITS = dict(_LETTERS)
_CRLF = re.compile(r",S=(\d{1,15}),W=\1(?=[,:]|$)")
_SIZE = re.compile(r",([SW])=(\d{1,15})(?=[,:]|$)")


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a name says of its file; -1 where it says nothing."""

    octets: int
    with_crlf: int


def split(name: str) -> tuple[str, str]:
    """The part that stays for the life of the message, and the flag letters."""
    base, _, info = name.partition(":")
    return base, info[2:] if info.startswith("2,") else ""


def join(base: str, letters: str) -> str:
    """The name in cur/."""
    return f"{base}{INFO}{letters}"


def split_info(name: str) -> tuple[str, str]:
    """Base, and what follows it: ":2,FS", something of another program, or nothing."""
    base, colon, info = name.partition(":")
    return base, colon + info


@lru_cache(4096)
def info_bits(info: str) -> int:
    """The flags of what follows the base; 0 for what is not of the form ":2,…"."""
    return bits(info[3:]) if info.startswith(INFO) else 0


@lru_cache(4096)
def suffix(value: int) -> str:
    """What follows the base in cur/ for these flags."""
    return INFO + letters(value)


def second(name: str) -> int | None:
    """The time in a unique name, in seconds since the epoch: when the message came into this mailbox,
    since a copy gets a name of its own. None for a name that has no time."""
    digits = name.partition(".")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS else None


def sizes(base: str) -> Sizes:
    """S= and W= of a name."""
    if ",S=" not in base and ",W=" not in base:
        return Sizes(-1, -1)
    found = {key: int(value) for key, value in _SIZE.findall(base)}
    return Sizes(found.get("S", -1), found.get("W", -1))


def has_crlf(name: str) -> bool:
    """Whether a name says that the line ends of its file are CRLF already: both sizes are the same."""
    return ",W=" in name and _CRLF.search(name) is not None


def bits(letters: str) -> int:
    """Flag letters as bits: a–z are keywords 0–25. `P` (passed) and others are not IMAP's."""
    value = 0
    for letter in letters:
        known = _BITS.get(letter)
        if known is not None:
            value |= known
        elif "a" <= letter <= "z":
            value |= 1 << (FIRST_KEYWORD + ord(letter) - 97)
    return value


def letters(value: int, before: str = "") -> str:
    """Bits as letters in ASCII order, keeping those of `before` that are not ours to change."""
    kept = {letter for letter in before if letter not in _BITS and not "a" <= letter <= "z"}
    kept.update(letter for letter, bit in _LETTERS if value & bit)
    keywords = value >> FIRST_KEYWORD
    number = 0
    while keywords:
        if keywords & 1:
            kept.add(chr(97 + number))
        keywords >>= 1
        number += 1
    return "".join(sorted(kept))


class UniqueNames:
    """Names that no other delivery uses, in this process or another: time, microseconds, process,
    counter, a random number of the process, host."""

    def __init__(self, host: str | None = None, clock: Callable[[], float] = time.time) -> None:
        name = host if host is not None else socket.gethostname()
        self._host = name.replace("/", "\\057").replace(":", "\\072").replace(",", "\\054") or "localhost"
        self._clock = clock
        self._count = itertools.count(1)
        self._process = f"P{os.getpid()}R{os.urandom(4).hex()}"
        self._lock = threading.Lock()
        self._last = 0

    def new(self) -> str:
        """The part before the sizes. Names ascend in the order in which they were asked for."""
        with self._lock:
            self._last = max(int(self._clock() * 1_000_000), self._last + 1)
            second, microsecond = divmod(self._last, 1_000_000)
        return f"{second}.M{microsecond:06d}{self._process}Q{next(self._count)}.{self._host}"


def alike(bases: list[str]) -> bool:
    """Whether the order of the names is that of the times in them."""
    return all(base[10:12] == ".M" for base in bases)


def arrival(base: str) -> tuple[int, int, str]:
    """Orders new messages by the time in their names."""
    second, _, rest = base.partition(".")
    microsecond = rest[1:7] if rest[:1] == "M" else ""
    return (
        int(second) if second.isdecimal() and len(second) < 16 else 0,
        int(microsecond) if microsecond.isdecimal() else 0,
        base,
    )
