"""`mailstack dev --exec`: a command beside the server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import LIMIT, PROGRAM, environment, invoke
from server_process import POLL, REPOSITORY

pytestmark = pytest.mark.processes

SENDS = """
import json, os, smtplib, sys, urllib.request
host, port = os.environ["SMTP_HOST"], int(os.environ["SMTP_PORT"])
with smtplib.SMTP(host, port) as smtp:
    smtp.sendmail("a@b.test", ["c@d.test"], b"Subject: from the command\\r\\n\\r\\n")
with urllib.request.urlopen(os.environ["MAILSTACK_HTTP"] + "/api/v1/wait?account=c@d.test") as answer:
    found = json.load(answer)["messages"][0]["subject"]
print(json.dumps([found, sys.argv[1:], os.environ["MAILSTACK_CA"]]))
raise SystemExit(3)
"""


def executed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, "dev", *words], cwd=REPOSITORY, env=environment(), capture_output=True, text=True, timeout=LIMIT
    )  # fmt: skip


def test_the_command_finds_the_server_and_its_status_is_ours() -> None:
    ended = executed("--exec", sys.executable, "-c", SENDS, "--ports", "x")
    assert (ended.returncode, ended.stderr) == (3, "")
    subject, words, ca = json.loads(ended.stdout)
    assert (subject, words) == ("from the command", ["--ports", "x"])
    assert not Path(ca).exists()  # nothing is left of it


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("sh", "-c", "kill -9 $$"), 128 + 9, ""),
        (("no-such-command",), 127, "mailstack: no-such-command: No such file or directory\n"),
        (("/dev/null",), 126, "mailstack: /dev/null: Permission denied\n"),
    ],
)
def test_commands_that_do_not_end_well(words: tuple[str, ...], status: int, said: str) -> None:
    ended = executed("--exec", *words)
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, "", said)


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
