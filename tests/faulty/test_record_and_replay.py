"""`mailstack record` and `replay` between real clients and servers."""

from __future__ import annotations

import imaplib
import os
import poplib
import re
import smtplib
import socket
import ssl
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from server_process import REPOSITORY, Server

from mailstack.cli.main import run
from mailstack.transcripts.lines import parse
from mailstack.transcripts.replay import ClientSide, Deviates, Wire

MESSAGE = "Subject: x\r\n\r\nHello \xe9\r\n.dot\r\n".encode()


class Command:
    """`mailstack WORDS` as a process that says where it listens, if it does."""

    def __init__(self, directory: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mailstack", *words], cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip

    def port(self) -> int:
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        return int(line.split(" -> ")[0].rstrip().rpartition(":")[2])

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


def record(server: Server, service: str, to: Path, *more: str) -> Command:
    place = f"{server.host(service)}:{server.port(service)}"
    return Command(to, "record", "0", place, "--to", str(to), "--connections", "1", "--insecure", *more)


def replay(path: Path, *words: str) -> Command:
    return Command(path.parent, "replay", str(path), "--timeout", "5", *words)


def smtp_dialogue(port: int, *, tls: bool = True) -> None:
    context = ssl._create_unverified_context()
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        if tls:
            client.starttls(context=context)
        client.login("joe@example.org", "secret")
        client.sendmail("a@example.net", ["joe@example.org"], MESSAGE)


def test_what_smtplib_says_is_recorded_and_played_again(server: Server, tmp_path: Path) -> None:
    recorder = record(server, "smtp", tmp_path)
    smtp_dialogue(recorder.port())
    status, out, err = recorder.end()
    path = tmp_path / "smtp" / "0001.txt"
    assert (status, out, err) == (0, f"{path}\n", "")
    text = path.read_text()
    assert "C: STARTTLS\nS: 220 2.0.0 Ready to start TLS\nC: *starttls*\nC: ehlo" in text
    assert "\nC: Hello é\nC: ..dot\nC: .\nS: 250 2.0.0 " in text and text.endswith("S: *close*\n")
    assert "secret" not in text and "c2VjcmV0" not in text
    place = f"{server.host('smtp')}:{server.port('smtp')}"
    status, _, err = replay(path, place).end()
    assert status == 1 and "expected '250 2.0.0 " in err and "got '250 2.0.0 " in err, "the id differs"
    accepted = next(line for line in text.splitlines() if line.startswith("S: 250 2.0.0 ") and "." in line[15:])
    path.write_text(text.replace(accepted, "S: 250 2.0.0 <...>"))
    assert replay(path, place, "--quiet").end() == (0, "", "")


def test_a_transcript_serves_the_client_that_it_has(server: Server, tmp_path: Path) -> None:
    recorder = record(server, "smtp", tmp_path)
    smtp_dialogue(recorder.port())
    recorder.end()
    path = tmp_path / "smtp" / "0001.txt"
    played = replay(path, "--serve", "0")
    smtp_dialogue(played.port())
    assert played.end()[0] == 0
    played = replay(path, "--serve", "0")
    with pytest.raises(smtplib.SMTPException):
        smtp_dialogue(played.port(), tls=False)
    status, out, err = played.end()
    assert status == 1 and "expected 'STARTTLS', got 'AUTH" in err and out.startswith("S: 220 ")


def test_imap_and_pop3_are_recorded_by_proxy_and_by_the_server(server: Server, tmp_path: Path) -> None:
    recorder = record(server, "imap", tmp_path)
    client = imaplib.IMAP4("127.0.0.1", recorder.port(), timeout=10)
    client.login("ann@example.org", "secret")
    client.append("INBOX", None, None, MESSAGE)
    client.select()
    client.fetch("1", "(BODY[])")
    client.logout()
    assert recorder.end()[0] == 0
    recorder = record(server, "pop3s", tmp_path, "--tls", "implicit")
    reader = poplib.POP3("127.0.0.1", recorder.port(), timeout=10)
    reader.user("ann@example.org")
    reader.pass_("secret")
    reader.retr(1)
    reader.quit()
    assert recorder.end()[0] == 0
    said = server.data.parent / "said"
    for protocol, command in (("imap", "FETCH 1 (BODY[])"), ("pop3", "RETR 1")):
        (text,) = [path.read_text() for path in (tmp_path / protocol).glob("*.txt")]
        own = [path.read_text() for path in (said / protocol).glob("*.txt")]
        assert command in text and "secret" not in text
        same = [each.splitlines()[1:-1] for each in own]
        assert text.splitlines()[1:-1] in same, "but for the title, and who was seen to close first"


def test_opaque_tls_is_noted_and_not_written(server: Server, tmp_path: Path) -> None:
    recorder = record(server, "smtp", tmp_path, "--opaque")
    smtp_dialogue(recorder.port())
    assert recorder.end()[0] == 0
    before, note, after = (tmp_path / "smtp" / "0001.txt").read_text().partition("C: *starttls*\n# TLS from here on")
    assert "C: STARTTLS" in before and note and "\nC: ehlo" not in after


def test_own_transcripts_of_tests_are_played_to_a_server(server: Server) -> None:
    text = (
        "# two connections\nuser: joe secret\nS: /220 .*/\nC: EHLO x\nC: NOOP\nS: *until* 250 2.0.0 <...>\n"
        "S: *nothing*\nS2: 220 <...>\nC2: QUIT\nS2: 221 <...>\nS2: *close*\nC: DATA\nS: 503 5.5.1 <...>\n"
    )
    place = (server.host("smtp"), server.port("smtp"))

    def play(text: str, timeout: float) -> None:
        context = ssl._create_unverified_context()
        wire = partial(socket.create_connection, place, timeout)
        ClientSide(lambda: Wire(wire(), timeout), context, place[0], lambda line: None).play(parse(text))

    play(text, 5)
    for wrong, why in (
        (text.replace("S: 503", "S: 250"), "line 13: expected '250 5.5.1 <...>', got '503 5.5.1 Need MAIL first'"),
        (text.replace("S2: *close*\n", "").replace("C2: QUIT", "C2: NOOP"), "line 10: expected '221 <...>', got '250"),
        (text.replace("S: *until*", "S:"), "line 6: expected '250 2.0.0 <...>', got '250-"),
        (text + "S: *close*\n", "line 14: expected the end of the connection, got nothing for 0.1 s"),
        (text + "C: *shutdown*\n", "line 14: expected *shutdown* to happen, got a server that cannot be told so"),
        (
            text.replace("S: 503", "C: NOOP\nS: 503"),
            "line 14: expected nothing more on connection 1, got '250 2.0.0 Ok'",
        ),
    ):
        with pytest.raises(Deviates, match=re.escape(why)):
            play(wrong.replace("S: *nothing*", "# waits"), 0.1 if "nothing for" in why else 5)


def test_a_server_that_is_not_there_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        gone = nobody.getsockname()[1]
    recorder = Command(tmp_path, "record", "0", f"127.0.0.1:{gone}", "--connections", "1")
    with socket.create_connection(("127.0.0.1", recorder.port()), 10) as client:
        assert client.recv(100) == b""
    status, out, err = recorder.end()
    assert (status, out) == (1, "") and "Connection refused" in err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("replay", "x.txt"), "expected a SERVER to play to, or --serve"),
        (("replay", "x.txt", "127.0.0.1:1"), "x.txt: line 1: not a line of a transcript"),
        (("record", "0", "localhost:notaport"), "expected a server as host:port"),
    ],
)
def test_wrong_usage_is_said(
    tmp_path: Path,
    words: tuple[str, ...],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.txt").write_text("Dear Sir\n")
    assert run(["mailstack", *words]) == 2 and why in capsys.readouterr().err
