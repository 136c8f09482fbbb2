"""`mailstack tour`: that it tells what has happened, in each of its forms, and cleans up."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from command_line import LIMIT, PROGRAM, Ended, command, environment, invoke, on_terminal
from server_process import REPOSITORY

from mailstack.tour.events import Remark, Scene, WireLine
from mailstack.tour.scenes import mailbox_files
from mailstack.tour.show import Show
from mailstack.tour.wire import LineClient, NoAnswer

pytestmark = pytest.mark.processes
MESSAGE = re.compile(r"(new|cur)/\S+,S=(\d+),W=\d+(:2,(\w*))?")


@pytest.fixture(scope="module")
def plain() -> Ended:
    return command("tour")


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    ended = command("tour", "--json")
    assert ended.status == 0, ended
    assert ended.err == ""
    told: list[dict[str, Any]] = json.loads(ended.out)
    return told


def said(events: list[dict[str, Any]], who: str, *, client: bool) -> list[str]:
    return [event["text"] for event in events if event.get("who") == who and event["says"] is client]


def test_in_a_file_it_is_plain_and_whole(plain: Ended) -> None:
    assert plain.status == 0
    assert plain.err == ""
    assert "\x1b" not in plain.out
    assert "…" not in plain.out
    assert not plain.out.startswith("\n")
    assert "C: MAIL FROM:<bob@elsewhere.example>" in plain.out
    assert MESSAGE.search(plain.out)


def test_json_has_the_events(events: list[dict[str, Any]]) -> None:
    assert {event["event"] for event in events} == {"Scene", "WireLine", "OnDisk", "Remark"}
    assert [event["model"] for event in events if event["event"] == "Scene"] == ["pull", "push", "pull", "pull"]
    times = [event["at"] for event in events if event["event"] == "WireLine"]
    assert times == sorted(times)
    assert "secret" not in json.dumps(events)


def test_two_imap_readers_one_pop3_program_one_sender(events: list[dict[str, Any]]) -> None:
    assert "a3 IDLE" in said(events, "imap reader 1", client=True)
    assert "RETR 1" in said(events, "pop3 program", client=True)
    assert "b3 FETCH 1 (UID BODY[TEXT])" in said(events, "imap reader 2", client=True)
    sent = said(events, "smtp sender", client=True)
    body = sent[sent.index("") + 1]
    assert body in said(events, "pop3 program", client=False)
    assert body in said(events, "imap reader 2", client=False)


def test_the_idling_reader_hears_after_the_250_and_before_anything_else_is_asked(events: list[dict[str, Any]]) -> None:
    lines = [(event["who"], event["text"]) for event in events if event["event"] == "WireLine"]
    dot, exists = lines.index(("smtp sender", ".")), lines.index(("imap reader 1", "* 1 EXISTS"))
    assert dot < exists
    assert [who for who, _ in lines[dot + 1 : exists]] == ["smtp sender"]
    assert lines[dot + 1][1].startswith("250 ")


def test_the_disk_is_shown_as_it_changes(events: list[dict[str, Any]]) -> None:
    """The message is there when 250 is said, not before; its size is that which POP3 tells; \\Seen is an S."""
    named: list[tuple[int, str]] = []
    for number, event in enumerate(events):
        if event["event"] == "OnDisk":
            named += [(number, path) for path, _ in event["files"] if path.startswith(("new/", "cur/"))]
    first = events[named[0][0] - 1]
    assert (first["event"], first["text"][:4]) == ("WireLine", "250 ")
    (retrieved,) = [text for text in said(events, "pop3 program", client=False) if text.endswith(" octets")]
    match = MESSAGE.fullmatch(named[-1][1])
    assert match is not None
    assert retrieved == f"+OK {match[2]} octets"
    assert match[4] == "S"
    seen = next(number for number, path in named if path.endswith("S"))
    fetch = next(number for number, event in enumerate(events) if event.get("text", "").startswith("b3 FETCH"))
    assert fetch < seen


@pytest.mark.parametrize("more", [[], ["--no-color"]], ids=["colour", "no colour"])
def test_on_a_terminal_it_fits(more: list[str]) -> None:
    status, shown = on_terminal("tour", "--no-pause", *more, answer=lambda shown, terminal: True)
    assert status == 0, shown
    assert (b"\x1b[" in shown) is not bool(more)
    lines = re.sub(rb"\x1b\[\d*m", b"", shown).decode().splitlines()
    assert max(len(line) for line in lines if "S=" not in line) <= 80


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_its_server_ends_with_it(number: signal.Signals, tmp_path: Path) -> None:
    """Stopped while it waits for its reader, which has a full pipe before it."""
    reading, writing = os.pipe()
    tour = subprocess.Popen(
        [*PROGRAM, "tour"], stdout=writing, stderr=subprocess.DEVNULL, cwd=REPOSITORY,
        env=environment(TMPDIR=str(tmp_path)), pipesize=4096,
    )  # fmt: skip
    os.close(writing)
    assert os.read(reading, 1)
    (children,) = Path(f"/proc/{tour.pid}/task").glob("*/children")
    server = int(children.read_text().split()[0])
    try:
        tour.send_signal(number)
        os.close(reading)
        assert tour.wait(LIMIT) != 0
        assert not Path(f"/proc/{server}").exists()
        assert list(tmp_path.iterdir()) == []
    finally:
        tour.kill()
        tour.wait()
        with contextlib.suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)


def test_a_server_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailstack.cli.tour.sys.executable", "/bin/false")
    result = invoke("tour")
    assert result.exit_code == 1
    assert "the private server did not start" in result.stderr


def test_a_server_that_does_not_answer_as_it_should_is_no_story() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = LineClient("reader", listening.getsockname(), lambda event: None, lambda: 0.0)
        peer, _ = listening.accept()
        peer.sendall(b"* BYE\r\n")
        peer.close()
        with pytest.raises(NoAnswer, match=r"reader waited for '\* OK' and heard \['\* BYE'\]"):
            client.hear("* OK")
        client.close()


def test_what_is_in_a_maildir(tmp_path: Path) -> None:
    assert mailbox_files(tmp_path).files == ()
    for name in ("tmp", "new", "cur"):
        (tmp_path / name).mkdir()
    (tmp_path / "cur" / "b").write_bytes(b"12")
    (tmp_path / "tmp" / "a").write_bytes(b"1")
    (tmp_path / "dovecot-uidlist").write_bytes(b"123")
    assert mailbox_files(tmp_path).files == (("tmp/a", 1), ("cur/b", 2), ("dovecot-uidlist", 3))


def test_long_lines_are_continued_where_there_is_a_width() -> None:
    lines: list[str] = []
    show = Show(lines.append, color=False, width=60)
    show.record(Scene("Title", "push", "why"))
    show.record(WireLine("reader", False, "word " * 20, 1.0))
    show.record(Remark("note " * 20))
    assert all(len(line) <= 60 for line in lines)
    assert "".join(lines).count("word") == 20
    assert "".join(lines).count("note") == 20
