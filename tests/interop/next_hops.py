"""Mail servers of others that our server hands over to, each in a directory of its own, on a port of loopback. What
they take is in Maildirs; `mail` is by local-part."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from mail_servers import (
    LIMIT,
    POLL,
    directory,
    end_of_group,
    in_a_room,
    unpacked,
    until_it_listens,
    waited_for,
)
from production import NOBODY, NOBODY_GROUP, NOT_ROOT

PEOPLE = ("bob", "ann", "bücher")
SIZE = 500_000
"""Octets of the largest message that they take."""


@dataclass(frozen=True)
class NextHop:
    """One that is running."""

    mail: Path
    process: subprocess.Popen[bytes]

    def messages(self, name: str, number: int) -> list[bytes]:
        """So many, once they are there, with lines as on the wire. Raises: AssertionError."""
        end = time.monotonic() + LIMIT
        while True:
            found = sorted(
                (self.mail / name / "new").glob("*"),
                key=lambda path: path.stat().st_mtime_ns,
            )
            if len(found) >= number:
                octets = [path.read_bytes() for path in found]
                return [each.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for each in octets]
            assert self.process.poll() is None and time.monotonic() < end, f"{len(found)} of {number} in {found}"
            time.sleep(POLL)


def maildirs(here: Path) -> Path:
    """Where they deliver to, as nobody if we are root."""
    mail = here / "mail"
    mail.mkdir()
    if NOT_ROOT:
        shutil.chown(mail, NOBODY, NOBODY_GROUP)
    return mail


_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup   unix n - n -  0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n -  - trivial-rewrite
bounce    unix - - n -  0 bounce
defer     unix - - n -  0 bounce
trace     unix - - n -  0 bounce
proxymap  unix - - n -  - proxymap
smtp      unix - - n -  - smtp
error     unix - - n -  - error
retry     unix - - n -  - error
virtual   unix - n n -  - virtual
anvil     unix - - n -  1 anvil
postlog   unix-dgram n - n - 1 postlogd
"""


@contextmanager
def postfix(port: int, domains: str, certificate: Path, reports_to: int) -> Iterator[NextHop]:
    """`certificate` is a PEM file with the key; reports on mail go to the port `reports_to`."""
    if os.getuid():
        pytest.skip("only root can start Postfix")
    nobody = pwd.getpwnam(NOBODY)
    with directory("mailstack-postfix-") as here:
        for name in ("etc", "queue", "data"):
            (here / name).mkdir()
        shutil.chown(here / "data", "postfix")
        mail = maildirs(here)
        (here / "etc" / "master.cf").write_text(_MASTER.format(port=port))
        known = " ".join(f"{{ {name}@{domain} = {name}/ }}" for domain in domains.split() for name in PEOPLE)
        (here / "etc" / "main.cf").write_text(
            f"""compatibility_level = 3.6
config_directory = {here}/etc
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
virtual_mailbox_domains = {domains}
virtual_mailbox_base = {mail}
virtual_mailbox_maps = inline:{{ {known} }}
virtual_uid_maps = static:{nobody.pw_uid}
virtual_gid_maps = static:{nobody.pw_gid}
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions =
smtpd_tls_security_level = may
smtpd_tls_chain_files = {certificate}
smtputf8_enable = yes
default_transport = smtp:[127.0.0.1]:{reports_to}
disable_dns_lookups = yes
smtp_host_lookup = native
smtp_tls_security_level = none
message_size_limit = {SIZE}
in_flow_delay = 0
"""
        )
        start = ["postfix", "-c", str(here / "etc"), "start-fg"]
        process = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            waited_for(process, here / "log", "daemon started")
            yield NextHop(mail, process)
        finally:
            # What we have started is a shell, which waits for Postfix's master, the first of a process group.
            pid_file = here / "queue" / "pid" / "master.pid"
            master = int(pid_file.read_text() or 0) if pid_file.exists() else 0
            with suppress(ProcessLookupError):  # it may have ended by itself
                os.kill(master or process.pid, signal.SIGTERM)
            process.wait(LIMIT)
            if master:
                end_of_group(master)


