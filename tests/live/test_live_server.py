"""A server for tests, from start to end, and what can go wrong with it."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import smtplib
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from mailstack.app.ephemeral import LOCK, EphemeralDirectory
from mailstack.testing import Mailbox, MailServer, MailServerError
from mailstack.testing.live.in_process import ServerProcess
from mailstack.testing.live.in_thread import ServerThread
from mailstack.testing.live.settings import MailServerSettings
from mailstack.testing.live.ways import choose

LIMIT = 20.0
REPOSITORY = Path(__file__).parents[2]


def descriptors() -> set[str]:
    """What is open, without what Twisted keeps for the whole process."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except FileNotFoundError:
            continue
    return found


def test_a_thread_leaves_nothing_behind() -> None:
    with MailServer(way="thread"):
        pass  # what is made once for a process is made
    gc.collect()
    before, threads, mask = descriptors(), threading.active_count(), os.umask(0o022)
    os.umask(mask)
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with MailServer(way="thread") as server:
        data = server.data
        box = server.mailbox()
        box.send("hello")
        box.wait_for("hello")
    assert not data.exists()
    assert threading.active_count() == threads
    assert descriptors() == before
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers
    assert os.umask(mask) == mask


def test_a_process_is_the_same_to_a_test_and_leaves_nothing_behind(live: MailServer) -> None:
    before, threads = descriptors(), threading.active_count()
    server = MailServer(way="process").start()
    data, pid = server.data, server.pid
    assert (server.way, live.way) == ("process", "thread")
    assert pid != os.getpid() == live.pid
    box = server.mailbox()
    box.send("hello", "world")
    assert box.wait_for("hello").text == "world\n"
    assert Path(server.ca).parent.parent == data
    assert any("mail accepted" in line for line in server.log())
    server.reset()
    assert len(box) == 0
    with socket.create_connection(server.imap):  # a test forgot it
        server.close()
    assert not data.exists()
    assert gone(pid)
    assert (descriptors(), threading.active_count()) == (before, threads)
    server.close()


def test_a_start_that_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    running = ServerThread(MailServerSettings())

    def interrupted(seconds: float) -> bool:
        raise KeyboardInterrupt

    running._ready.wait = interrupted  # type: ignore[method-assign, assignment]
    with pytest.raises(KeyboardInterrupt):
        running.start()
    with contextlib.suppress(MailServerError):
        running.stop()
    assert not running._thread.is_alive()
    assert list(tmp_path.iterdir()) == []


def test_open_transactions_do_not_hold_up_the_end(live: MailServer) -> None:
    with MailServer(way="thread") as server:
        client = smtplib.SMTP(*server.smtp, local_hostname="localhost")
        client.ehlo()
        client.mail("a@example.org")
        begun = time.monotonic()
    assert time.monotonic() - begun < 15
    client.close()


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MailServerError, match=rf"cannot start: smtp: 127\.0\.0\.1:{port} is in use") as failure:
            MailServer(way="thread", port_base=port - 25).start()
    assert "Traceback" not in str(failure.value)


def test_a_process_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    before = descriptors()
    command = [sys.executable, "-S", "-c", "import sys; sys.exit('mailstack: smtp: it is in use')"]
    monkeypatch.setattr(ServerProcess, "_command", lambda self: command)
    with pytest.raises(MailServerError) as failure:
        MailServer(way="process").start()
    assert str(failure.value).splitlines() == [
        "the mail server cannot start; its process ended with exit status 1", "  the end of its log:",
        "  mailstack: smtp: it is in use",
    ]  # fmt: skip
    gc.collect()
    assert descriptors() == before


def test_who_has_a_reactor_gets_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "twisted.internet.reactor", sys)
    assert choose(MailServerSettings()).way == "process"
    assert choose(MailServerSettings(way="thread")).way == "thread"
    monkeypatch.delitem(sys.modules, "twisted.internet.reactor")
    assert choose(MailServerSettings()).way == "thread"
    assert choose(MailServerSettings(way="process")).way == "process"


def test_a_data_directory_is_used_by_one_at_a_time(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with MailServer(way="thread", data=data) as server:
        server.mailbox("anna@x.test").send("kept")
        with pytest.raises(MailServerError, match=rf"is used by another test run \(process {os.getpid()}\)"):
            MailServer(way="thread", data=data).start()
    with MailServer(way="thread", data=data) as server:
        assert server.mailbox("anna@x.test").wait_for("kept", timeout=5)


def test_a_data_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MailServerError, match="data directory .*/file/data: Not a directory"):
        MailServer(data=tmp_path / "file" / "data").start()


def test_mistakes_are_told() -> None:
    with pytest.raises(MailServerError, match="way: expected auto, thread or process, not 'fork'"):
        MailServer(way="fork").start()  # type: ignore[arg-type]
    with pytest.raises(MailServerError, match="the mail server is not running"):
        MailServer().mailbox()
    with pytest.raises(TypeError, match="'colour'"):
        MailServer(colour="red")  # type: ignore[call-arg]


