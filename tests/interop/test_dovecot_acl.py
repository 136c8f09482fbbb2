"""Mailboxes shared by Dovecot's ACL plugin and by mailstack, each seen by the other (RFC 4314)."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from dovecot_process import MASTER, PASSWORD, Dovecot
from imap_client import Imap
from production import DOMAIN, configuration, prepare, production
from production import PASSWORD as OURS

PLUGIN = Path("/usr/lib/dovecot/modules/lib01_acl_plugin.so")
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        not os.access(MASTER, os.X_OK) or not PLUGIN.exists(),
        reason="Dovecot with its ACL plugin is not installed (Debian: apt-get install dovecot-imapd)",
    ),
]
ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
SHARED = f"Other Users/{ALICE}"
ACL = """
mail_plugins = acl
protocol imap {
  mail_plugins = acl imap_acl
}
namespace {
  type = shared
  separator = /
  prefix = Other Users/%%%%u/
  location = maildir:MAIL/%%%%u:INDEXPVT=MAIL/%%u/shared/%%%%u
  subscriptions = no
  list = children
}
plugin {
  acl = vfile
  acl_shared_dict = file:DATA/shared-mailboxes
}
""".replace("%%", "%")


@pytest.fixture
def base() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ms"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def rights(client: Imap, mailbox: str) -> str:
    (line, _) = client.command(b"MYRIGHTS " + client.name(f"{SHARED}/{mailbox}"))
    return "".join(sorted(line.decode().split()[-1]))


def test_each_sees_what_is_shared_by_the_other(base: Path) -> None:
    with ExitStack() as stack:
        prepare(base, configuration(base, tables="[auth]\nrequire_tls = false\n"))
        server = stack.enter_context(production(base))
        data = base / "data"
        more = ACL.replace("MAIL", str(data / "mail")).replace("DATA", str(data))
        dovecot = stack.enter_context(Dovecot(base, data / "mail", more=more))

        def ours(user: str) -> Imap:
            client = Imap(server.port("imap"), user, OURS)
            stack.callback(client.close)
            return client

        def theirs(user: str) -> Imap:
            client = Imap(dovecot.port, user, PASSWORD)
            stack.callback(client.close)
            return client

        alice, bob = ours(ALICE), ours(BOB)
        alice.command(b"CREATE Ours")
        alice.command(b"CREATE Theirs")
        alice.append("Ours", b"Subject: one\r\n\r\n")
        alice.command(b"SETACL Ours bob lrswi")
        there = theirs(BOB)
        assert f"{SHARED}/Ours" in there.list()
        assert rights(there, "Ours") == "".join(sorted("lrswi"))
        assert len(there.mailbox(f"{SHARED}/Ours").messages) == 1
        theirs(ALICE).command(b"SETACL Theirs %s lrtex" % BOB.encode())
        assert {f"{SHARED}/Ours", f"{SHARED}/Theirs"} <= bob.list().keys()
        assert rights(bob, "Theirs") == "".join(sorted("lrtexcd"))
        alice.command(b"SETACL Theirs bob -x")
        assert rights(theirs(BOB), "Theirs") == "".join(sorted("lrted"))
        alice.command(b"DELETEACL Ours bob")
        assert f"{SHARED}/Ours" not in theirs(BOB).list()
        assert not dovecot.complaints()
