"""Reads and plays the dialogues in `tests/scripts/`. The format is in `tests/scripts/README.md`.

`parse` makes a Transcript of a file; `play` plays it in a World, which is either the fakes of
`mailstack.testing` (`FakeWorld`) or a running server (`tests/processes`). All of it is synchronous.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailstack.imap.memory import Memory
from mailstack.mail.address import Address
from mailstack.pop3.logins import LoginTimes
from mailstack.ports import (
    AccountName,
    AccountStore,
    Blob,
    Delivery,
    Flag,
    Flags,
    MailStore,
    NewMessage,
    Peer,
    SendingLimits,
    Spool,
)
from mailstack.smtp.milter.stream import Dial
from mailstack.smtp.settings import Rates
from mailstack.testing.accounts import MemoryAccounts, MemoryDirectory
from mailstack.testing.clock import ManualClock
from mailstack.testing.connection import MemoryConnection
from mailstack.testing.counters import MemoryCounters
from mailstack.testing.log import RecordingLog
from mailstack.testing.names import FakeResolver
from mailstack.testing.outbound import MemoryOutbound
from mailstack.testing.store import MemorySpool, MemoryStore
from mailstack.testing.zones import Fault, Zones
from mailstack.transcripts.lines import matcher, unescape

SCRIPTS = Path(__file__).parent / "scripts"
PROTOCOLS = ("smtp", "submission", "lmtp", "imap", "pop3")

_LINE = re.compile(r"(?P<side>[CS])(?P<number>\d*)(?P<mark>[:-])(?: (?P<text>.*))?$")
_DIRECTIVE = re.compile(r"(?P<word>[a-z-]+): *(?P<text>.*)$")
_HEREDOC = re.compile(r"(?P<before>.*?)\s*<<(?P<end>[A-Z]+)$")
DIRECTIVES = frozenset(
    {"setting", "dns", "user", "offer", "token", "alias", "mailbox", "message", "deliver", "peer", "tls", "wait"}
)


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a script. `kind` is "C" or "S" or a directive; `octets` are those of a "C" line
    with its CRLF, or of a here-document."""

    number: int
    kind: str
    connection: int = 1
    text: str = ""
    octets: bytes = b""


@dataclass(slots=True)
class Transcript:
    """One file."""

    path: Path
    protocol: str
    title: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    offers: tuple[str, ...] = ("PLAIN", "LOGIN")
    tokens: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    peer: str = "127.0.0.1"
    zones: Zones = field(default_factory=Zones)
    tls: bool = False
    steps: list[Step] = field(default_factory=list)


class ScriptError(AssertionError):
    """A script went wrong, or is written wrongly. The message has file, line and the dialogue."""


class Link(Protocol):
    """The client's end of one connection."""

    def send(self, octets: bytes) -> None: ...

    def read_line(self) -> bytes | None:
        """The next line without CRLF; None when the server closed the connection or says nothing."""

    def rest(self) -> bytes:
        """What came and was not read, as far as that can be known without waiting."""

    def at_end(self) -> bool:
        """Whether the server closed the connection; waits for that."""

    def start_tls(self) -> None: ...

    def close(self) -> None: ...


class World(Protocol):
    """Where a script is played."""

    def connect(self) -> Link: ...

    def make_mailbox(self, user: str, mailbox: str) -> None: ...

    def put(self, user: str, mailbox: str, flags: Flags, octets: bytes) -> None:
        """Add a message to a mailbox."""

    def deliver(self, address: str, octets: bytes) -> None:
        """Deliver as SMTP would."""

    def event(self, word: str, link: Link) -> None:
        """`C: *shutdown*` and the like."""

    def finish(self) -> None:
        """Check what must be true at the end of each script, and free everything."""


# --- reading


def parse(path: Path) -> Transcript:
    """Raises: ScriptError."""
    script = Transcript(path, path.parent.name)
    lines = iter(enumerate(path.read_text().split("\n"), 1))
    for number, line in lines:
        if not line.strip():
            continue
        if line.startswith("#"):
            script.title = script.title or line[1:].strip()
        elif match := _LINE.match(line):
            script.steps.append(_dialogue(number, match, lines))
        elif (match := _DIRECTIVE.match(line)) and match["word"] in DIRECTIVES:
            _directive(script, number, match["word"], match["text"], lines)
        else:
            raise ScriptError(f"{path}:{number}: not a line of a script: {line!r}")
    return script


