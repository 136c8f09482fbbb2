"""A private Dovecot for tests: IMAP on a free port of loopback, mail in a directory of the test's."""

from __future__ import annotations

import grp
import os
import pwd
import signal
import socket
import subprocess
import time
from pathlib import Path

from production import NOBODY, NOBODY_GROUP

START_LIMIT = 20.0
PASSWORD = "pass"
MASTER = "/usr/sbin/dovecot"

_CONFIGURATION = """
base_dir = {base}/run
state_dir = {base}/run
log_path = {base}/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
mail_location = maildir:{mail}/%u
mailbox_list_index = {list_index}
mail_fsync = {fsync}
auth_mechanisms = plain
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={mail}/%u
}}
namespace inbox {{
  inbox = yes
  separator = {separator}
}}
service imap-login {{
  service_count = 0
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""

_NOT_ROOT = """
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
service anvil {{
  chroot =
}}
service imap-login {{
  chroot =
}}
service stats {{
  chroot =
}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class Dovecot:
    """A context manager. `base` is a directory with a short name (it has unix sockets); the mail of USER
    is in `mail`/USER; `more` is added to its configuration. Run by root, it serves as the account that
    tests use instead of root."""

    def __init__(
        self, base: Path, mail: Path, *, separator: str = "/", list_index: str = "yes", fsync: str = "optimized",
        more: str = "",
    ) -> None:  # fmt: skip
        self.separator = separator
        self.port = free_port()
        self.log = base / "dovecot.log"
        user, group = (NOBODY, NOBODY_GROUP) if os.getuid() == 0 else _current()
        values = {
            "base": base, "mail": mail, "separator": separator, "list_index": list_index, "fsync": fsync,
            "password": PASSWORD, "port": self.port, "user": user, "group": group,
            "uid": pwd.getpwnam(user).pw_uid, "gid": grp.getgrnam(group).gr_gid,
        }  # fmt: skip
        text = _CONFIGURATION + ("" if os.getuid() == 0 else _NOT_ROOT)
        configuration = base / "dovecot.conf"
        configuration.write_text(text.format(**values) + more)
        command = [MASTER, "-F", "-c", str(configuration)]
        self.process = subprocess.Popen(command, cwd=base, start_new_session=True)

    def __enter__(self) -> Dovecot:
        end = time.monotonic() + START_LIMIT
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except ConnectionRefusedError:
                if self.process.poll() is not None or time.monotonic() > end:
                    self.__exit__()
                    raise AssertionError(f"Dovecot did not start:\n{self.said()}") from None
                time.sleep(0.01)

    def said(self) -> str:
        """Its log."""
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def complaints(self) -> list[str]:
        """Lines of its log that tell of something it did not expect."""
        return [line for line in self.said().splitlines() if any(f": {word}: " in line for word in _WORDS)]

    def __exit__(self, *error: object) -> None:
        """End the master and all that it started; asked politely, it takes its time."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        finally:
            self.process.wait()


_WORDS = ("Warning", "Error", "Fatal", "Panic")


def _current() -> tuple[str, str]:
    return pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
