"""Accounts for tests of import and export: filled, and looked at as a whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from command_line import invoke

from mailstack.observe.log import FORMATS, Level, StructuredLog, Target
from mailstack.ports import FIRST_KEYWORD, AccountName, Flag, Flags, NewMessage
from mailstack.store.api import Store
from mailstack.store.spool import StoredBlob
from mailstack.transfer.inline import Silent, open_store, run

ODD = (
    (
        b"From: a@b.test\r\nSubject: plain\r\n\r\nFrom here\r\n>From there\r\n\r\n",
        Flags(Flag.SEEN),
        1_000_000_000,
    ),
    (
        b"Subject: keywords\r\n\r\nx\r\n",
        Flags(Flag.FLAGGED | Flag.DRAFT, frozenset({"$Forwarded", "work"})),
        86_400,
    ),
    (b"Subject: work only\r\n\r\nx\r\n", Flags(Flag(0), frozenset({"work"})), 86_401),
    (
        b"Status: RO\r\nX-Keywords: mine\r\nSubject: fields of the sender\r\n\r\nx\r\n",
        Flags(),
        1_700_000_000,
    ),
    (
        b"Subject: double CR\r\n\r\nx\r\r\nFrom y\r\n",
        Flags(Flag.ANSWERED),
        1_700_000_001,
    ),
    (b"Subject: no body\r\n\r\n", Flags(Flag.DELETED), 1_700_000_002),
    (b" begins with a blank\r\nSubject: x\r\n\r\nx\r\n", Flags(), 1_700_000_003),
    (b"\r\nno header at all\r\n", Flags(Flag.SEEN), 1_700_000_004),
    (b"", Flags(), 1_700_000_005),
    (b"Subject: twice\r\n\r\nx\r\n", Flags(), 1_700_000_006),
    (b"Subject: twice\r\n\r\nx\r\n", Flags(), 1_700_000_006),
    (b"Subject: 8 bit \xff\xfe\r\n\r\n\x00\x01\r\n\r\n\r\n", Flags(), 1_700_000_007),
    (
        b"Subject: large\r\n\r\n"
        + b"From line 70 octets long, as many of them as do not fit in memory ....\r\n" * 4000,
        Flags(),
        1,
    ),
)
FOLDERS = ("INBOX", "Lists/Py", "Entwürfe & Co", "日本語/メール", "Sent")


@dataclass(frozen=True, slots=True)
class Seen:
    """A mailbox as a whole: its messages, sorted."""

    messages: tuple[tuple[bytes, int, frozenset[str], int], ...]
    special_use: str
    subscribed: bool


@contextmanager
def store_of(data: Path) -> Iterator[Store]:
    store = open_store(data, StructuredLog(Target(sys.stderr, FORMATS["text"], Level.WARNING)))
    yield store
    run(store.close())


def fill(data: Path, account: str = "alice@localhost") -> None:
    """An account with every kind of message in INBOX, and some in the others."""
    (data / "mail").mkdir(parents=True, exist_ok=True)
    with store_of(data) as store:
        found = run(store.account(AccountName(account)))
        for number, name in enumerate(FOLDERS):
            if name not in ("INBOX", "Sent"):
                run(found.create(name))
            if number % 2:
                run(found.subscribe(name))
            wanted = ODD if name == "INBOX" else ODD[number : number + 3]
            run(found.append(name, [new(octets, flags, date) for octets, flags, date in wanted]))


def new(octets: bytes, flags: Flags, date: float) -> NewMessage:
    return NewMessage(StoredBlob(len(octets), (octets,)), flags, date)


def seen(data: Path, account: str = "alice@localhost") -> dict[str, Seen]:
    """All mailboxes that have messages."""
    with store_of(data) as store:
        found = run(store.account(AccountName(account)))
        subscribed = run(found.subscriptions())
        result: dict[str, Seen] = {}
        for entry in run(found.mailboxes()):
            if not entry.selectable:
                continue
            listener = Silent()
            mailbox = run(found.open(entry.name, listener))
            uids = list(mailbox.uids)
            run(mailbox.measure(uids))
            octets = run(mailbox.examine(uids, lambda octets: octets[:]))
            rows = []
            for uid, data_octets in zip(uids, octets, strict=True):
                bits, date = mailbox.flags(uid), mailbox.internal_date(uid)
                assert bits is not None and date is not None and data_octets is not None
                keywords = {k for n, k in enumerate(mailbox.keywords) if bits >> (FIRST_KEYWORD + n) & 1}
                rows.append((data_octets, bits & 31, frozenset(keywords), int(date)))
            mailbox.close(listener)
            result[entry.name] = Seen(
                tuple(sorted(rows, key=lambda row: (row[3], row[0]))),
                entry.special_use,
                entry.name in subscribed,
            )
        return {name: mailbox for name, mailbox in result.items() if mailbox.messages}


def octets_of(data: Path, name: str = "INBOX", account: str = "alice@localhost") -> list[bytes]:
    """The messages of one mailbox."""
    return [row[0] for row in seen(data, account)[name].messages] if name in seen(data, account) else []


def imported(data: Path, *words: str | Path, status: int = 0, account: str = "alice@localhost") -> str:
    """`mailstack import` within this process; what it printed, standard error first."""
    (data / "mail").mkdir(parents=True, exist_ok=True)
    result = invoke("import", account, *words, "--data", data)
    assert result.exit_code == status, result.output
    return result.stderr + result.stdout


def exported(data: Path, *words: str | Path, status: int = 0) -> str:
    """`mailstack export alice` in the same way."""
    result = invoke("export", "alice", *words, "--data", data)
    assert result.exit_code == status, result.output
    return result.stderr + result.stdout
