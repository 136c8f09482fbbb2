"""`scripts/bench serve`: what another harness relies on."""

from __future__ import annotations

import imaplib
import json
import signal
import smtplib
import subprocess
import sys
import time
from pathlib import Path

import pytest
from production import SERVICES
from server_process import REPOSITORY, START_LIMIT, STOP_LIMIT

pytestmark = pytest.mark.processes


def test_the_peer_file_says_where_everything_is_and_nothing_stays(reachable: Path) -> None:
    peer_file, kept = reachable / "peer.json", reachable / "kept"
    kept.mkdir()
    reachable.chmod(0o755)  # the server is not root, and has to come through
    command = [sys.executable, "scripts/bench.py", "serve", "--peer-file", str(peer_file)]
    process = subprocess.Popen(
        [*command, "--users", "3", "--directory", str(kept)], cwd=REPOSITORY, stdout=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + START_LIMIT
        while not peer_file.exists():
            assert process.poll() is None and time.monotonic() < end, "no peer file"
            time.sleep(0.01)
        peer = json.loads(peer_file.read_text())
        assert {"name", "host", "users", "lf", "uid", "login_domain", *SERVICES} <= peer.keys()
        last = peer["fmt"] % peer["users"]
        with smtplib.SMTP(peer["host"], peer["smtp"]) as smtp:
            smtp.sendmail("a@example.net", f"{last}@{peer['domain']}", b"Subject: one\r\n\r\nx\r\n")
        assert len(list(Path(peer["maildir"].replace("{user}", last), "new").iterdir())) == 1
        with imaplib.IMAP4(peer["host"], peer["imap"]) as imap:
            imap.login(last, peer["password"])
            assert imap.select() == ("OK", [b"1"])
        assert Path(f"/proc/{peer['pids'][0]}").exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_LIMIT) == 0
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(STOP_LIMIT)
    assert not peer_file.exists()
    assert not list(kept.iterdir())
    assert not Path(f"/proc/{peer['pids'][0]}").exists()
