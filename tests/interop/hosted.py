"""A server with domains of its own: it knows its accounts, and refuses the others."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from letters import Account
from production import HOSTNAME, SERVICES, configuration, listeners, prepare, production
from server_process import Server

from mailstack.auth.database import AccountDatabase
from mailstack.auth.passwords import hash_password
from mailstack.auth.scram_store import scram_text
from mailstack.net.certificates import write_self_signed

DOMAIN, SECURE, LMTP, UNIX = "example.org", "tls.example.org", "lmtp.example.org", "unix.example.org"
SUBMISSION = "submission.example.org"
"""Domains, so that a mail server can have a route for each of them."""
PASSWORD = "secret"
NOBODY = f"nobody@{DOMAIN}"
"""No account of ours."""


class Hosted:
    """The server, and its accounts."""

    def __init__(self, directory: Path, server: Server) -> None:
        self.directory = directory
        self.server = server
        self.unix = directory / "lmtp"
        """The socket of LMTP."""
        self._password = hash_password(PASSWORD), scram_text(PASSWORD)
        """With keys from the beginning: as long as one account has none, SCRAM is offered to nobody."""

    def account(self, name: str, domain: str = DOMAIN) -> Account:
        """A new account."""
        database = AccountDatabase(self.directory / "data" / "accounts.sqlite3")
        database.add_account(f"{name}@{domain}", *self._password)
        database.close()
        return Account(self.server, f"{name}@{domain}")


@contextmanager
def hosting() -> Iterator[Hosted]:
    """Where servers that run as somebody else can get in."""
    with tempfile.TemporaryDirectory(prefix="mailstack-test-") as name:
        directory = Path(name)
        rest = listeners(services=(*SERVICES, "lmtp"))
        rest += f'[[listeners]]\nservice = "lmtp"\nunix = "{directory}/lmtp"\n[auth]\nrequire_tls = false\n'
        domains = " ".join((DOMAIN, SECURE, LMTP, UNIX, SUBMISSION))
        prepare(directory, configuration(directory, rest=rest, domains=domains), accounts=())
        write_self_signed(directory / "tls", (HOSTNAME, "localhost", "127.0.0.1"))
        with production(directory) as server:
            directory.chmod(0o711)
            yield Hosted(directory, server)


def received(octets: bytes) -> list[str]:
    """How the message came, hop by hop, the last one first: the word after "with" in each Received (RFC 3848)."""
    header = octets.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
    fields = re.sub(r"\r\n[ \t]+", " ", header)
    return re.findall(r"^Received: .*? with (\S+)", fields, re.M)
