"""`mailstack sendmail` as programs call it, against a real server."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import Ended, command
from server_process import Server

from mailstack.cli.main import cli
from mailstack.cli.sendmail import Asked, understand

HERE = socket.getfqdn()
pytestmark = pytest.mark.processes


def sendmail(server: Server, *words: str, stdin: bytes = b"") -> Ended:
    """With the server's address in the environment. Within this process, but for what needs descriptors."""
    address = f"{server.host('smtp')}:{server.port('smtp')}"
    if words == ("-bs",):
        return command("sendmail", *words, stdin=stdin, MAILSTACK_SERVER=address)
    result = CliRunner(env={"MAILSTACK_SERVER": address}).invoke(cli, ["sendmail", *words], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)


def inbox(server: Server, account: str) -> list[bytes]:
    """The messages of an account, the fields of the server removed."""
    files = sorted((server.data / "mail" / account).rglob("*S=*"))
    return [path.read_bytes() for path in files]


def only(server: Server, account: str) -> bytes:
    found = inbox(server, account)
    assert len(found) == 1, found
    return found[0]


def test_recipients_of_the_header_and_no_bcc(development: Server) -> None:
    message = (
        b"From: me@b.test\nTo: T <t1@b.test>\nCc: t2@b.test,\n  t3@b.test\nBcc: secret@b.test,\n  hidden@b.test\n"
        b"Subject: to five\n\n..two dots\n.one\nBcc: in the body\n"
    )
    ended = sendmail(development, "-t", stdin=message)
    assert ended == Ended(0, "", "")
    for name in ("t1", "t2", "t3", "secret", "hidden"):
        octets = only(development, f"{name}@b.test")
        assert octets.endswith(b"Subject: to five\r\n\r\n..two dots\r\n.one\r\nBcc: in the body\r\n")
        assert b"\r\nCc: t2@b.test,\r\n  t3@b.test\r\n" in octets
        assert b"secret" not in octets.replace(b"Delivered-To: secret@b.test", b"")
        assert b"hidden" not in octets.replace(b"Delivered-To: hidden@b.test", b"")


def test_a_lone_dot_ends_the_message_unless_i_is_given(development: Server) -> None:
    message = b"Subject: dots\n\nbefore\n.\nafter\n"
    assert sendmail(development, "dot@b.test", stdin=message).status == 0
    assert only(development, "dot@b.test").endswith(b"\r\n\r\nbefore\r\n")
    for number, option in enumerate(("-i", "-oi", "-ti")):
        account = f"nodot{number}@b.test"
        assert sendmail(development, option, account, stdin=message).status == 0
        assert only(development, account).endswith(b"\r\n\r\nbefore\r\n.\r\nafter\r\n")


@pytest.mark.parametrize(
    ("account", "words", "path"),
    [
        ("f1", ["-f", "env@b.test"], b"<env@b.test>"),
        ("f2", ["-fenv@b.test"], b"<env@b.test>"),
        ("f3", ["-f", "<>"], b"<>"),
        ("f4", ["-r", "<env@b.test>"], b"<env@b.test>"),
        ("f5", ["-f", "daemon"], b"<daemon@%s>" % HERE.encode()),
    ],
)
def test_the_envelope_s_sender(development: Server, account: str, words: list[str], path: bytes) -> None:
    ended = sendmail(development, *words, "--", f"{account}@b.test", stdin=b"From: other@b.test\n\nx\n")
    assert ended.status == 0, ended
    octets = only(development, f"{account}@b.test")
    assert octets.startswith(b"Return-Path: " + path + b"\r\n")
    assert b"\r\nFrom: other@b.test\r\n" in octets


def test_addresses_and_text_outside_ascii(development: Server) -> None:
    message = "Subject: grüße\n\nüber\n".encode()
    assert sendmail(development, "größe@b.test", stdin=message).status == 0
    (path,) = (development.data / "mail").glob("gr*e@b.test")
    assert only(development, path.name).endswith("Subject: grüße\r\n\r\nüber\r\n".encode())