def test_a_server_that_died_is_told_with_its_log() -> None:
    server = MailServer(way="process").start()
    data, box = server.data, server.mailbox()
    box.send("hello")
    os.kill(server.pid, signal.SIGKILL)
    with pytest.raises(
        MailServerError, match=r"does not answer.*; its process ended with SIGKILL\n[\s\S]*mail accepted"
    ):
        box.wait_for("bye", timeout=5)
    assert not server.is_running
    with pytest.raises(MailServerError, match=r"had ended with SIGKILL before it was stopped\n[\s\S]*mail accepted"):
        server.close()
    assert not data.exists()


def test_a_thread_that_died_is_told(live: MailServer) -> None:
    server = MailServer(way="thread").start()
    running = server._running
    assert isinstance(running, ServerThread)
    running._reactor.callFromThread(running._reactor.crash)
    running._thread.join(LIMIT)
    with pytest.raises(MailServerError, match="does not answer.*; its thread has ended"):
        server.mailbox().wait_for("bye", timeout=5)
    with pytest.raises(MailServerError, match="had ended before it was stopped; its thread has ended"):
        server.close()


def test_a_connection_that_the_server_had_closed_is_made_again(box: Mailbox) -> None:
    box.send("hello")
    assert len(box) == 1
    for idle in box.server.control._idle:
        assert idle.sock is not None
        idle.sock.shutdown(socket.SHUT_RDWR)
    assert len(box) == 1


def test_what_is_forgotten_ends_and_is_told() -> None:
    server = MailServer(way="thread").start()
    data = server.data
    with pytest.warns(ResourceWarning, match="a mail server was not closed"):
        del server
        gc.collect()
    assert not data.exists()


def run(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A test run of somebody else's, which says what it started."""
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)


FORGETFUL = """
    import imaplib, os, smtplib, ssl, sys, time
    from mailstack.testing import MailServer
    server = MailServer(way="thread").start()
    context = ssl.create_default_context(cafile=server.ca)
    with smtplib.SMTP(*server.submission, local_hostname="localhost", timeout=10) as client:
        client.starttls(context=context)
        client.login("anna", "any")
    with imaplib.IMAP4_SSL(*server.imaps, ssl_context=context, timeout=10) as client:
        client.login("anna", "any")
        client.select()
    assert "twisted.internet.reactor" not in sys.modules  # it is left to the program
    apart = MailServer(way="process").start()
    box = server.mailbox()
    child = os.fork()
    if not child:
        box.send("from the child")
        assert box.wait_for("from the child", timeout=5)
        server.close()
        apart.close()
        os.write(1, f"child {os.getpid()}\\n".encode())
        time.sleep(60)
    assert box.wait_for("from the child", timeout=5)
    assert server.is_running and apart.is_running
    os.write(1, f"parent {apart.pid} {apart.data} {server.data}\\n".encode())
    """


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_gone(pid: int, *paths: str) -> None:
    end = time.monotonic() + LIMIT
    while not gone(pid) or any(Path(path).exists() for path in paths):
        assert time.monotonic() < end, f"process {pid} or one of {paths} is still there"
        time.sleep(0.01)


def test_a_run_that_forgets_to_close_and_forks_leaves_nothing() -> None:
    """The child outlives its parent, and holds what it inherited as long as it can."""
    run_ = run(FORGETFUL)
    assert run_.stdout is not None
    (_, child), (_, apart, *places) = sorted(run_.stdout.readline().split() for _ in range(2))
    try:
        assert run_.wait(LIMIT) == 0
        wait_gone(int(apart), *places)
    finally:
        os.kill(int(child), signal.SIGKILL)
        run_.communicate()


WAITING = """
    import sys
    from mailstack.testing import MailServer
    with MailServer(way=sys.argv[1]) as server:
        print(server.pid, server.data, flush=True)
        server.mailbox().wait_for("never", timeout=60)
    """


def test_a_run_that_is_interrupted_cleans_up() -> None:
    run_ = run(WAITING, "thread")
    assert run_.stdout is not None
    _, place = run_.stdout.readline().split()
    run_.send_signal(signal.SIGINT)
    _, errors = run_.communicate(timeout=LIMIT)
    assert "KeyboardInterrupt" in errors
    assert "MailServerError" not in errors
    assert not Path(place).exists()


def test_a_run_that_is_killed_leaves_no_process() -> None:
    run_ = run(WAITING, "process")
    assert run_.stdout is not None
    apart, place = run_.stdout.readline().split()
    run_.kill()
    run_.communicate(timeout=LIMIT)
    wait_gone(int(apart), place)


def test_what_killed_runs_leave_is_swept_and_what_is_used_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    killed = tmp_path / "mailstack-ephemeral-killed"
    killed.mkdir()
    (killed / LOCK).touch()
    others = tmp_path / "mailstack-ephemeral-others"
    others.mkdir()
    with EphemeralDirectory() as first, EphemeralDirectory() as second:
        assert first.parent == second.parent == tmp_path
        assert sorted(tmp_path.iterdir()) == sorted([first, second, others])
    assert list(tmp_path.iterdir()) == [others]
