"""Several clients at work in one mailbox: each knows it from what it was told, and who comes back by QRESYNC
from any moment knows what a full download tells (RFC 7162)."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from imap_world import ALICE, Client, World
from mailbox_copy import Cache, Copy, Moment, come_back, numbers
from transcripts import result

from mailstack.ports import AccountName, Delivery, Flag, FlagAction, Flags
from mailstack.store.api import Store
from mailstack.store.maildir import names
from mailstack.store.workers import InlineWorkers

EXAMPLES = int(os.environ.get("RESYNCHRONISATION_EXAMPLES", "0"))
"""Examples of each property; 0 for some that are quickly done."""
SHM = Path("/dev/shm")
SYSTEM = (b"\\Seen", b"\\Answered", b"\\Flagged", b"\\Deleted", b"\\Draft")


class Peer:
    """A client that works on INBOX. Kind 0 knows no mod-sequences, 1 CONDSTORE, 2 QRESYNC."""

    def __init__(self, world: Both, kind: int) -> None:
        self.client = world.connect()
        self.kind = kind
        self.copy = Copy(qresync=kind == 2)
        self.moments: list[Moment] = []
        self.idling = False
        if kind == 2:
            self.client.lines(b"ENABLE QRESYNC")
        self.validity = 0
        self.select()

    def select(self) -> None:
        self.copy.entries = []
        lines = self.ask(b"SELECT INBOX (CONDSTORE)" if self.kind == 1 else b"SELECT INBOX")
        self.validity = int(re.search(rb"UIDVALIDITY (\d+)", b"".join(lines))[1])  # type: ignore[index]
        self.learn()

    def ask(self, command: bytes) -> list[bytes]:
        if self.idling:
            self.idling = False
            self.copy.hear(self.client.connection.take().split(b"\r\n")[:-1])
            self.copy.hear(self.client.say(b"DONE\r\n").split(b"\r\n")[:-1])
        lines = self.client.lines(command)
        if command.startswith((b"FETCH", b"STORE", b"SEARCH")):
            assert not [line for line in lines if b" EXPUNGE" in line or b"* VANISHED" in line]
        if b".SILENT" in command:
            self.remember(command, lines[-1])
        self.copy.hear(lines)
        if self.kind and self.validity:
            for line in lines:
                if b" FETCH (UID" in line and b"FLAGS" in line and not command.startswith((b"FETCH", b"UID FETCH")):
                    assert b"MODSEQ" in line, line
            self.moments.append(Moment(self.validity, self.copy.highest, self.copy.kept()))
        return lines

    def remember(self, command: bytes, reply: bytes) -> None:
        """What it did itself is not told, but for the messages of MODIFIED."""
        found = re.match(rb"(UID )?STORE (\d+)(:\*)? .*?([+-]?)FLAGS.SILENT \((.*)\)$", command)
        failed = re.search(rb"\[MODIFIED ([\d:,]+)\]", reply)
        assert found and (reply.startswith(b"t OK") or failed or b"BAD" in reply or b"EXPUNGEISSUED" in reply)
        if reply.startswith(b"t BAD"):
            return
        flags = frozenset(found[5].split())
        for number, entry in enumerate(self.copy.entries, 1):
            key = entry.uid if found[1] else number
            chosen = key >= int(found[2]) if found[3] else key == int(found[2])
            if chosen and entry.flags is not None and not (failed and key in numbers(failed[1])):
                known = {b"+": entry.flags | flags, b"-": entry.flags - flags, b"": flags}
                entry.flags = known[found[4]]

    def learn(self) -> None:
        """Ask of what is not known yet."""
        unknown = [number for number, entry in enumerate(self.copy.entries, 1) if not entry.uid or entry.flags is None]
        if unknown:
            self.ask(b"FETCH %d:* (UID FLAGS%s)" % (unknown[0], b" MODSEQ" if self.kind else b""))

    def idle(self) -> None:
        if not self.idling:
            self.copy.hear(self.client.say(b"i IDLE\r\n").split(b"\r\n")[1:-1])
            self.idling = True

    def check(self, world: Both) -> None:
        """After a NOOP it knows the mailbox."""
        self.ask(b"NOOP")
        self.learn()
        entries = self.copy.entries
        assert {entry.uid: entry.flags for entry in entries} == world.download()
        assert [entry.uid for entry in entries] == list(world.mailbox.uids)
        if self.kind:
            modseqs = world.mailbox.columns(world.mailbox.uids).modseqs
            assert all(entry.modseq in (0, modseq) for entry, modseq in zip(entries, modseqs, strict=True))
            assert self.copy.highest <= world.mailbox.highest_modseq


class Both(World):
    """The store in memory, or the one that writes a Maildir at `data`."""

    def __init__(self, data: Path | None) -> None:
        super().__init__(max_errors=1000)
        self.real = None if data is None else Store(data, InlineWorkers(), self.log)
        if self.real is not None:
            self.store, self.spool = self.real, self.real.spool  # type: ignore[assignment]
        self.mailbox = result(self.account.open("INBOX", self))

    def changed(self, change: object) -> None:
        """The test itself has the mailbox open."""

    @property
    def account(self):  # type: ignore[no-untyped-def]
        return result(self.store.account(AccountName(ALICE)))

    def connect(self, *, tls: bool = False) -> Client:
        client = super().connect(tls=tls)
        client.lines(b"LOGIN %s secret" % ALICE.encode())
        return client

    def deliver(self) -> None:
        sink = self.spool.sink()
        result(sink.write(b"Subject: x\r\n\r\n"))
        blob = result(sink.finish())
        assert result(self.store.deliver(blob, [Delivery(AccountName(ALICE), "INBOX", b"")])) == [None]

    def others_flag(self, n: int) -> None:
        """Another program changes a message's flags."""
        uids = self.mailbox.uids
        if not uids:
            return
        uid = uids[n % len(uids)]
        if self.real is None:
            action = FlagAction.REMOVE if self.mailbox.flags(uid) & Flag.FLAGGED else FlagAction.ADD
            result(self.mailbox.store_flags([uid], action, Flags(Flag.FLAGGED), None))
            return
        known = Path(self.mailbox.files.locate(uid) or "")
        base = names.split(known.name)[0]
        (path,) = [path for path in known.parent.iterdir() if names.split(path.name)[0] == base]
        letters = set(names.split(path.name)[1])
        path.rename(path.with_name(names.join(base, "".join(sorted(letters ^ {"F"})))))

    def download(self) -> Cache:
        """The mailbox as it is."""
        result(self.mailbox.refresh())
        found = self.mailbox.columns(self.mailbox.uids)
        return {
            uid: frozenset(name for i, name in enumerate(SYSTEM) if bits >> i & 1)
            for uid, bits in zip(found.uids, found.flags, strict=True)
        }


