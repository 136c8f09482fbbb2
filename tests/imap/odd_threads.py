"""Messages whose headers are what SORT and THREAD look at, made by chance."""

from __future__ import annotations

import random
from dataclasses import dataclass

WORDS = ("hello", "Plan", "plan", "zebra", "Ärger", "lunch", "[x]", "")
PREFIXES = ("", "", "Re: ", "RE: ", "re : ", "Fwd: ", "fw: ", "[list] ", "Re: [list] ", "[list] Re: ", "[a][b] re[2]: ")
SUFFIXES = ("", "", "", " (fwd)", " (FWD) ", "  ")
ZONES = ("+0000", "-0800", "+0530", "GMT", "EST")
NAMES = ("Alice", "bob", '"Zoe, Q"', "=?utf-8?q?=C3=84rne?=", "")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True)
class Made:
    """A message's octets, and its internal date."""

    octets: bytes
    internal_date: int


def messages(seed: int, count: int) -> list[Made]:
    """Threads that branch, with references that are complete, cut short, of unknown messages, or wrong."""
    chance = random.Random(seed)
    made: list[Made] = []
    ids: list[tuple[str, list[str], str]] = []
    for number in range(count):
        own = f"<{number}.{chance.randrange(1000)}@example.org>"
        fields = [_date(chance, number), f"From: {_address(chance)}", f"To: {_address(chance)}, {_address(chance)}"]
        references: list[str] = []
        topic = f"{chance.choice(WORDS)} {chance.randrange(count)}".strip()
        if ids and chance.random() < 0.7:
            parent, before, topic = chance.choice(ids[-20:])
            references = [*before, parent]
            fields += _references(chance, references)
        if chance.random() < 0.3:
            fields.append(f"Cc: {_address(chance)}")
        fields.append(f"Subject: {chance.choice(PREFIXES)}{topic}{chance.choice(SUFFIXES)}")
        if chance.random() < 0.9:
            if ids and chance.random() < 0.03:
                own = chance.choice(ids)[0]
            fields.append(f"Message-ID: {own}")
        ids.append((own, references, topic))
        octets = "\r\n".join([*filter(None, fields), "", "x" * chance.randrange(50), ""]).encode()
        made.append(Made(octets, 1_500_000_000 + 100 * chance.randrange(count)))
    return made


def _date(chance: random.Random, number: int) -> str:
    kind = chance.random()
    if kind < 0.03:
        return ""
    if kind < 0.06:
        return "Date: no date at all"
    return (
        f"Date: {chance.choice(DAYS)}, {1 + number % 28} {chance.choice(('Jan', 'Feb'))} 2017"
        f" {chance.randrange(24):02}:{chance.randrange(60):02}:00 {chance.choice(ZONES)}"
    )


def _address(chance: random.Random) -> str:
    name = chance.choice(NAMES)
    local = f"{chance.choice(('a', 'B', 'c'))}{chance.randrange(5)}"
    return f"{name} <{local}@example.org>" if name else f"{local}@example.org"


def _references(chance: random.Random, references: list[str]) -> list[str]:
    kind = chance.random()
    if kind < 0.4:
        return [f"References: {' '.join(references)}", f"In-Reply-To: {references[-1]}"]
    if kind < 0.6:
        return [f"References: {' '.join(references[-2:])}"]
    if kind < 0.75:
        return [f"In-Reply-To: {references[-1]}"]
    if kind < 0.85:
        return [f"References: <unknown{chance.randrange(10)}@example.org> {references[-1]}"]
    if kind < 0.95:
        shuffled = [*references]
        chance.shuffle(shuffled)
        return ["References: " + "\r\n ".join(shuffled)]
    return [f"In-Reply-To: your message of yesterday {references[-1]}"]
