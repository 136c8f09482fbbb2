"""`mailstack dev --exec`: a command beside the server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from command_line import LIMIT, PROGRAM, environment, invoke
from server_process import POLL, REPOSITORY

from mailstack.app.command import PASSED_ON, BesideCommand

pytestmark = pytest.mark.processes

SENDS = """
import json, os, smtplib, sys, urllib.request
host, port = os.environ["SMTP_HOST"], int(os.environ["SMTP_PORT"])
with smtplib.SMTP(host, port) as smtp:
    smtp.sendmail("a@b.test", ["c@d.test"], b"Subject: from the command\\r\\n\\r\\n")
ask = urllib.request.Request(os.environ["MAILSTACK_HTTP"] + "/api/v1/wait?account=c@d.test")
try:
    urllib.request.urlopen(ask)
except urllib.error.HTTPError as error:
    assert error.code == 401, error.code
ask.add_header("Authorization", "Bearer " + os.environ["MAILSTACK_HTTP_TOKEN"])
with urllib.request.urlopen(ask) as answer:
    found = json.load(answer)["messages"][0]["subject"]
print(json.dumps([found, sys.argv[1:], os.environ["MAILSTACK_CA"]]))
raise SystemExit(3)
"""


def executed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, "dev", *words], cwd=REPOSITORY, env=environment(), capture_output=True, text=True, timeout=LIMIT
    )  # fmt: skip


def test_the_command_finds_the_server_and_its_status_is_ours() -> None:
    words = ("--http-address", "0.0.0.0", "--http-token", "s3cret")  # so that others may come by, who know the token
    ended = executed(*words, "--exec", sys.executable, "-c", SENDS, "--ports", "x")
    assert (ended.returncode, ended.stderr) == (3, "")
    subject, arguments, ca = json.loads(ended.stdout)
    assert (subject, arguments) == ("from the command", ["--ports", "x"])
    assert not Path(ca).exists()  # nothing is left of it


class Reactor:
    """As much of one as a command needs."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.calls: list[Callable[[], None]] = []

    def callFromThread(self, fn: Callable[..., None], *args: object) -> None:
        self.calls.append(partial(fn, *args))
        self.stopped.set()

    def stop(self) -> None:
        self.stopped.set()


@pytest.fixture
def handlers() -> Iterator[None]:
    """Signals are handled afterwards as they were before."""
    before = {number: signal.getsignal(number) for number in PASSED_ON}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("sh", "-c", "kill -9 $$"), 128 + 9, ""),
        (("sh", "-c", 'exit "$CODE"'), 42, ""),
        (("no-such-command",), 127, "mailstack: no-such-command: No such file or directory\n"),
        (("/dev/null",), 126, "mailstack: /dev/null: Permission denied\n"),
    ],
)
def test_how_commands_end(words: tuple[str, ...], status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    reactor = Reactor()
    command = BesideCommand(words, reactor)
    command.start({"CODE": "42"})
    assert reactor.stopped.wait(LIMIT)
    for call in reactor.calls:
        call()
    assert (command.status, capsys.readouterr().err) == (status, said)


def test_signals_are_passed_on_and_the_server_outlives_the_command(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    ask = f"curl -sf $MAILSTACK_HTTP/api/v1/ready >{mark}.end"
    script = f"trap '{ask}; exit 5' TERM; touch {mark}; while :; do sleep 0.01; done"
    server = subprocess.Popen([*PROGRAM, "dev", "--exec", "sh", "-c", script], cwd=REPOSITORY, env=environment())
    try:
        for _ in range(int(LIMIT / POLL)):
            if mark.exists() or server.poll() is not None:
                break
            try:
                server.wait(POLL)
            except subprocess.TimeoutExpired:
                continue
        server.send_signal(signal.SIGTERM)
        assert server.wait(LIMIT) == 5
    finally:
        server.kill()
        server.wait()
    assert '"ready":true' in Path(f"{mark}.end").read_text()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--exec",), "--exec: expected a command"),
        (("--http-address", "0.0.0.0"), "is not on loopback: give a --http-token"),
        (("--http-address", "somewhere"), "expected an IP address, not 'somewhere'"),
        (("--http", "70000"), "70000 is not in the range"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], reason: str) -> None:
    result = invoke("dev", *words)
    assert result.exit_code == 2
    assert reason in result.stderr