@contextmanager
def world_of(kind: str) -> Iterator[Both]:
    if kind == "memory":
        yield Both(None)
        return
    directory = Path(tempfile.mkdtemp(prefix="mailstack-", dir=SHM if SHM.is_dir() else None))
    try:
        world = Both(directory)
        yield world
        result(world.real.close())  # type: ignore[union-attr]
    finally:
        shutil.rmtree(directory)


COMMANDS = [
    "NOOP", "FETCH 1:* MODSEQ", "UID FETCH 1:* (FLAGS)", "FETCH {n} (UID BODY[])", "UID FETCH {uid}:* (BODY[])",
    "STORE {n} +FLAGS (\\Deleted)", "STORE {n}:* -FLAGS.SILENT (\\Seen)", "STORE {n} FLAGS.SILENT (\\Deleted \\Draft)",
    "UID STORE {uid} +FLAGS.SILENT (\\Deleted)", "STORE {n}:* (UNCHANGEDSINCE {modseq}) +FLAGS.SILENT (\\Answered)",
    "UID STORE 1:* (UNCHANGEDSINCE {modseq}) -FLAGS (\\Answered)", "EXPUNGE", "UID EXPUNGE {uid}", "SEARCH ALL",
    "COPY {n} INBOX", "COPY {n} Trash", "MOVE {n} Trash", "UID MOVE {uid}:* INBOX", "STATUS INBOX (HIGHESTMODSEQ)",
    "UID FETCH 1:* (FLAGS) (CHANGEDSINCE {modseq})", "UID SEARCH 1:*", "CLOSE",
]  # fmt: skip
DOINGS = st.tuples(
    st.integers(0, 4),
    st.one_of(st.sampled_from(COMMANDS), st.sampled_from(["deliver", "flag", "idle", "check", "append", "deliver"])),
    st.integers(0, 9),
)


