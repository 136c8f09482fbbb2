"""The same files served by Dovecot and by mailstack: in turn, and both at once."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from dovecot_process import MASTER, PASSWORD, Dovecot
from imap_client import Imap, Mailbox
from production import NOT_ROOT, given_to_nobody
from server_process import Server, send_message

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        not os.access(MASTER, os.X_OK), reason="Dovecot is not installed (Debian: apt-get install dovecot-imapd)"
    ),
]

_USERS = (f"user{number}@example.org" for number in itertools.count(1))


class Pair:
    """Dovecot and mailstack on the same accounts."""

    def __init__(self, base: Path, separator: str, list_index: str) -> None:
        self.base = base
        self.delimiter = separator
        self.list_index = list_index
        self.stack = ExitStack()

    def __enter__(self) -> Pair:
        data = self.base / "data"
        (data / "mail").mkdir(parents=True)
        given_to_nobody(data)
        given_to_nobody(self.base)
        dovecot = Dovecot(self.base, data / "mail", separator=self.delimiter, list_index=self.list_index)
        self.dovecot = self.stack.enter_context(dovecot)
        self.mailstack = self.stack.enter_context(self.another_mailstack())
        return self

    def another_mailstack(self) -> Server:
        """One more process on the same data."""
        return Server(self.base, ("dev", "--data", str(self.base / "data"), "--ports", "0"), NOT_ROOT)

    def __exit__(self, *error: Any) -> None:
        self.stack.__exit__(*error)

    def account(self, user: str) -> Path:
        return self.base / "data" / "mail" / user

    def to_dovecot(self, user: str) -> Imap:
        return Imap(self.dovecot.port, user, PASSWORD, self.delimiter)

    def to_mailstack(self, user: str) -> Imap:
        return Imap(self.mailstack.port("imap"), user, PASSWORD)


@pytest.fixture(scope="module", params=[("/", "yes"), (".", "no")], ids=["slash", "dot"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    base = Path(tempfile.mkdtemp(prefix="dovecot-"))  # its sockets need a short name, "nobody" a way in
    try:
        base.chmod(0o755)
        with Pair(base, *request.param) as running:
            yield running
    finally:
        shutil.rmtree(base)


@pytest.fixture
def user() -> str:
    return next(_USERS)


class Both:
    """One account through both servers. A step is done by one of them; `agree` compares."""

    def __init__(self, pair: Pair, user: str, *, first: str) -> None:
        self.pair = pair
        self.user = user
        order = [pair.to_dovecot, pair.to_mailstack]
        if first == "mailstack":
            order.reverse()
        for connect in order:
            client = connect(user)
            client.list()
            client.close()
        self.dovecot, self.mailstack = pair.to_dovecot(user), pair.to_mailstack(user)
        self.one, self.other = (self.dovecot, self.mailstack) if first == "dovecot" else (self.mailstack, self.dovecot)

    def turn(self) -> None:
        """The other server's turn."""
        self.one, self.other = self.other, self.one

    def agree(self) -> dict[str, Mailbox]:
        """What both say of everything, which must be the same."""
        anew = self.pair.to_dovecot(self.user)  # its list index in an old session misses others' folders
        names = anew.list()
        anew.close()
        ours = self.mailstack.list()
        if self.pair.list_index == "no":  # then it passes over what is only a level of a name
            ours = {name: attributes for name, attributes in ours.items() if "\\noselect" not in attributes}
        assert ours == names
        assert self.dovecot.list(b"LSUB").keys() == self.mailstack.list(b"LSUB").keys()
        found: dict[str, Mailbox] = {}
        for name, attributes in names.items():
            if "\\noselect" in attributes:
                continue
            found[name] = self.dovecot.mailbox(name)
            said = self.mailstack.mailbox(name)
            assert said == found[name], f"{name}: mailstack says {said}, Dovecot {found[name]}"
        return found

    def close(self) -> None:
        self.dovecot.close()
        self.mailstack.close()


def message(text: str, lines: int = 1) -> bytes:
    body = "".join(f"{text} {number}\r\n" for number in range(lines))
    return f"From: <a@example.org>\r\nSubject: {text}\r\nMessage-ID: <{text}@example.org>\r\n\r\n{body}".encode()


NAMES = [
    "Lists/Python/Dev",
    "Entw&APw-rfe",
    "&ZeVnLIqe-/&U,BTFw-",
    "two words",
    "R&-D",
    "50%",
    "a~b",
    "Lists/~home",
    "star*",
    'back\\slash "quoted"',
    "INBOX/Inside",
    "cur",
]


