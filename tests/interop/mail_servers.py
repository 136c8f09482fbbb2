"""Mail servers of our own, which hand over to the server. Each runs in a directory of its own and listens nowhere,
or on loopback."""

from __future__ import annotations

import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
from hosted import DOMAIN, LMTP, PASSWORD, SECURE, SUBMISSION, UNIX
from production import HOSTNAME, NOT_ROOT

LIMIT = 20.0
POLL = 0.01
SENDER = "bob@example.net"


@dataclass(frozen=True)
class Routes:
    """Where to hand over what is for DOMAIN, LMTP, UNIX, SECURE and SUBMISSION, to that as `user`; other mail is
    thrown away."""

    smtp: int
    lmtp: int
    unix: Path
    secure: int
    submission: int
    user: str
    ca: Path


class MailServer(Protocol):
    """One that is running."""

    def send(self, recipients: Sequence[str], octets: bytes, sender: str = SENDER) -> str:
        """What it says of the message in its log, when all recipients have it or were refused.
        Raises: AssertionError, when that takes too long."""


def unpacked(path: str) -> str:
    """A program of a package that Debian does not let be installed beside Postfix; `.ci/run` unpacks it, to a
    directory in the user's cache or to $MAILSTACK_UNPACKED. Skips the test if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = Path(os.environ.get("MAILSTACK_UNPACKED") or cache / "mailstack-tests" / "debian")
    for program in (Path("/", path), directory / path):
        if program.exists():
            return str(program)
    pytest.skip(f"no {directory / path}: .ci/run unpacks Debian's package there")


def lines(octets: bytes) -> bytes:
    """A message as programs give it to sendmail."""
    return octets.replace(b"\r\n", b"\n")


def waited_for(process: subprocess.Popen[bytes], log: Path, pattern: str, since: int = 0) -> str:
    """What is in the log behind `since`, once there is this in it. Raises: AssertionError."""
    end = time.monotonic() + LIMIT
    while True:
        said = log.read_bytes()[since:].decode("utf-8", "replace") if log.exists() else ""
        if re.search(pattern, said):
            return said
        assert process.poll() is None and time.monotonic() < end, f"no {pattern!r} in the log:\n{said}"
        time.sleep(POLL)


def end_of_group(group: int) -> None:
    """Wait until none of the process group is there. Raises: AssertionError; none is left then either."""
    end = time.monotonic() + LIMIT
    while True:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        if time.monotonic() > end:
            os.killpg(group, signal.SIGKILL)
            raise AssertionError(f"process group {group} does not end")
        time.sleep(POLL)


@contextmanager
def directory(prefix: str) -> Iterator[Path]:
    """One that processes of other accounts get into."""
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        Path(name).chmod(0o755)
        yield Path(name)


# --- Postfix

_MASTER = """
pickup    unix n - n 60 1 pickup
cleanup   unix n - n -  0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n -  - trivial-rewrite
bounce    unix - - n -  0 bounce
defer     unix - - n -  0 bounce
trace     unix - - n -  0 bounce
proxymap  unix - - n -  - proxymap
smtp      unix - - n -  - smtp
lmtp      unix - - n -  - lmtp
error     unix - - n -  - error
retry     unix - - n -  - error
discard   unix - - n -  - discard
scache    unix - - n -  1 scache
secure    unix - - n -  - smtp -o smtp_tls_security_level=secure
submit    unix - - n -  - smtp -o smtp_tls_security_level=secure -o smtp_sasl_auth_enable=yes
postlog   unix-dgram n - n - 1 postlogd
"""
"""Nothing runs in a chroot, which would want files of the system's in it."""


class Postfix:
    """Only root can start it."""

    def __init__(self, configuration: Path, process: subprocess.Popen[bytes], log: Path) -> None:
        self._configuration, self._process, self._log = configuration, process, log

    def send(
        self, recipients: Sequence[str], octets: bytes, sender: str = SENDER, *options: str, until: str = ": removed"
    ) -> str:
        before = self._log.stat().st_size
        command = ["sendmail", "-C", str(self._configuration), "-i", "-f", sender, *options, "--", *recipients]
        subprocess.run(command, input=lines(octets), check=True, env={"PATH": os.environ["PATH"]})
        return waited_for(self._process, self._log, until, before)