@contextmanager
def exim(port: int, domain: str) -> Iterator[NextHop]:
    program = unpacked("usr/sbin/exim4")
    user, group = (NOBODY, NOBODY_GROUP) if NOT_ROOT else (str(os.getuid()), str(os.getgid()))
    with directory("mailstack-exim-") as here:
        for name in ("spool", "log"):
            (here / name).mkdir()
            if NOT_ROOT:
                shutil.chown(here / name, user, group)
        mail = maildirs(here)
        (here / "conf").write_text(
            f"""exim_path = {program}
exim_user = {user}
exim_group = {group}
deliver_drop_privilege
keep_environment =
primary_hostname = relay.example.net
spool_directory = {here}/spool
log_file_path = {here}/log/%slog
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
tls_advertise_hosts =
smtputf8_advertise_hosts = *
message_size_limit = {SIZE}
rfc1413_query_timeout = 0s
acl_smtp_rcpt = rcpt
acl_smtp_data = accept
begin acl
rcpt:
  accept domains = {domain}
         local_parts = {" : ".join(PEOPLE)}
  deny message = 5.1.1 No such user
begin routers
all:
  driver = accept
  transport = maildir
begin transports
maildir:
  driver = appendfile
  directory = {mail}/${{local_part_data}}
  maildir_format
  user = {user}
  group = {group}
""".replace(
                "  driver = accept\n",
                f"  driver = accept\n  local_parts = {' : '.join(PEOPLE)}\n",
            )
        )
        command = [*NOT_ROOT, program, "-C", str(here / "conf"), "-bdf"]
        process = subprocess.Popen(command, start_new_session=True)
        try:
            until_it_listens(process, port, here / "log" / "mainlog")
            yield NextHop(mail, process)
        finally:
            process.terminate()
            process.wait(LIMIT)
            end_of_group(process.pid)


@contextmanager
def opensmtpd(port: int, domain: str, authorities: Path) -> Iterator[NextHop]:
    with directory("mailstack-opensmtpd-") as here:
        mail = maildirs(here)
        known = ", ".join(f'"{name}@{domain}" = "{NOBODY}"' for name in PEOPLE if name.isascii())
        (here / "conf").write_text(
            f"""listen on 127.0.0.1 port {port} hostname relay.example.net
smtp max-message-size {SIZE}
table known {{ {known} }}
action "in" maildir "{mail}/%{{rcpt.user}}" virtual <known>
match from any for domain {domain} action "in"
"""
        )
        with in_a_room(here, authorities, port) as process:
            yield NextHop(mail, process)


_DOVECOT = """
base_dir = {here}/run
state_dir = {here}/run
log_path = {here}/log
protocols = lmtp
ssl = no
first_valid_uid = 1
mail_location = maildir:{mail}/%n
postmaster_address = postmaster@example.net
passdb {{
  driver = passwd-file
  args = {here}/users
}}
userdb {{
  driver = passwd-file
  args = {here}/users
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
service stats {{
  client_limit = 100
}}
"""


@contextmanager
def dovecot(port: int, domain: str) -> Iterator[NextHop]:
    """LMTP only."""
    if os.getuid():
        pytest.skip("only root can start a Dovecot that delivers as somebody else")
    if not Path("/usr/lib/dovecot/lmtp").exists():
        pytest.skip("dovecot-lmtpd is not installed")
    nobody = pwd.getpwnam(NOBODY)
    with directory("mailstack-dovecot-") as here:
        mail = maildirs(here)
        (here / "users").write_text(
            "".join(f"{name}@{domain}:{{PLAIN}}x:{nobody.pw_uid}:{nobody.pw_gid}::{mail}/{name}\n" for name in PEOPLE)
        )
        (here / "conf").write_text(_DOVECOT.format(here=here, mail=mail, port=port))
        process = subprocess.Popen(
            ["/usr/sbin/dovecot", "-F", "-c", str(here / "conf")],
            start_new_session=True,
        )
        try:
            until_it_listens(process, port, here / "log")
            yield NextHop(mail, process)
        finally:
            process.terminate()
            process.wait(LIMIT)
            end_of_group(process.pid)