def _dialogue(number: int, match: re.Match[str], lines: Iterator[tuple[int, str]]) -> Step:
    connection = int(match["number"] or 1)
    text = match["text"] or ""
    if match["side"] == "S":
        return Step(number, "S", connection, text)
    if re.fullmatch(r"\*[a-z]+\*", text):
        return Step(number, "event", connection, text.strip("*"))
    if here := re.fullmatch(r"<<([A-Z]+)", text):
        return Step(number, "C", connection, text, _here_document(here[1], lines))
    end = b"" if match["mark"] == "-" else b"\r\n"
    return Step(number, "C", connection, text, unescape(text) + end)


def _directive(script: Transcript, number: int, word: str, text: str, lines: Iterator[tuple[int, str]]) -> None:
    match word:
        case "setting":
            key, _, value = text.partition("=")
            script.settings[key.strip()] = value.strip()
        case "user":
            name, password = text.split()
            script.users[name] = password
        case "offer":
            script.offers = tuple(text.split())
        case "token":
            token, user = text.split()
            script.tokens[token] = user
        case "alias":
            name, *accounts = text.split()
            script.aliases[name] = tuple(accounts)
        case "dns":
            name, rdtype, *fields = text.split()
            if rdtype in Fault.__members__:
                script.zones[name] = Fault[rdtype]
            else:
                script.zones.add(name, rdtype, tuple(fields))
        case "peer":
            script.peer = text
        case "tls":
            script.tls = text == "yes"
        case _:
            octets = b""
            if here := _HEREDOC.match(text):
                text, octets = here["before"], _here_document(here["end"], lines)
            script.steps.append(Step(number, word, 0, text, octets))


def _here_document(end: str, lines: Iterator[tuple[int, str]]) -> bytes:
    octets = []
    for _, line in lines:
        if line == end:
            return b"".join(octets)
        octets.append(unescape(line) + b"\r\n")
    raise ScriptError(f"a here-document has no {end}")


def transcripts(protocol: str | None = None) -> list[Path]:
    """All scripts, of one protocol if given."""
    return sorted(path for p in PROTOCOLS if protocol in (None, p) for path in (SCRIPTS / p).glob("*.txt"))


# --- playing


def play(script: Transcript, world: World) -> None:
    """Raises: ScriptError."""
    player = _Player(script, world)
    try:
        player.run()
    finally:
        for link in player.links.values():
            link.close()
    world.finish()