@contextmanager
def postfix(routes: Routes) -> Iterator[Postfix]:
    if os.getuid():
        pytest.skip("only root can start Postfix")
    with directory("mailstack-postfix-") as here:
        configuration = here / "etc"
        for name in ("etc", "queue", "data"):
            (here / name).mkdir()
        shutil.chown(here / "data", "postfix")
        (configuration / "master.cf").write_text(_MASTER)
        (configuration / "main.cf").write_text(
            f"""compatibility_level = 3.6
config_directory = {configuration}
queue_directory = {here}/queue
data_directory = {here}/data
maillog_file_prefixes = {here}
maillog_file = {here}/log
myhostname = relay.example.net
mydestination =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
transport_maps = inline:{{
    {{ {DOMAIN} = smtp:[127.0.0.1]:{routes.smtp} }}
    {{ {SECURE} = secure:[127.0.0.1]:{routes.secure} }}
    {{ {SUBMISSION} = submit:[127.0.0.1]:{routes.submission} }}
    {{ {LMTP} = lmtp:inet:127.0.0.1:{routes.lmtp} }}
    {{ {UNIX} = lmtp:unix:{routes.unix} }}
    {{ wrong.example.org = secure:[localhost]:{routes.secure} }} }}
default_transport = discard:
disable_dns_lookups = yes
smtp_host_lookup = native
smtp_tls_CAfile = {routes.ca}
smtp_tls_loglevel = 1
smtp_tls_policy_maps = inline:{{
    {{ [127.0.0.1]:{routes.secure} = secure match={HOSTNAME} }}
    {{ [127.0.0.1]:{routes.submission} = secure match={HOSTNAME} }}
    {{ [localhost]:{routes.secure} = secure match=other.example.org }} }}
smtp_sasl_password_maps = inline:{{ {{ [127.0.0.1]:{routes.submission} = {routes.user}:{PASSWORD} }} }}
smtp_sasl_security_options = noanonymous
in_flow_delay = 0
"""
        )
        start = ["postfix", "-c", str(configuration), "start-fg"]
        process = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            waited_for(process, here / "log", "daemon started")
            yield Postfix(configuration, process, here / "log")
        finally:
            # What we have started is a shell, which waits for Postfix's master, the first of a process group.
            pid_file = here / "queue" / "pid" / "master.pid"
            master = int(pid_file.read_text() or 0) if pid_file.exists() else 0
            with suppress(ProcessLookupError):  # it may have ended by itself
                os.kill(master or process.pid, signal.SIGTERM)
            process.wait(LIMIT)
            if master:
                end_of_group(master)


# --- Exim


class Exim:
    """No process of it is left when it has delivered."""

    def __init__(self, program: str, here: Path) -> None:
        self._program, self._directory = program, here

    def send(self, recipients: Sequence[str], octets: bytes, sender: str = SENDER) -> str:
        log = self._directory / "log" / "mainlog"
        before = log.stat().st_size if log.exists() else 0
        exim = [*NOT_ROOT, self._program, "-C", str(self._directory / "conf")]
        command = [*exim, "-odf", "-i", "-f", sender, "--", *recipients]
        subprocess.run(command, input=lines(octets), check=True, timeout=LIMIT)
        said = log.read_bytes()[before:].decode("utf-8", "replace")
        assert "Completed" in said, said
        return said


