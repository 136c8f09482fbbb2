"""A production server for a harness that is not ours: accounts user0001 and on, all with one
password, free ports on loopback, and a JSON file that says where everything is.

The file is there when the server is ready, and gone when it has stopped. Its keys:

    name, host      "mailstack"; the address of loopback
    smtp … pop3s    the port of each service
    users           how many accounts; account i is `fmt` % i, with `password`
    login_domain    "" as a login needs no domain
    domain          of the accounts' addresses
    relay_domain    whose mail goes to the port `sink` of loopback, where the harness listens when it wants to
    maildir         the INBOX of {user}
    uid             the system account that must own files put there; 0: ours
    lf              false: lines of stored messages end in CRLF
    pids            the server's process
    log             the server's log

Passwords are taken without TLS, for a harness measures both.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

HOST = "127.0.0.1"
DOMAIN = "bench.test"
RELAY_DOMAIN = "relay.test"
PASSWORD = "benchmark"
FORMAT = "user%04d"
SERVICES = ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s")
CONNECTIONS = 12_000
"""That the server admits; a harness may open ten thousand and look at it beside."""
FILES = 20_000
"""Descriptors of the server: one a connection, and those of the store."""
UNPRIVILEGED = "nobody"
START_LIMIT = 60.0
STOP_LIMIT = 60.0
POLL = 0.02


def serve(peer_file: Path, users: int, directory: Path | None) -> int:
    """Serve until SIGTERM or SIGINT; the exit status is 1 when the server ends by itself."""
    stop = Stop()
    root = Path(tempfile.mkdtemp(prefix="mailstack-bench-", dir=directory))
    peer_file.unlink(missing_ok=True)
    try:
        return _serve(peer_file, users, root, stop)
    finally:
        peer_file.unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)


class Stop:
    """Whether we were told to stop."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self.asked = True


def _serve(peer_file: Path, users: int, root: Path, stop: Stop) -> int:
    sink = free_port()
    prepare(root, users, sink)
    process = start(root)
    try:
        ready = wait_ready(root, process, stop)
        if ready is None:
            return 0
        write_atomically(peer_file, peer(root, users, ready, process.pid, sink))
        print(f"serving as pid {process.pid}; {peer_file} says where", flush=True)
        while not stop.asked and process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
        if not stop.asked:
            print(f"bench: the server ended with {process.returncode}:\n{tail(root)}", file=sys.stderr)
            return 1
        return 0
    finally:
        end(process)


def prepare(root: Path, users: int, sink: int) -> None:
    """Configuration, certificate and accounts; they belong to who runs the server."""
    from mailstack.auth.database import AccountDatabase
    from mailstack.auth.passwords import hash_password
    from mailstack.net.certificates import write_self_signed

    data = root / "data"
    data.mkdir(mode=0o700)
    database = AccountDatabase(data / "accounts.sqlite3")
    database.add_accounts([f"{FORMAT % number}@{DOMAIN}" for number in range(1, users + 1)], hash_password(PASSWORD))
    database.close()
    certificate, key = write_self_signed(root / "tls", ["localhost", HOST])
    (root / "mailstack.toml").write_text(configuration(data, certificate, key, sink))
    if os.getuid() == 0:
        for path in (root, *root.rglob("*")):
            shutil.chown(path, UNPRIVILEGED, pwd.getpwnam(UNPRIVILEGED).pw_gid)


def configuration(data: Path, certificate: Path, key: Path, sink: int) -> str:
    """The text of mailstack.toml."""
    listeners = "".join(f'[[listeners]]\nservice = "{service}"\naddress = "{HOST}"\nport = 0\n' for service in SERVICES)
    return (
        f'data = "{data}"\nhostname = "localhost"\n[[domains]]\nname = "{DOMAIN}"\n{listeners}'
        f'[[tls.certificates]]\ncert = "{certificate}"\nkey = "{key}"\n'
        f"[limits]\nconnections = {CONNECTIONS}\nconnections_per_address = {CONNECTIONS}\n"
        "[auth]\nrequire_tls = false\n"
        "[sending]\nmessages_per_hour = 0\nrecipients_per_day = 0\nnew_recipients_per_day = 0\n"
        "[policy]\naccount_connections_per_minute = 0\naccount_messages_per_minute = 0\n"
        "account_recipients_per_minute = 0\n"
        f'[[routes]]\ndomains = ["{RELAY_DOMAIN}"]\nhosts = ["{HOST}:{sink}"]\ntls = "none"\n'
        '[dns]\nservers = ["127.0.0.1:1"]\n'
    )


def free_port() -> int:
    """One that nobody listens at now."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        port: int = found.getsockname()[1]
        return port


def start(root: Path) -> subprocess.Popen[bytes]:
    """The server's process, not as root, in a session of its own: Ctrl-C is for us to pass on."""
    command = [
        *unprivileged(), sys.executable, "-m", "mailstack", "serve",
        "--config", str(root / "mailstack.toml"), "--ready-file", str(root / "ready.json"),
    ]  # fmt: skip
    raise_file_limit()
    with (root / "server.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=REPOSITORY, start_new_session=True)


def unprivileged() -> list[str]:
    """What to put before a command so that it does not run as root. It may read what root may, for
    the interpreter may be in root's own directory."""
    if os.getuid() != 0:
        return []
    entry = pwd.getpwnam(UNPRIVILEGED)
    capability = "+dac_read_search"
    return [
        "setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups",
        f"--inh-caps={capability}", f"--ambient-caps={capability}", "--",
    ]  # fmt: skip


def raise_file_limit() -> None:
    """So many descriptors as FILES, or as many as we may have; children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
        except (ValueError, OSError):
            print(f"bench: only {hard} descriptors allowed, so fewer connections", file=sys.stderr)
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    elif soft < FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))


def wait_ready(root: Path, process: subprocess.Popen[bytes], stop: Stop) -> dict[str, dict[str, object]] | None:
    """What the ready file says; None when we were told to stop before. Raises: SystemExit."""
    path = root / "ready.json"
    limit = time.monotonic() + START_LIMIT
    while not path.exists():
        if stop.asked:
            return None
        if process.poll() is not None or time.monotonic() > limit:
            raise SystemExit(f"the server did not start:\n{tail(root)}")
        time.sleep(POLL)
    ready: dict[str, dict[str, object]] = json.loads(path.read_text())
    return ready


def peer(root: Path, users: int, ready: dict[str, dict[str, object]], pid: int, sink: int) -> dict[str, object]:
    """The document of the peer file."""
    return {
        "name": "mailstack",
        "host": HOST,
        **{service: ready[service]["port"] for service in SERVICES},
        "users": users,
        "password": PASSWORD,
        "fmt": FORMAT,
        "login_domain": "",
        "domain": DOMAIN,
        "relay_domain": RELAY_DOMAIN,
        "sink": sink,
        "maildir": f"{root}/data/mail/{{user}}@{DOMAIN}",
        "uid": pwd.getpwnam(UNPRIVILEGED).pw_uid if os.getuid() == 0 else 0,
        "lf": False,
        "pids": [pid],
        "log": str(root / "server.log"),
    }


def write_atomically(path: Path, document: dict[str, object]) -> None:
    """Who sees the file sees all of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(document, indent=2) + "\n")
    temporary.rename(path)


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL when that takes too long."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            print("bench: the server did not stop; it is killed", file=sys.stderr)
            process.kill()
            process.wait()


def tail(root: Path) -> str:
    """The end of the server's log."""
    return (root / "server.log").read_text(errors="replace")[-4000:]