@pytest.mark.parametrize("first", ["dovecot", "mailstack"])
def test_in_turn(pair: Pair, user: str, first: str) -> None:
    both = Both(pair, user, first=first)
    seen: dict[tuple[str, int, int], bytes] = {}

    def agree() -> dict[str, Mailbox]:
        found = both.agree()
        for name, mailbox in found.items():
            for uid, told in mailbox.messages.items():
                key = (name, mailbox.uid_validity, uid)
                assert seen.setdefault(key, told.octets) == told.octets, f"{key} means another message"
        return found

    agree()
    for name in NAMES:
        both.one.command(b"CREATE " + both.one.name(name))
        both.turn()
    assert set(NAMES) <= agree().keys()

    for _ in range(2):
        fill(both)
        agree()
        change(both)
        agree()
        move(both)
        agree()
        both.turn()
    both.close()
    assert not unexpected(pair, user)


def fill(both: Both) -> None:
    """APPEND with flags, keywords and dates; deliveries."""
    who = both.one
    who.append("INBOX", message("plain"))
    who.append("INBOX", message("dated", 30), r"\Seen $Forwarded", "01-Feb-2003 04:05:06 +0700")
    who.append("Lists/Python/Dev", message("nested"), r"\Flagged \Answered \Draft NonJunk $Forwarded")
    who.append("Entw&APw-rfe", b"no header at all")
    who.append("R&-D", b"\r\n\r\n")
    send_message(both.pair.mailstack, both.user, message("by smtp", 3))
    place = both.pair.account(both.user) / "tmp" / f"17{len(os.listdir(both.pair.account(both.user) / 'cur'))}.X.other"
    place.write_bytes(message("by another program", 3).replace(b"\r\n", b"\n"))
    place.rename(place.parent.parent / "new" / place.name)
    if NOT_ROOT:
        shutil.chown(place.parent.parent / "new" / place.name, "nobody", "nogroup")


def change(both: Both) -> None:
    """Flags and keywords by one, then the other, in one mailbox."""
    for who, keyword in ((both.one, b"ByOne"), (both.other, b"ByOther")):
        who.select("INBOX")
        who.command(rb"STORE 1 +FLAGS (\Seen \Flagged $Label1 " + keyword + b")")
        who.command(rb"STORE 2 FLAGS (\Answered " + keyword + b")")
        who.command(rb"STORE * -FLAGS (\Seen)")
        who.command(rb"STORE * +FLAGS ($forwarded)")
    both.one.command(b"SUBSCRIBE " + both.one.name("Lists/Python/Dev"))
    both.other.command(b"SUBSCRIBE " + both.other.name("Entw&APw-rfe"))
    both.other.command(b"SUBSCRIBE " + both.other.name("INBOX"))
    both.one.command(b"UNSUBSCRIBE " + both.one.name("INBOX"))


def move(both: Both) -> None:
    """COPY, MOVE, EXPUNGE; mailboxes made, renamed with inferiors, deleted."""
    one, other = both.one, both.other
    one.select("INBOX")
    one.command(b"COPY 1:* " + one.name("two words"))
    other.select("two words")
    other.command(b"MOVE 2 " + other.name("&ZeVnLIqe-/&U,BTFw-"))
    other.command(rb"STORE 1 +FLAGS (\Deleted)")
    one.select("two words")
    one.command(b"EXPUNGE")
    other.command(b"CREATE " + other.name("Old/Deep/Er"))
    other.append("Old/Deep/Er", message("deep"), "InOld")
    other.command(b"CREATE " + other.name("Old/Deep"), ok=b"")
    one.append("Old/Deep/Er", message("deep again"), "InOld Two")
    one.command(b"RENAME " + one.name("Old/Deep") + b" " + one.name("New place"))
    both.agree()
    other.append("New place/Er", message("renamed"), "InOld Three")
    both.agree()
    for name in ("New place/Er", "New place", "Old"):
        other.command(b"DELETE " + other.name(name), ok=b"")


def unexpected(pair: Pair, user: str) -> list[str]:
    """Complaints of either server about this account."""
    ours = [line for line in pair.mailstack.log.read_text().splitlines() if " warning " in line or " failure " in line]
    return [line for line in pair.dovecot.complaints() + ours if user in line or "Error" in line]
