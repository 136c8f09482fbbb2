"""SORT and THREAD say what Dovecot says, where the RFC leaves no choice."""

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
from imap_world import Client, World
from odd_threads import Made, messages

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        not os.access(MASTER, os.X_OK), reason="Dovecot is not installed (Debian: apt-get install dovecot-imapd)"
    ),
]

CORPUS = Path(os.environ.get("MAILSTACK_CORPUS", Path(__file__).parents[2] / "../shared/corpus"))
SEEDS = range(4)
USERS = [*(f"made{seed}" for seed in SEEDS), "odd"]
KEYS = (
    "ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO", "DISPLAYFROM", "DISPLAYTO", "REVERSE DATE",
    "REVERSE SUBJECT", "SUBJECT REVERSE DATE", "FROM REVERSE SIZE DATE",
)  # fmt: skip
THREADS = ("REFERENCES UTF-8 ALL", "ORDEREDSUBJECT UTF-8 ALL", "REFERENCES UTF-8 SMALLER 320")


def _is_plain(made: Made) -> bool:
    """Whether the servers have no choice: 8-bit text of no declared charset is guessed, and two fields of one name
    or half a date are read by nobody's rule."""
    header = made.octets.partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0].lower() for line in header.split(b"\r\n")]
    return header.isascii() and names.count(b"date") < 2


def _boxes() -> dict[str, list[Made]]:
    boxes = {f"made{seed}": messages(seed, 150) for seed in SEEDS}
    octets = [re.sub(rb"\r\n|\r|\n", b"\r\n", path.read_bytes()) for path in sorted(CORPUS.glob("*/*.eml"))]
    odd = [Made(text, 1_600_000_000 + number * 7 % 1000) for number, text in enumerate(octets) if len(text) < 200_000]
    boxes["odd"] = [made for made in odd if _is_plain(made)]
    return boxes


@pytest.fixture(scope="module")
def boxes() -> dict[str, list[Made]]:
    return _boxes()


@pytest.fixture(scope="module")
def dovecot(boxes: dict[str, list[Made]]) -> Iterator[Dovecot]:
    base = Path(tempfile.mkdtemp(prefix="dovecot-"))  # its sockets need a short name, "nobody" a way in
    try:
        base.chmod(0o755)
        for user, box in boxes.items():
            for folder in ("cur", "new", "tmp"):
                (base / "mail" / user / folder).mkdir(parents=True)
            for number, made in enumerate(box):
                path = base / "mail" / user / "cur" / f"{1_600_000_000 + number}.M{number}P1.here:2,"
                path.write_bytes(made.octets.replace(b"\r\n", b"\n"))
                os.utime(path, (made.internal_date, made.internal_date))
        given_to_nobody(base / "mail")
        given_to_nobody(base)
        with Dovecot(base, base / "mail") as running:
            yield running
    finally:
        shutil.rmtree(base)


def _mailstack(box: list[Made]) -> Client:
    world = World()
    for made in box:
        world.inbox.insert(made.octets, 0, float(made.internal_date))
    return world.log_in()


def _answers(dovecot: Dovecot, user: str, commands: list[str]) -> list[bytes]:
    """The untagged response of each command."""
    client = Imap(dovecot.port, user, PASSWORD)
    client.command(b"SELECT INBOX")
    said = [client.command(command.encode())[0] for command in commands]
    client.close()
    return said


@pytest.mark.parametrize("user", USERS)
def test_the_same_orders(dovecot: Dovecot, boxes: dict[str, list[Made]], user: str) -> None:
    if not boxes[user]:
        pytest.skip("the folder of odd messages is not there")
    commands = [f"SORT ({keys}) UTF-8 ALL" for keys in KEYS]
    ours = _mailstack(boxes[user])
    theirs = _answers(dovecot, user, commands)
    different = [c for c, said in zip(commands, theirs, strict=True) if ours.lines(c.encode())[0] != said]
    assert not different
    assert len(theirs[0].split()) == len(boxes[user]) + 2


@pytest.mark.parametrize("user", USERS)
def test_the_same_threads(dovecot: Dovecot, boxes: dict[str, list[Made]], user: str) -> None:
    if not boxes[user]:
        pytest.skip("the folder of odd messages is not there")
    commands = [f"THREAD {what}" for what in THREADS]
    ours = _mailstack(boxes[user])
    theirs = _answers(dovecot, user, commands)
    assert [ours.lines(command.encode())[0] for command in commands] == theirs
    assert len(re.findall(rb"\d+", theirs[0])) == len(boxes[user])


@pytest.mark.parametrize("user", USERS)
def test_the_same_threads_of_refs(dovecot: Dovecot, boxes: dict[str, list[Made]], user: str) -> None:
    """Dovecot sorts by other dates than draft-ietf-morg-inthread-01 §4 says, so only who is whose parent is
    compared."""
    if not boxes[user]:
        pytest.skip("the folder of odd messages is not there")
    ours = _mailstack(boxes[user]).lines(b"THREAD REFS UTF-8 ALL")[0]
    (theirs,) = _answers(dovecot, user, ["THREAD REFS UTF-8 ALL"])
    assert _parents(ours) == _parents(theirs)
    assert len(_parents(ours)) == len(boxes[user])


def _parents(response: bytes) -> dict[int, int | frozenset[int]]:
    """Message → its parent, 0 for none; first messages of a thread without a parent → all of them."""
    parents: dict[int, int | frozenset[int]] = {}
    above: list[int] = []
    current, together = 0, []
    for token in re.findall(rb"[()]|\d+", response):
        if token == b"(":
            if not above:
                together.append([])
            above.append(current)
        elif token == b")":
            current = above.pop()
        else:
            parents[int(token)] = current
            if not current:
                together[-1].append(int(token))
            current = int(token)
    parents.update({first: frozenset(firsts) for firsts in together for first in firsts})
    return parents
