"""The story: one message is pushed in, and pulled out in three ways."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from mailstack.tour.events import Event, OnDisk, Remark, Scene, WireLine
from mailstack.tour.wire import LineClient, Record

ADDRESS = "alice@example.org"
MESSAGE = (
    "From: Bob <bob@elsewhere.example>",
    f"To: Alice <{ADDRESS}>",
    "Subject: Push and pull",
    "",
    "This line was pushed to the server, and will be pulled from it.",
)

Addresses = Mapping[str, tuple[str, int]]


class Tour:
    """Tells the story of one message to `record`, from a server at `addresses` that keeps
    Alice's mail in `maildir`. Raises: wire.NoAnswer, OSError."""

    def __init__(self, addresses: Addresses, maildir: Path, record: Record) -> None:
        self._addresses = addresses
        self._maildir = maildir
        self._tell = record
        self._began = time.monotonic()
        self._seen: OnDisk | None = None

    def _record(self, event: Event) -> None:
        """Tell it, and beside it what lies on disk now, if that has changed."""
        self._tell(event)
        disk = mailbox_files(self._maildir)
        if isinstance(event, WireLine) and disk != self._seen:
            self._seen = disk
            self._tell(disk)

    def tell(self) -> None:
        idler = self._idle()
        self._push(idler)
        self._pull_pop3()
        self._pull_imap(idler)
        self._leave(idler)

    def _idle(self) -> LineClient:
        self._scene("Pull, kept open: an IMAP reader waits (IDLE)", "pull", "The reader asks once and keeps listening.")
        reader = self._client("imap reader 1", "imap")
        reader.hear("* OK")
        reader.ask(f"a1 LOGIN {ADDRESS} secret", "a1 OK", shown=f"a1 LOGIN {ADDRESS} ******")
        reader.ask("a2 SELECT INBOX", "a2 OK")
        reader.ask("a3 IDLE", "+")
        return reader

    def _push(self, idler: LineClient) -> None:
        self._scene("Push: SMTP brings a message", "push", "The sender decides when; the server must be there.")
        sender = self._client("smtp sender", "smtp")
        sender.hear("220 ")
        sender.ask("EHLO elsewhere.example", "250 ")
        sender.ask("MAIL FROM:<bob@elsewhere.example>", "250 ")
        sender.ask(f"RCPT TO:<{ADDRESS}>", "250 ")
        sender.ask("DATA", "354 ")
        for line in MESSAGE:
            sender.say(line)
        sent = time.monotonic()
        sender.ask(".", "250 ")
        self._remark("250: the file and its directory are synced. The server may lose power now; the message stays.")
        idler.hear("* 1 EXISTS")
        told = time.monotonic()
        idler.hear("* 1 RECENT")  # comes with it: read now, so that it is shown when it came
        self._remark(f"The waiting reader was told {(told - sent) * 1000:.0f} ms after the final dot.")
        sender.ask("QUIT", "221 ")
        sender.close()

    def _pull_pop3(self) -> None:
        self._scene("Pull, and leave: POP3 fetches", "pull", "The program asks, takes what is there, and goes.")
        fetcher = self._client("pop3 program", "pop3")
        fetcher.hear("+OK")
        fetcher.ask(f"USER {ADDRESS}", "+OK")
        fetcher.ask("PASS secret", "+OK", shown="PASS ******")
        fetcher.ask("STAT", "+OK")
        fetcher.ask("UIDL", ".")
        fetcher.ask("RETR 1", ".")
        fetcher.ask("QUIT", "+OK")
        fetcher.close()
        before = self._seen
        if self._is_on_disk() == before:
            self._remark("POP3 without DELE has changed nothing: the files are as they were.")

    def _pull_imap(self, idler: LineClient) -> None:
        self._scene(
            "Pull, and stay: IMAP reads in place", "pull", "The mail stays; what the reader does to it is kept."
        )
        reader = self._client("imap reader 2", "imap")
        reader.hear("* OK")
        reader.ask(f"b1 LOGIN {ADDRESS} secret", "b1 OK", shown=f"b1 LOGIN {ADDRESS} ******")
        reader.ask("b2 SELECT INBOX", "b2 OK")
        reader.ask("b3 FETCH 1 (UID BODY[TEXT])", "b3 OK")
        self._remark("BODY[TEXT] without PEEK marks the message as read: the flag is in the file's name, an S.")
        idler.hear("* 1 FETCH")
        self._remark("The other reader heard of the flag, and so shows the message as read.")
        reader.ask("b4 LOGOUT", "b4 OK")
        reader.close()

    def _leave(self, idler: LineClient) -> None:
        idler.ask("DONE", "a3 OK")
        idler.ask("a4 LOGOUT", "a4 OK")
        idler.close()

    def _client(self, who: str, service: str) -> LineClient:
        return LineClient(who, self._addresses[service], self._record, lambda: (time.monotonic() - self._began) * 1000)

    def _scene(self, title: str, model: str, remark: str) -> None:
        self._record(Scene(title, model, remark))

    def _remark(self, text: str) -> None:
        self._record(Remark(text))

    def _is_on_disk(self) -> OnDisk:
        """What lies there now, whether it has changed or not."""
        self._seen = mailbox_files(self._maildir)
        self._tell(self._seen)
        return self._seen


def mailbox_files(maildir: Path) -> OnDisk:
    """The messages of the INBOX, those that are being written too, and the list of their UIDs."""
    while True:
        # Messages move from tmp to new to cur: in this order one may be seen twice, and never missed.
        paths = [path for folder in ("tmp", "new", "cur") for path in sorted((maildir / folder).glob("*"))]
        paths += maildir.glob("dovecot-uidlist")
        try:
            return OnDisk(tuple((str(path.relative_to(maildir)), path.stat().st_size) for path in paths))
        except FileNotFoundError:
            continue  # one moved while we looked: look again


def as_document(event: Event) -> dict[str, object]:
    """One event for JSON."""
    document: dict[str, object] = {"event": type(event).__name__}
    document.update({name: getattr(event, name) for name in event.__slots__})
    return document
