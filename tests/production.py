"""A production server for tests: a configuration, a certificate, and accounts in a directory."""

from __future__ import annotations

import base64
import os
import shutil
from pathlib import Path

from server_process import Dialogue, Server

from mailstack.auth.database import AccountDatabase
from mailstack.auth.passwords import hash_password
from mailstack.net.certificates import CERTIFICATE, KEY, write_self_signed

DOMAIN = "example.org"
HOSTNAME = "mail.example.org"
PASSWORD = "correct horse"
NOBODY, NOBODY_GROUP = "nobody", "nogroup"
NOT_ROOT: tuple[str, ...] = ()
"""What to put before a command so that it does not run as root. It may read what root may, for the
interpreter may be in root's own directory."""
if os.getuid() == 0:
    _READ = "dac_read_search"
    NOT_ROOT = (
        "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY_GROUP}", "--clear-groups",
        f"--inh-caps=+{_READ}", f"--ambient-caps=+{_READ}", "--",
    )  # fmt: skip
NOBODY_KNOWS = '[dns]\nservers = ["127.0.0.1:1"]\n'
"""No test asks DNS that does not say whom: nothing may leave this machine."""
SERVICES = ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s")


def listeners(*, services: tuple[str, ...] = SERVICES, more: str = "") -> str:
    """A listener for each service, on loopback, at a port of the kernel's choice."""
    return "".join(
        f'[[listeners]]\nservice = "{service}"\naddress = "127.0.0.1"\nport = 0\n{more}\n' for service in services
    )


def configuration(directory: Path, *, top: str = "", rest: str = "", tables: str = "", domains: str = DOMAIN) -> str:
    """The text of a configuration. `top` are keys of the first table, `rest` replaces the listeners."""
    if "[dns]" not in tables:
        tables += "\n" + NOBODY_KNOWS
    named = "".join(f'[[domains]]\nname = "{name}"\n' for name in domains.split())
    return (
        f'data = "{directory}/data"\nhostname = "{HOSTNAME}"\n{top}\n{named}{rest or listeners()}'
        f'[[tls.certificates]]\ncert = "tls/{CERTIFICATE}"\nkey = "tls/{KEY}"\n{tables}\n'
    )


def prepare(directory: Path, text: str = "", accounts: tuple[str, ...] = ("alice", "bob")) -> Path:
    """Write configuration, certificate and accounts; returns the configuration's path."""
    directory.mkdir(exist_ok=True)
    (directory / "data").mkdir(mode=0o700)
    database = AccountDatabase(directory / "data" / "accounts.sqlite3")
    database.add_accounts([f"{name}@{DOMAIN}" for name in accounts], hash_password(PASSWORD))
    database.close()
    write_self_signed(directory / "tls", (HOSTNAME, "127.0.0.1"))
    path = directory / "mailstack.toml"
    path.write_text(text or configuration(directory))
    return path


def production(directory: Path, text: str = "", prefix: tuple[str, ...] = (), **environment: str) -> Server:
    """A server on `prepare`'s files, not as root; a context manager."""
    path = directory / "mailstack.toml"
    if not path.exists():
        prepare(directory, text)
    given_to_nobody(directory)
    return Server(directory, ("serve", "--config", str(path)), (*NOT_ROOT, *prefix), **environment)


def given_to_nobody(directory: Path) -> None:
    """When tests run as root: all in the directory belongs to the account that the server runs as."""
    if NOT_ROOT:
        for path in (directory, *directory.rglob("*")):
            shutil.chown(path, NOBODY, NOBODY_GROUP)


def plain(user: str = f"alice@{DOMAIN}", password: str = PASSWORD) -> bytes:
    """The initial response of SASL PLAIN (RFC 4616)."""
    return base64.b64encode(f"\0{user}\0{password}".encode())


def secured(server: Server, service: str) -> Dialogue:
    """An SMTP connection after STARTTLS and EHLO."""
    client = server.connect(service)
    client.smtp(b"EHLO client.example", b"250")
    client.smtp(b"STARTTLS", b"220")
    client.start_tls()
    client.smtp(b"EHLO client.example", b"250")
    return client
