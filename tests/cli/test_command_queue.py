"""`mailstack queue` on a queue that no server empties."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import LIMIT, PROGRAM, command, environment, invoke, on_terminal
from production import configuration
from server_process import REPOSITORY

from mailstack.config.load import load
from mailstack.handover import Outcome, Verdict
from mailstack.mail.address import Address
from mailstack.mail.parameters import MailParameters
from mailstack.ports import AccountName, Envelope
from mailstack.queue.content import QUEUE, Files
from mailstack.queue.database import DATABASE, QueueDatabase
from mailstack.queue.items import GIVEN_UP, Attempt, DestinationState, Item, Placed, Waiting

MESSAGE = b"Message-ID: <%s@example.org>\r\nSubject: \x1b[31mred\r\n\r\nbody of %s\r\n"


class Made:
    """A queue on disk; its items are named one, two and so on."""

    def __init__(self, config: Path) -> None:
        directory = config.parent / "data" / QUEUE
        self.config = config
        self.files = Files(directory)
        self.database = QueueDatabase(directory / DATABASE)
        self.now = time.time()

    def close(self) -> None:
        self.database.close()
        self.files.close()

    def put(self, name: str, *to: str, sender: str = "alice@example.org", age: float = 60.0, held: str = "") -> None:
        recipients = tuple(Address(*each.split("@")) for each in to)
        envelope = Envelope(
            Address(*sender.split("@")) if sender else None, recipients, AccountName(sender) if sender else None,
            parameters=MailParameters(envid="E1"),
        )  # fmt: skip
        octets, at = MESSAGE % (name.encode(), name.encode()), self.now - age
        offset = self.files.write(name, envelope, at, (octets,))
        places: dict[str, list[int]] = {}
        for number, address in enumerate(recipients):
            places.setdefault(address.domain, []).append(number)
        item = Item(name, envelope, at, at + 432000, offset, len(octets))
        placed = [Placed(domain, tuple(numbers), self.now + 3000, held) for domain, numbers in places.items()]
        self.database.transaction(lambda: self.database.add(item, placed, None))

    def tried(self, name: str, destination: str, text: str) -> None:
        row = self.row(name, destination)
        last = dict.fromkeys(row.recipients, Outcome(Verdict.LATER, "4.2.0", text, "mx.example.net"))
        row = replace(row, attempts=1, last=last, last_at=self.now)

        def change() -> None:
            self.database.replace(row)
            self.database.add_attempt(
                name, destination, Attempt(self.now, 1.5, "mx.example.net", f"C: EHLO x\nS: {text}")
            )

        self.database.transaction(change)

    def row(self, name: str, destination: str) -> Waiting:
        found = self.database.row(name, destination)
        assert found is not None
        return found

    def held(self) -> dict[str, str]:
        return {row.item.id: row.held for row in self.database.all()}


def queue(config: Path, *words: str) -> tuple[int, str, str]:
    result = invoke("queue", *words, "--config", config)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def made(config: Path) -> Iterator[Made]:
    found = Made(config)
    found.put("one", "bob@example.net", "eve@example.com", age=7200.0)
    found.put("two", "bob@example.net", sender="")
    found.put("two-held", "carol@example.net", held="by a rule")
    found.tried("one", "example.net", "450 4.2.0 grey\x1b[31m")
    yield found
    found.close()


def test_a_queue_that_is_not_there(config: Path) -> None:
    status, said, error = queue(config, "list")
    assert (status, said) == (1, "") and "there is no queue yet" in error


def test_list(made: Made) -> None:
    lines = queue(made.config, "list")[1].splitlines()
    assert [line.split()[0] for line in lines] == ["one", "one", "two", "two-held"]
    assert "alice@example.org -> eve@example.com; at example.com; next in 50 min" in lines[0]
    assert "2 h old" in lines[1] and r"1 attempt: 450 4.2.0 grey\x1b[31m" in lines[1]
    assert "<> -> bob@example.net" in lines[2] and "held: by a rule" in lines[3]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--held"], {"two-held"}),
        (["--sender", "<>"], {"two"}),
        (["--account", "alice@*"], {"one", "two-held"}),
        (["--recipient", "eve@*"], {"one"}),
        (["--destination", "*.com"], {"one"}),
        (["--older-than", "1h"], {"one"}),
        (["--message-id", "<two@example.org>"], {"two"}),
        (["two", "one", "--destination", "example.net"], {"one", "two"}),
        (["--sender", "nobody@*"], set()),
    ],
)
def test_what_is_listed(made: Made, words: list[str], expected: set[str]) -> None:
    status, said, _ = queue(made.config, "list", "--json", *words)
    found = json.loads(said)
    assert (status, {item["id"] for item in found}) == (0, expected)
    assert len(said.splitlines()) == max(len(found), 1), "an object a line"


def test_an_item_that_is_not_there(made: Made) -> None:
    for words in (["list", "one", "three"], ["hold", "three", "one"], ["show", "three"]):
        status, _, error = queue(made.config, *words)
        assert (status, error) == (1, "Error: not in the queue: three\n")
    assert made.held()["one"] == "by hand", "the others are done"


def test_show(made: Made) -> None:
    made.database.transaction(lambda: made.database.remove("one", "example.com"))  # type: ignore[arg-type,return-value]
    text = queue(made.config, "show", "one")[1]
    assert "one from alice@example.org, submitted by alice@example.org" in text
    assert "asked for ENVID E1" in text
    assert r"  bob@example.net  4.2.0 450 4.2.0 grey\x1b[31m (mx.example.net)" in text
    assert "done with; `mailstack log trace one` says how:\n  eve@example.com" in text
    assert re.search(r"attempt of .* at example.net with mx.example.net, 1.5 s\n  C: EHLO x\n  S: 450", text)
    document = json.loads(queue(made.config, "show", "one", "--json")[1])
    assert document["done"] == ["eve@example.com"]
    assert document["waiting"][0]["recipients"] == [
        {"address": "bob@example.net", "status": "4.2.0", "reply": "450 4.2.0 grey\x1b[31m", "mta": "mx.example.net"}
    ]
    assert document["transcripts"][0]["lines"] == ["C: EHLO x", "S: 450 4.2.0 grey\x1b[31m"]


def test_the_message_itself(made: Made) -> None:
    assert queue(made.config, "show", "two", "--headers")[1] == "Message-ID: <two@example.org>\nSubject: \\x1b[31mred\n"
    assert invoke("queue", "show", "two", "--raw", "--config", made.config).stdout_bytes == MESSAGE % (b"two", b"two")
    assert queue(made.config, "show", "two", "--raw", "--json")[0] == 2


def test_summary(made: Made) -> None:
    state = DestinationState("example.com", made.now - 600, made.now, made.now + 60, 3, "connection refused")
    made.database.transaction(lambda: made.database.set_destination(state))
    lines = queue(made.config, "summary")[1].splitlines()
    assert lines[0] == "3 messages, 3 waiting (0 due), 1 held, 1 destination failing, the oldest 2 h"
    assert lines[2].split() == ["3", "1", "2", "h", "50", "min", "example.net:", "450", "4.2.0", r"grey\x1b[31m"]
    assert lines[3].endswith("example.com, failing for 10 min: connection refused")
    document = json.loads(queue(made.config, "summary", "--json")[1])
    assert (document["messages"], document["held"], document["failing"]) == (3, 1, 1)
    assert document["destinations"][1]["failing_since"] == state.since


def test_held_released_retried(made: Made) -> None:
    assert queue(made.config, "hold", "--destination", "example.net") == (0, "held 2\n", "")
    status, said, warned = queue(made.config, "retry", "--all")
    assert (status, said) == (0, "due now 1\n") and "held, and left so: 3" in warned
    assert made.row("one", "example.com").due < made.now + 60
    assert queue(made.config, "release", "--held") == (0, "released 3\n", "")
    assert set(made.held().values()) == {""}


def test_fail_and_drop_ask_first(made: Made) -> None:
    for word in ("fail", "drop"):
        status, _, error = queue(made.config, word, "one")
        assert status == 1 and "1 message at 2 destinations" in error and "--yes" in error
    assert queue(made.config, "fail", "two", "--yes") == (0, "given up 1\n", "")
    assert made.held()["two"] == GIVEN_UP
    assert queue(made.config, "drop", "one", "--destination", "example.com", "--yes") == (0, "dropped 1\n", "")
    assert "one" in made.files.names()
    assert queue(made.config, "drop", "--all", "--yes") == (0, "dropped 3\n", "")
    assert list(made.files.names()) == [] and made.database.all() == []


def test_somebody_is_asked_on_a_terminal(made: Made) -> None:
    def answer(shown: bytes, terminal: int) -> bool:
        if b"[y/N]" not in shown:
            return False
        os.write(terminal, b"n\n")
        return True

    status, shown = on_terminal("queue", "drop", "two", "--config", str(made.config), answer=answer)
    assert status == 130 and b"Drop 1 message at example.net without telling anybody?" in shown
    assert "two" in made.held()


@pytest.mark.parametrize("word", ["hold", "release", "retry", "fail", "drop"])
def test_nothing_is_not_everything(made: Made, word: str) -> None:
    assert queue(made.config, word)[0] == queue(made.config, word, "--all", "one")[0] == 2
    assert queue(made.config, word, "--older-than", "soon")[0] == 2


def test_watch(made: Made) -> None:
    words = [*PROGRAM, "queue", "watch", "--config", str(made.config)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=REPOSITORY, env=environment(), text=True) as process:
        assert process.stdout is not None
        assert "3 messages, 3 waiting (0 due), 1 held, the oldest 2 h" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 0

    def answer(shown: bytes, terminal: int) -> bool:
        if b"example.net" not in shown:
            return False
        os.write(terminal, b"\x03")
        return True

    status, shown = on_terminal("queue", "watch", "--config", str(made.config), answer=answer)
    assert status == 0
    assert shown.startswith(b"\x1b[?25l") and b"\x1b[?25h" in shown


def test_route(config: Path) -> None:
    tables = (
        '[[routes]]\nname = "hub"\ndomains = ["*.net"]\nsenders = ["alice@*"]\nhosts = ["[::1]:2525", "127.0.0.1"]\n'
        'source = ["127.0.0.9"]\ntls = "required"\n[[holds]]\naccounts = ["eve@*"]\nreason = "too much"\n'
    )
    config.write_text(configuration(config.parent, tables=tables))
    done = command(
        "queue", "route", "bob@example.net", "alice@example.org", "--sender", "alice@example.org",
        "--account", "eve@example.org", "--config", str(config),
    )  # fmt: skip
    assert done.out == (
        "bob@example.net -> >hub (by [[routes]] hub)\n"
        "  held first: too much\n"
        "  [::1]:2525  SMTP, TLS required, with any certificate\n"
        "  [127.0.0.1]:25  SMTP, TLS required, with any certificate, from 127.0.0.9\n"
        "alice@example.org -> local (mailboxes here)\n"
    ), done.err
    assert done.status == 0
    assert queue(config, "route")[0] == queue(config, "route", "--apply", "bob@example.net")[0] == 2


def test_everything_goes_another_way(made: Made) -> None:
    tables = '[[routes]]\nname = "hub"\nhosts = ["127.0.0.1"]\n'
    made.config.write_text(configuration(made.config.parent, tables=tables))
    assert load(made.config).routes
    assert queue(made.config, "route", "--apply") == (0, "moved 4\n", "")
    assert [(row.item.id, row.destination, row.recipients) for row in made.database.all()] == [
        ("one", ">hub", (0, 1)), ("two", ">hub", (0,)), ("two-held", ">hub", (0,)),
    ]  # fmt: skip
    assert {row.item.id: row.held for row in made.database.all()}["two-held"] == "by a rule"
    assert queue(made.config, "route", "--apply")[1] == "moved 0\n"
