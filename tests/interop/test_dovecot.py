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
from production import NOBODY, NOBODY_GROUP, NOT_ROOT, given_to_nobody
from server_process import Server, send_message

from mailstack.store.maildir.locks import Mark, dotlock

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


ONE_WAY = pytest.mark.parametrize("pair", [("/", "yes")], indirect=True, ids=["slash"])
"""For tests in which the separator makes no difference."""


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
            self.compare(name, found[name], self.mailstack.mailbox(name))
        return found

    @staticmethod
    def compare(name: str, dovecot: Mailbox, mailstack: Mailbox) -> None:
        assert (name, dovecot.uid_validity, dovecot.uid_next) == (name, mailstack.uid_validity, mailstack.uid_next)
        assert list(dovecot.messages) == list(mailstack.messages), name
        others = {uid: (told, mailstack.messages[uid]) for uid, told in dovecot.messages.items()}
        differing = {uid: pair for uid, pair in others.items() if pair[0] != pair[1]}
        assert not differing, f"{name}: first Dovecot's word, then mailstack's"

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
    fill_folders(both)
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


def fill_folders(both: Both) -> None:
    for name in NAMES:
        both.one.command(b"CREATE " + both.one.name(name))
        both.turn()


def fill(both: Both) -> None:
    """APPEND with flags, keywords and dates; deliveries."""
    who = both.one
    who.append("INBOX", message("plain"))
    who.append("INBOX", message("dated", 30), r"\Seen $Forwarded", "01-Feb-2003 04:05:06 +0700")
    who.append("Lists/Python/Dev", message("nested"), r"\Flagged \Answered \Draft NonJunk $Forwarded")
    who.append("Entw&APw-rfe", b"no header at all")
    who.append("R&-D", b"\r\n\r\n")
    send_message(both.pair.mailstack, both.user, message("by smtp", 3))
    account = both.pair.account(both.user)
    delivered(account, f"17{len(os.listdir(account / 'cur'))}.X.other", message("by another program", 3))


def delivered(account: Path, name: str, octets: bytes) -> None:
    """As a program does that knows Maildirs: lines end in LF, no sizes in the name."""
    place = account / "tmp" / name
    place.write_bytes(octets.replace(b"\r\n", b"\n"))
    if NOT_ROOT:
        shutil.chown(place, NOBODY, NOBODY_GROUP)
    place.rename(account / "new" / name)


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


ROUNDS = 20
"""What each client does in one mailbox that all of them have open."""