class _Player:
    def __init__(self, script: Transcript, world: World) -> None:
        self.script = script
        self.world = world
        self.links: dict[int, Link] = {}
        self.shown: list[str] = []

    def run(self) -> None:
        steps = self.script.steps
        at = 0
        while at < len(steps):
            step = steps[at]
            at += 1
            if step.kind != "C":
                self.step(step)
                continue
            # Neighbouring C: lines leave in one segment: that is what pipelining is.
            octets = [step.octets]
            while at < len(steps) and steps[at].kind == "C" and steps[at].connection == step.connection:
                octets.append(steps[at].octets)
                at += 1
            self.send(step, b"".join(octets))
        for number, link in self.links.items():
            self.nothing_left(steps[-1], number, link)

    def step(self, step: Step) -> None:
        match step.kind:
            case "S":
                self.expect(step)
            case "event":
                self.event(step)
            case "mailbox":
                self.world.make_mailbox(*step.text.split(maxsplit=1))
            case "message":
                user, mailbox, *flags = step.text.split()
                self.world.put(user, mailbox, flags_of(flags), step.octets)
            case "deliver":
                self.world.deliver(step.text, step.octets)

    def link(self, number: int) -> Link:
        if number not in self.links:
            self.links[number] = self.world.connect()
        return self.links[number]

    def send(self, step: Step, octets: bytes) -> None:
        link = self.link(step.connection)
        self.nothing_left(step, step.connection, link)
        for line in octets.split(b"\r\n")[:-1] if octets.endswith(b"\r\n") else [octets]:
            self.show("C", step.connection, line)
        link.send(octets)

    def event(self, step: Step) -> None:
        link = self.link(step.connection)
        self.nothing_left(step, step.connection, link)
        self.show("C", step.connection, f"*{step.text}*".encode())
        if step.text == "close":
            link.close()
        elif step.text == "starttls":
            link.start_tls()
        else:
            self.world.event(step.text, link)

    def expect(self, step: Step) -> None:
        link = self.link(step.connection)
        if step.text == "*close*":
            if not link.at_end():
                self.fail(step, f"the connection is still open; unread: {link.rest()!r}")
            self.show("S", step.connection, b"*close*")
        elif step.text == "*nothing*":
            self.nothing_left(step, step.connection, link)
        elif step.text == "*until*" or step.text.startswith("*until* "):
            self.skip_until(step, link, matcher(step.text.removeprefix("*until*").strip()))
        else:
            line = link.read_line()
            if line is None:
                self.fail(step, "the server said nothing")
            self.show("S", step.connection, line)
            if not matcher(step.text)(line):
                self.fail(step, f"the server said {line!r}")

    def skip_until(self, step: Step, link: Link, accepts: Callable[[bytes], bool]) -> None:
        while (line := link.read_line()) is not None:
            self.show("S", step.connection, line)
            if accepts(line):
                return
        self.fail(step, "that line never came")

    def nothing_left(self, step: Step, number: int, link: Link) -> None:
        if rest := link.rest():
            for line in rest.split(b"\r\n"):
                self.show("S", number, line)
            self.fail(step, f"connection {number} has output that the script does not expect: {rest[:400]!r}")

    def show(self, side: str, number: int, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace")
        self.shown.append(f"{side}{number if number > 1 else ''}: {text[:300]}")

    def fail(self, step: Step, why: str) -> None:
        dialogue = "\n    ".join(self.shown[-60:])
        raise ScriptError(
            f"{self.script.path}:{step.number}: {why}\n  expected: {step.kind}: {step.text}\n"
            f"  the dialogue so far:\n    {dialogue}"
        )


def flags_of(names: list[str]) -> Flags:
    """Flags by name, as `\\Seen` and `$Forwarded`."""
    system = Flag(0)
    for name in names:
        if name.startswith("\\"):
            system |= Flag[name[1:].upper()]
    return Flags(system, frozenset(name for name in names if not name.startswith("\\")))


# --- over the fakes


class FakeLink:
    """A session over a MemoryConnection."""

    def __init__(self, connection: MemoryConnection) -> None:
        self.connection = connection
        self.over = False
        self.failure: Failure | None = None
        self._buffer = b""

    def start(self, run: Deferred[None]) -> None:
        run.addCallbacks(self._ended, self._failed)

    def _ended(self, _: object) -> None:
        self.over = True

    def _failed(self, failure: Failure) -> None:
        self.over = True
        self.failure = failure

    def _raise(self) -> None:
        if self.failure is not None:
            raise ScriptError(f"the session raised: {self.failure.getTraceback()}")

    def send(self, octets: bytes) -> None:
        self.connection.feed(octets)
        self._raise()

    def read_line(self) -> bytes | None:
        self._buffer += self.connection.take()
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            return None
        self._buffer = rest
        return line

    def rest(self) -> bytes:
        self._buffer += self.connection.take()
        return self._buffer

    def at_end(self) -> bool:
        self._raise()
        return self.over and not self.rest()

    def start_tls(self) -> None:
        assert self.connection.tls is not None, "the server did not start TLS"

    def close(self) -> None:
        if not self.over:
            self.connection.close()
        self._raise()


class FakeSession(Protocol):
    """What runs on a connection."""

    async def run(self) -> None: ...


@dataclass(slots=True)
class Fakes:
    """Everything that a session may want, in memory."""

    script: Transcript
    store: MailStore = field(default_factory=MemoryStore)
    spool: Spool = field(default_factory=MemorySpool)
    outbound: MemoryOutbound = field(default_factory=MemoryOutbound)
    log: RecordingLog = field(default_factory=RecordingLog)
    clock: ManualClock = field(default_factory=ManualClock)
    counters: MemoryCounters = field(default_factory=MemoryCounters)
    memory: Memory = field(default_factory=Memory)
    rates: Rates = field(default_factory=Rates)
    logins: LoginTimes = field(default_factory=LoginTimes)
    sending: SendingLimits | None = None
    resolver: FakeResolver = field(init=False)
    journal: None = None
    dialogues: bool = False
    dial: Dial | None = None
    more_checks: None = None
    accounts: MemoryAccounts = field(init=False)
    directory: MemoryDirectory = field(init=False)

    def __post_init__(self) -> None:
        self.accounts = MemoryAccounts(self.script.users, self.script.offers)
        self.accounts.tokens.update(self.script.tokens)
        self.resolver = FakeResolver(self.script.zones)
        self.directory = MemoryDirectory(self.script.users, self.script.aliases, self._domains())

    def _domains(self) -> list[str]:
        return self.script.settings.get("domains", "").split()


class FakeWorld:
    """Plays a script over `mailstack.testing`. `session` makes the session of one connection."""

    def __init__(self, script: Transcript, session: Callable[[MemoryConnection, Fakes], FakeSession]) -> None:
        self.script = script
        self.fakes = Fakes(script)
        self._session = session
        self._links: list[FakeLink] = []

    def use_store(self, store: MailStore, spool: Spool) -> None:
        """Play over another store than the one in memory; it must never wait."""
        self.fakes.store, self.fakes.spool = store, spool

    def account(self, user: str) -> AccountStore:
        account: AccountStore = result(self.fakes.store.account(AccountName(user)))
        return account

    def blob(self, octets: bytes) -> Blob:
        sink = self.fakes.spool.sink()
        result(sink.write(octets))
        blob: Blob = result(sink.finish())
        return blob

    def connect(self) -> FakeLink:
        connection = MemoryConnection(f"c{len(self._links) + 1}", Peer(self.script.peer, 40000 + len(self._links)))
        link = FakeLink(connection)
        self._links.append(link)
        link.start(Deferred.fromCoroutine(self._session(connection, self.fakes).run()))
        return link

    def make_mailbox(self, user: str, mailbox: str) -> None:
        account = self.account(user)
        if all(entry.name != mailbox for entry in result(account.mailboxes())):
            result(account.create(mailbox))

    def put(self, user: str, mailbox: str, flags: Flags, octets: bytes) -> None:
        blob = self.blob(octets)
        result(self.account(user).append(mailbox, [NewMessage(blob, flags)]))
        blob.discard()

    def deliver(self, address: str, octets: bytes) -> None:
        local, _, domain = address.rpartition("@")
        route = result(self.fakes.directory.route(Address(local, domain)))
        blob = self.blob(octets)
        deliveries = [Delivery(AccountName(account), route.mailbox, b"") for account in route.accounts]
        answers = result(self.fakes.store.deliver(blob, deliveries))
        blob.discard()
        assert not any(answers), answers

    def event(self, word: str, link: Link) -> None:
        assert isinstance(link, FakeLink)
        match word:
            case "shutdown":
                link.connection.shut_down()
            case "timeout":
                link.connection.time_out()
            case "silence":
                link.connection.be_silent()
            case "tick":
                self.fakes.clock.advance(60.0)
            case _:
                raise ScriptError(f"no such event: {word}")

    def finish(self) -> None:
        failures = [f"{line.what}: {line.error!r}" for line in self.fakes.log.failures]
        assert not failures or self.script.settings.get("failures") == "expected", failures
        leaks = getattr(self.fakes.spool, "leaks", 0)
        assert not leaks, f"{leaks} blobs or sinks were not discarded"
        for link in self._links:
            assert link.over, f"the session of {link.connection.id} did not return when the peer was gone"


def result(coroutine):  # type: ignore[no-untyped-def]
    """The result of a coroutine that does not wait."""
    found: list[object] = []
    Deferred.fromCoroutine(coroutine).addBoth(found.append)
    assert found, "the coroutine waits"
    if isinstance(found[0], Failure):
        found[0].raiseException()
    return found[0]