def test_a_refused_recipient_is_67_and_the_others_have_it(development: Server) -> None:
    ended = sendmail(development, "ok@b.test", "nobody@elsewhere.test", stdin=b"Subject: x\n\n")
    assert ended.status == 67
    assert ended.err == (
        f"sendmail: 127.0.0.1:{development.port('smtp')}: nobody@elsewhere.test: 550 5.7.1 Relaying denied\n"
    )
    assert len(inbox(development, "ok@b.test")) == 1
    assert sendmail(development, "nobody@elsewhere.test", stdin=b"Subject: x\n\n").status == 67


def test_smtp_on_standard_input(development: Server) -> None:
    envelope = b"EHLO me.b.test\r\nMAIL FROM:<me@b.test>\r\nRCPT TO:<bs@b.test>\r\n"
    script = envelope + b"DATA\r\nSubject: bs\r\n\r\n..\r\n.\r\nQUIT\r\n"
    ended = sendmail(development, "-bs", stdin=script)
    assert ended.status == 0, ended
    replies = [line[:3] for line in ended.out.splitlines() if line[3:4] == " "]
    assert replies == ["220", "250", "250", "250", "354", "250", "221"]
    assert only(development, "bs@b.test").endswith(b"Subject: bs\r\n\r\n.\r\n")


def test_smtp_ends_with_standard_input(development: Server) -> None:
    assert sendmail(development, "-bs", stdin=b"NOOP\r\n").status == 0


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        ("", 65, "no recipients: name them, or -t takes them from the message"),
        ("-t", 65, "no recipients in To, Cc and Bcc"),
        ("-Z x@b.test", 64, "unknown option -Z"),
        ("-bd", 64, "-bd: only -bm and -bs are possible here"),
        ("x@b.test -f", 64, "-f needs a value"),
        ("x\udcff@b.test", 64, "characters that cannot be printed"),
    ],
)
def test_wrong_usage(development: Server, words: str, status: int, reason: str) -> None:
    ended = sendmail(development, *words.split(), stdin=b"Subject: x\n\n")
    assert ended.status == status
    assert reason in ended.err
    assert len(ended.err.splitlines()) == 1


def test_no_server_is_try_again_and_a_wrong_name_is_not() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: nobody else takes it, and it refuses
        port = closed.getsockname()[1]
        ended = command("sendmail", "x@b.test", MAILSTACK_SERVER=f"127.0.0.1:{port}")
        assert (ended.status, ended.err) == (75, f"sendmail: 127.0.0.1:{port}: nothing listens there\n")
        assert command("sendmail", "-bs", MAILSTACK_SERVER=f"127.0.0.1:{port}").status == 75
    ended = command("sendmail", "x@b.test", MAILSTACK_SERVER="localhost:port")
    assert (ended.status, ended.err) == (78, "sendmail: expected a server as host:port, not localhost:port\n")


def test_the_running_development_server_is_found(tmp_path: Path) -> None:
    state = tmp_path / "mailstack"
    with Server(tmp_path, ("dev", "--ports", "0", "--quiet"), XDG_STATE_HOME=str(tmp_path)) as server:
        assert server.data == state
        ended = command("sendmail", "-t", stdin=b"To: root\n\nfound\n", XDG_STATE_HOME=str(tmp_path))
        assert ended.status == 0, ended
        assert only(server, f"root@{HERE}".lower()).endswith(b"\r\nTo: root\r\n\r\nfound\r\n")
    assert not (state / "dev.json").exists()


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("-ti", Asked(from_header=True, ignore_dots=True)),
        ("-oi -oem -t", Asked(from_header=True, ignore_dots=True)),
        ("-bm -i -f a@x b@x c@x", Asked(sender="a@x", ignore_dots=True, recipients=["b@x", "c@x"])),
        ("-N never -O X=y -B 8BITMIME -v b@x", Asked(recipients=["b@x"])),
        ("-Fsome -- -b@x", Asked(full_name="some", recipients=["-b@x"])),
        ("b@x -t", Asked(from_header=True, recipients=["b@x"])),
        ("-bs", Asked(smtp=True)),
    ],
)
def test_options_as_programs_give_them(words: str, asked: Asked) -> None:
    assert understand(words.split()) == asked