@contextmanager
def exim(routes: Routes) -> Iterator[Exim]:
    program = unpacked("usr/sbin/exim4")
    check = subprocess.run([program, "-bV"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if "failed to find uid" in check.stdout:
        pytest.skip(f"{check.stdout.strip()}: .ci/run makes that user")
    user, group = ("nobody", "nogroup") if NOT_ROOT else (str(os.getuid()), str(os.getgid()))
    with directory("mailstack-exim-") as here:
        for name in ("spool", "log"):
            (here / name).mkdir()
            if NOT_ROOT:
                shutil.chown(here / name, user, group)
        (here / "conf").write_text(
            f"""exim_path = {program}
exim_user = {user}
exim_group = {group}
deliver_drop_privilege
untrusted_set_sender = *
keep_environment =
primary_hostname = relay.example.net
spool_directory = {here}/spool
log_file_path = {here}/log/%slog
log_selector = +pipelining +tls_certificate_verified
begin routers
smtp:
  driver = manualroute
  route_list = {DOMAIN} 127.0.0.1::{routes.smtp} byname
  transport = smtp
  self = send
secure:
  driver = manualroute
  route_list = {SECURE} 127.0.0.1::{routes.secure} byname
  transport = secure
  self = send
submission:
  driver = manualroute
  route_list = {SUBMISSION} 127.0.0.1::{routes.submission} byname
  transport = submission
  self = send
lmtp:
  driver = manualroute
  route_list = {LMTP} 127.0.0.1 byname
  transport = lmtp
  self = send
unix:
  driver = accept
  domains = {UNIX}
  transport = unix
rest:
  driver = redirect
  data = :blackhole:
begin transports
smtp:
  driver = smtp
  hosts_avoid_tls = *
  allow_localhost
secure:
  driver = smtp
  hosts_require_tls = *
  tls_verify_certificates = {routes.ca}
  tls_verify_hosts = *
  tls_verify_cert_hostnames = *
  allow_localhost
submission:
  driver = smtp
  hosts_require_tls = *
  hosts_require_auth = *
  tls_verify_certificates = {routes.ca}
  tls_verify_hosts = *
  tls_verify_cert_hostnames = *
  allow_localhost
lmtp:
  driver = smtp
  protocol = lmtp
  port = {routes.lmtp}
  hosts_avoid_tls = *
  allow_localhost
unix:
  driver = lmtp
  socket = {routes.unix}
  user = {user}
  batch_max = 100
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  client_send = ^{routes.user}^{PASSWORD}
"""
        )
        yield Exim(program, here)


# --- OpenSMTPD

_IN_A_ROOM = """
mount -t tmpfs none /var/spool
mount -t tmpfs none /var/lib
mount -t tmpfs none /run
mkdir -m 711 -p /var/spool/smtpd /var/lib/opensmtpd /var/lib/opensmtpd/empty
mount --bind "$3" /etc/ssl/certs/ca-certificates.crt
mount --bind "$4" /usr/libexec
exec "$1" -d -f "$2"
"""
"""Its directories are compiled in: it gets a view of the file system of its own."""


class OpenSmtpd:
    """Only root can start it."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self._port, self._process, self._log = port, process, log

    def send(self, recipients: Sequence[str], octets: bytes, sender: str = SENDER) -> str:
        before = self._log.stat().st_size
        with smtplib.SMTP("127.0.0.1", self._port) as client:
            client.sendmail(sender, recipients, octets)
        for recipient in recipients:
            waited_for(self._process, self._log, f"m[td]a delivery .*to=<{re.escape(recipient)}>", before)
        return self._log.read_bytes()[before:].decode("utf-8", "replace")


@contextmanager
def in_a_room(here: Path, authorities: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """OpenSMTPD with the configuration `conf`, and a `log`, in this directory."""
    program, libexec = unpacked("usr/sbin/smtpd"), unpacked("usr/libexec/opensmtpd")
    may = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], stderr=subprocess.PIPE, text=True)
    if may.returncode:
        pytest.skip(f"OpenSMTPD wants a view of the file system of its own: {may.stderr.strip()}")
    log, parts = here / "log", (program, str(here / "conf"), str(authorities), str(Path(libexec).parent))
    with log.open("wb") as output:
        command = ["unshare", "-m", "sh", "-ec", _IN_A_ROOM, "sh", *parts]
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        until_it_listens(process, port, log)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(LIMIT)
        end_of_group(process.pid)


@contextmanager
def opensmtpd(routes: Routes) -> Iterator[OpenSmtpd]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with directory("mailstack-opensmtpd-") as here:
        (here / "conf").write_text(
            f"""listen on 127.0.0.1 port {port}
table all {{ "@" = "nobody" }}
table secrets {{ us = "{routes.user}:{PASSWORD}" }}
action "to smtp" relay host smtp+notls://127.0.0.1:{routes.smtp}
action "to secure" relay host smtp+tls://127.0.0.1:{routes.secure}
action "to submission" relay host smtp+tls://us@127.0.0.1:{routes.submission} auth <secrets>
action "to lmtp" lmtp "127.0.0.1:{routes.lmtp}" rcpt-to virtual <all>
action "to unix" lmtp "{routes.unix}" rcpt-to virtual <all>
action "away" mda "/bin/cat >/dev/null" virtual <all>
match from any for domain {DOMAIN} action "to smtp"
match from any for domain {SECURE} action "to secure"
match from any for domain {SUBMISSION} action "to submission"
match from any for domain {LMTP} action "to lmtp"
match from any for domain {UNIX} action "to unix"
match from any for any action "away"
mta limit conn-delay-route 0 session-transaction-delay 0
"""
        )
        with in_a_room(here, routes.ca, port) as process:
            yield OpenSmtpd(port, process, here / "log")


def until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Raises: AssertionError."""
    end = time.monotonic() + LIMIT
    while True:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        assert process.poll() is None and time.monotonic() < end, log.read_text() if log.exists() else "no log"
        time.sleep(POLL)