def do(world: Both, peer: Peer, what: str, n: int) -> None:
    if what == "deliver":
        world.deliver()
    elif what == "flag":
        world.others_flag(n)
    elif what == "idle":
        peer.idle()
    elif what == "check":
        peer.check(world)
    elif what == "append":
        peer.ask(b"APPEND INBOX (\\Flagged) {14+}\r\nSubject: x\r\n\r\n")
        peer.learn()
    else:
        uids = [entry.uid for entry in peer.copy.entries if entry.uid] or [1]
        number = n % max(len(peer.copy.entries), 1) + 1
        command = what.format(n=number, uid=uids[n % len(uids)], modseq=max(peer.copy.highest - n // 3, 0))
        if "MODSEQ" in command or "SINCE" in command:
            peer.kind = peer.kind or 1  # it has made itself CONDSTORE-aware
        peer.ask(command.encode())
        if what == "CLOSE":
            peer.select()


def returned(world: Both, moment: Moment, form: int) -> Cache:
    """What a client that was away since then makes of its copy: told it has all, or some of it, or where it stands."""
    client = world.connect()
    client.lines(b"ENABLE QRESYNC")
    uids = sorted(moment.cache)
    more = b""
    if uids and form & 1:
        more += b" 1:%d" % uids[-1]
    if uids and form & 2:
        picked = range(1, len(uids) + 1, 2)
        more += b" (%s %s)" % (
            b",".join(b"%d" % seq for seq in picked), b",".join(b"%d" % uids[seq - 1] for seq in picked)
        )  # fmt: skip
    arguments = b"%d %d%s" % (moment.validity, max(moment.highest, 1), more)
    lines = client.lines(b"SELECT INBOX (QRESYNC (%s))" % arguments)
    if form & 4:  # the same once more, as a command
        lines += client.lines(b"UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d VANISHED)" % max(moment.highest, 1))
    lines += client.lines(b"UID FETCH %d:* (FLAGS)" % (max(moment.cache, default=0) + 1))
    client.lines(b"LOGOUT")
    return come_back(moment.cache, lines)


def scenario(kind: str, kinds: list[int], doings: list[tuple[int, str, int]], form: int) -> None:
    with world_of(kind) as world:
        for _ in range(3):
            world.deliver()
        peers = [Peer(world, number) for number in kinds]
        for which, what, n in doings:
            do(world, peers[which % len(peers)], what, n)
        for peer in peers:
            peer.check(world)
        whole = world.download()
        moments = {(moment.highest, *moment.cache.items()): moment for peer in peers for moment in peer.moments}
        for moment in moments.values():
            assert returned(world, moment, form) == whole
        assert not world.log.failures


KINDS = st.lists(st.integers(0, 2), min_size=2, max_size=5)


@settings(max_examples=EXAMPLES or 70, deadline=None)
@given(KINDS, st.lists(DOINGS, min_size=8, max_size=25), st.integers(0, 7))
def test_clients_know_the_mailbox_and_come_back(
    kinds: list[int], doings: list[tuple[int, str, int]], form: int
) -> None:
    scenario("memory", kinds, doings, form)


@settings(max_examples=EXAMPLES or 25, deadline=None)
@given(KINDS, st.lists(DOINGS, min_size=8, max_size=25), st.integers(0, 7))
def test_clients_know_a_maildir_and_come_back(kinds: list[int], doings: list[tuple[int, str, int]], form: int) -> None:
    scenario("maildir", kinds, doings, form)
