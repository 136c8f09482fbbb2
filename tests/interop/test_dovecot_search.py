"""SEARCH finds what Dovecot finds, where the RFC leaves no choice.

Dovecot finds less where it looks for text in addresses that it could read, and not in the headers of messages
within messages; a message without Date is for it of a day before all others."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from dovecot_process import MASTER, PASSWORD, Dovecot
from imap_client import Imap
from production import given_to_nobody

sys.path.insert(0, str(Path(__file__).parents[1] / "imap"))
from imap_world import World
from known_messages import MESSAGES

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        not os.access(MASTER, os.X_OK), reason="Dovecot is not installed (Debian: apt-get install dovecot-imapd)"
    ),
]

CORPUS = Path(os.environ.get("MAILSTACK_CORPUS", Path(__file__).parents[2] / "../shared/corpus"))
ODD = sorted(CORPUS.glob("*/*.eml"))
FIRST = 1_600_000_000
TEXTS = ("apple", "BIRNE", "Größe", "äpfel", "naïve", "ne tw", "日本", "zebra@example.org", "the", "mailman", "Re:")
KEYS = (
    "ALL", "SEEN", "UNSEEN", "FLAGGED", "DRAFT UNFLAGGED", "NOT SEEN", "OR FLAGGED DRAFT", "2:5,100:*", "*",
    "UID 3,7:9", "SINCE 14-Sep-2020", "BEFORE 14-Sep-2020", "ON 13-Sep-2020", "SENTSINCE 1-Jun-2023",
    'SENTBEFORE 1-Mar-2023 HEADER Date ""', "NOT SENTSINCE 1-Jun-2023", "SENTON 5-May-2023", "LARGER 300",
    "SMALLER 300", "NOT (LARGER 200 SMALLER 400)", "HEADER Message-ID @", 'HEADER Date ""', 'HEADER X-Other ""',
    'NOT HEADER Subject ""', "OR (BODY apple NOT SUBJECT apple) (FLAGGED LARGER 250)",
)  # fmt: skip


def boxes() -> dict[str, list[tuple[bytes, int]]]:
    """By user: octets and flags."""
    odd = [re.sub(rb"\r\n|\r|\n", b"\r\n", path.read_bytes()) for path in ODD]
    return {
        "made": [(made.octets, int(made.flags.system)) for made in MESSAGES],
        "odd": [(octets, 0) for octets in odd if len(octets) < 200_000],
    }


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    base = Path(tempfile.mkdtemp(prefix="dovecot-"))  # its sockets need a short name, "nobody" a way in
    try:
        base.chmod(0o755)
        for user, box in boxes().items():
            for folder in ("cur", "new", "tmp"):
                (base / "mail" / user / folder).mkdir(parents=True)
            for number, (octets, flags) in enumerate(box):
                letters = "".join(letter for letter, bit in (("D", 16), ("F", 4), ("S", 1)) if flags & bit)
                path = base / "mail" / user / "cur" / f"{FIRST + number}.M{number}P1.here:2,{letters}"
                path.write_bytes(octets.replace(b"\r\n", b"\n"))
                os.utime(path, (FIRST + 1000 * number, FIRST + 1000 * number))
        given_to_nobody(base / "mail")
        given_to_nobody(base)
        with Dovecot(base, base / "mail") as running:
            yield running
    finally:
        shutil.rmtree(base)


def commands(user: str) -> Iterator[tuple[str, bool]]:
    """Search keys, and whether Dovecot may find less."""
    yield from ((key, False) for key in KEYS if user == "made" or "SENT" not in key)
    for text in TEXTS:
        yield f'SUBJECT "{text}"', False
        yield f'NOT SUBJECT "{text}"', False
        yield f'BODY "{text}"', user == "odd"
        yield from ((f'{word} "{text}"', True) for word in ("FROM", "TO", "CC"))


@pytest.mark.parametrize("user", ["made", "odd"])
def test_the_same_is_found(dovecot: Dovecot, user: str) -> None:
    box = boxes()[user]
    if not box:
        pytest.skip("the folder of odd messages is not there")
    world = World()
    for number, (octets, flags) in enumerate(box):
        world.inbox.insert(octets, flags, float(FIRST + 1000 * number))
    ours, theirs = world.log_in(), Imap(dovecot.port, user, PASSWORD)
    theirs.command(b"SELECT INBOX")
    different: dict[str, tuple[set[bytes], set[bytes]]] = {}
    for key, less in commands(user):
        asked = f"SEARCH CHARSET UTF-8 {key}".encode()
        one, other = (set(said.split()[2:]) for said in (ours.lines(asked)[0], theirs.command(asked)[0]))
        if one != other and not (less and one > other):
            different[key] = one - other, other - one
    theirs.close()
    assert different == {}