class Ledger:
    """What the clients were told, and what must be there at the end."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.told: dict[int, str] = {}
        self.expected: Counter[str] = Counter()
        self.contradictions: list[str] = []

    def tell(self, uid: int, name: str) -> None:
        with self.lock:
            if self.told.setdefault(uid, name) != name:
                self.contradictions.append(f"UID {uid} was {self.told[uid]}, is {name}")

    def expect(self, name: str, change: int = 1) -> None:
        with self.lock:
            self.expected[name] += change


_COPYUID = re.compile(rb"COPYUID \d+ ([\d:,]+) ([\d:,]+)")


def uids_of(text: bytes) -> list[int]:
    found: list[int] = []
    for part in text.split(b","):
        low, _, high = part.partition(b":")
        found.extend(range(int(low), int(high or low) + 1))
    return found


def named(text: str) -> bytes:
    return f"X-Name: {text}\r\nSubject: load\r\n\r\n{text}\r\n".encode()


def look(client: Imap, ledger: Ledger) -> dict[int, str]:
    """All that this server says is there; must agree with what was told before."""
    found: dict[int, str] = {}
    for response in client.command(b"UID FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (X-NAME)])", ok=b""):
        uid, name = re.search(rb"UID (\d+)", response), re.search(rb"X-Name: (\S+)", response)
        if uid and name:
            found[int(uid[1])] = name[1].decode()
            ledger.tell(int(uid[1]), name[1].decode())
    return found


def busy(client: Imap, who: str, ledger: Ledger) -> None:
    client.select("INBOX")
    for number in range(ROUNDS):
        mine = f"{who}.{number}"
        uid = client.append("INBOX", named(mine), "Work" if number % 2 else r"\Seen")
        ledger.tell(uid, mine)
        ledger.expect(mine)
        client.command(b"NOOP")
        # Either server may say NO [EXPUNGEISSUED] when others remove messages meanwhile.
        client.command(rb"UID STORE 1:* +FLAGS.SILENT (\Answered %s)" % who.encode(), ok=b"")
        if number % 3 == 0:
            copied = _COPYUID.search(client.command(b"UID COPY %d INBOX" % uid)[-1])
            assert copied, mine
            (copy,) = uids_of(copied[2])
            ledger.tell(copy, mine)
            ledger.expect(mine)
        if number % 4 == 0:
            client.command(rb"UID STORE %d +FLAGS.SILENT (\Deleted)" % uid)
            client.command(b"UID EXPUNGE %d" % uid)
            ledger.expect(mine, -1)
        if number % 5 == 0:
            look(client, ledger)
    client.close()


def deliver_by_smtp(pair: Pair, user: str, ledger: Ledger) -> None:
    for number in range(ROUNDS):
        send_message(pair.mailstack, user, named(f"smtp.{number}"))
        ledger.expect(f"smtp.{number}")


def deliver_by_rename(pair: Pair, user: str, ledger: Ledger) -> None:
    for number in range(ROUNDS):
        delivered(pair.account(user), f"17{number:08d}.P1Q{number}.elsewhere", named(f"file.{number}"))
        ledger.expect(f"file.{number}")


def test_both_at_once(pair: Pair, user: str) -> None:
    both = Both(pair, user, first="mailstack")
    ledger = Ledger()
    failures: list[BaseException] = []

    def run(work: Any, *arguments: Any) -> None:
        try:
            work(*arguments, ledger)
        except BaseException as error:
            failures.append(error)

    jobs: list[tuple[Any, ...]] = [(deliver_by_smtp, pair, user), (deliver_by_rename, pair, user)]
    for number in range(2):
        jobs += [
            (busy, pair.to_dovecot(user), f"dovecot{number}"),
            (busy, pair.to_mailstack(user), f"mailstack{number}"),
        ]
    threads = [threading.Thread(target=run, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert not ledger.contradictions
    found = both.agree()["INBOX"]
    for client in (both.mailstack, both.dovecot):
        client.select("INBOX")
    names = look(both.mailstack, ledger)
    assert names == look(both.dovecot, ledger)
    assert names.keys() == found.messages.keys()
    assert Counter(names.values()) == +ledger.expected
    assert not ledger.contradictions
    assert found.uid_next > max(ledger.told)
    both.close()
    assert not unexpected(pair, user)


@ONE_WAY
def test_the_mailbox_id_is_the_same(pair: Pair, user: str) -> None:
    both = Both(pair, user, first="mailstack")
    for name in ("INBOX", "Sent", "Sent"):
        both.dovecot.append(name, message("grows"))  # makes it write the file anew now and then
        theirs = re.search(rb"X-GUID (\w+)", both.dovecot.command(b"STATUS %s (X-GUID)" % name.encode())[0])
        ours = re.search(rb"MAILBOXID \((\w+)\)", both.mailstack.command(b"STATUS %s (MAILBOXID)" % name.encode())[0])
        assert theirs and ours
        assert theirs[1] == ours[1]
    both.close()


@ONE_WAY
def test_a_new_process_says_the_same(pair: Pair, user: str) -> None:
    both = Both(pair, user, first="dovecot")
    fill_folders(both)
    fill(both)
    before = both.agree()
    with pair.another_mailstack() as another:
        both.mailstack.close()
        both.mailstack = Imap(another.port("imap"), user, PASSWORD)
        assert both.agree() == before
        both.close()


@ONE_WAY
@pytest.mark.parametrize("linked", [False, True], ids=["made", "linked"])
def test_one_waits_for_the_others_lock(pair: Pair, user: str, tmp_path: Path, linked: bool) -> None:
    both = Both(pair, user, first="mailstack")
    both.one.append("INBOX", message("first"))
    path = pair.account(user) / "dovecot-uidlist"
    mark = Mark(tmp_path) if linked else None
    for who in (both.dovecot, both.mailstack):
        appended = threading.Event()

        def append(who: Imap = who, appended: threading.Event = appended) -> None:
            who.append("INBOX", message("waits"))
            appended.set()

        thread = threading.Thread(target=append)
        with dotlock(path, mark):
            thread.start()
            assert not appended.wait(0.2)
            lines = path.read_bytes().count(b"\n")
        assert appended.wait(10)
        thread.join()
        assert path.read_bytes().count(b"\n") == lines + 1
        both.agree()
    both.close()


DAMAGE = {
    "torn": lambda lines: [*lines, b"9 :to"],
    "zeros": lambda lines: [*lines[:3], b"\0" * len(lines[3]) + b"\n", *lines[4:]],
    "garbage": lambda lines: [*lines[:3], b"garbage\n", *lines[4:]],
    "backwards": lambda lines: [*lines[:3], lines[4], lines[3]],
    "no id": lambda lines: [re.sub(rb" G\w+", b"", lines[0]), *lines[1:]],
    "unknown words": lambda lines: [lines[0][:-1] + b" Xx y1\n", lines[1].replace(b" :", b" W9 Zz:z :"), *lines[2:]],
    "gone": lambda lines: [*lines, *(b"%d :gone%d\n" % (uid, uid) for uid in range(100, 120))],
}


@ONE_WAY
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("first", ["dovecot", "mailstack"])
def test_damage_is_mended_by_either(pair: Pair, user: str, damage: str, first: str) -> None:
    """Afterwards both say the same, UIDVALIDITY is what it was, and no UID means another message."""
    both = Both(pair, user, first="mailstack")
    for number in range(4):
        both.one.append("Sent", message(f"number {number}"))
    before = both.agree()["Sent"]
    both.close()
    path = pair.account(user) / ".Sent" / "dovecot-uidlist"
    lines = path.read_bytes().splitlines(keepends=True)
    temporary = path.with_name("x")
    temporary.write_bytes(b"".join(DAMAGE[damage](lines)))
    if NOT_ROOT:
        shutil.chown(temporary, NOBODY, NOBODY_GROUP)
    temporary.rename(path)
    clients = [pair.to_dovecot(user), pair.to_mailstack(user)]
    if first == "mailstack":
        clients.reverse()
    for client in clients:
        client.append("Sent", message("afterwards"))
        client.select("Sent")
        client.close()
    both.dovecot, both.mailstack = pair.to_dovecot(user), pair.to_mailstack(user)
    after = both.agree()["Sent"]
    assert after.uid_validity == before.uid_validity
    for uid, told in before.messages.items():
        assert after.messages.get(uid, told).octets == told.octets
    assert sorted(found.octets for found in after.messages.values()) == sorted(
        [*(told.octets for told in before.messages.values()), *[message("afterwards")] * 2]
    )
    both.close()


@ONE_WAY
@pytest.mark.needs("mbsync", package="isync")
def test_mbsync_downloads_nothing_again(pair: Pair, user: str, client: Any) -> None:
    both = Both(pair, user, first="dovecot")
    fill_folders(both)
    for name in ("INBOX", "INBOX", "Lists/Python/Dev", "&ZeVnLIqe-/&U,BTFw-", "Lists/~home", "50%", "R&-D"):
        both.one.append(name, message("far"), r"\Seen \Flagged")
        both.turn()
    (client.home / "mail").mkdir()
    servers = {"dovecot": (pair.dovecot.port, pair.delimiter), "mailstack": (pair.mailstack.port("imap"), "/")}

    def at_home() -> set[str]:
        return {path.name.partition(":")[0] for path in (client.home / "mail").rglob("*/[cn][ue][rw]/*")}

    def far_away() -> int:
        return sum(len(mailbox.messages) for mailbox in both.agree().values())

    def sync(server: str) -> tuple[int, int]:
        """How many messages came, and how many went. A message that comes anew is a new file."""
        port, delimiter = servers[server]
        rc = client.write(
            ".mbsyncrc",
            f"IMAPStore far\nHost 127.0.0.1\nPort {port}\nUser {user}\nPass {PASSWORD}\nSSLType None\n"
            f"AuthMechs LOGIN\nPathDelimiter {delimiter}\n\n"
            "MaildirStore near\nPath ~/mail/\nInbox ~/mail/INBOX\nSubFolders Verbatim\n\n"
            "Channel all\nFar :far:\nNear :near:\nPatterns * !cur\nCreate Near\nExpunge Both\nSyncState *\n",
        )
        home, far = at_home(), far_away()
        for directory in (client.home / "mail").rglob("*/[cn][ue][rw]"):
            os.utime(directory, (0, 0))  # it waits a second for directories that were changed just now
        client.run("mbsync", "-c", str(rc), "-a")
        return len(at_home() - home), far_away() - far

    came, went = sync("dovecot")
    assert (came, went) == (far_away(), 0)
    assert came == 7
    assert sync("mailstack") == (0, 0)
    both.mailstack.append("INBOX", message("new at mailstack"))
    (client.home / "mail" / "INBOX" / "new" / "1.new.at.home").write_bytes(b"Subject: new at home\n\n")
    came, went = sync("mailstack")
    assert (came - 1, went) == (1, 1)  # the one that went has a UID in its name now
    assert sync("dovecot") == (0, 0)
    both.agree()
    both.close()
