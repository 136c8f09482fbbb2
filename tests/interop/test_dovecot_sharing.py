"""What mailstack and Dovecot keep beside messages, each read by the other: access control lists (RFC 4314) and
annotations (RFC 5464)."""

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
MORE = """
mail_plugins = acl
mail_attribute_dict = file:%h/dovecot-attributes
protocol imap {
  mail_plugins = acl imap_acl
  imap_metadata = yes
}
namespace {
  type = shared
  separator = /
  prefix = Other Users/%%u/
  location = maildir:MAIL/%%u:INDEXPVT=MAIL/%u/shared/%%u
  subscriptions = no
  list = children
}
plugin {
  acl = vfile
  acl_shared_dict = file:DATA/shared-mailboxes
}
"""


class Both:
    """Dovecot and mailstack on the same accounts."""

    def __init__(self, base: Path, stack: ExitStack) -> None:
        prepare(base, configuration(base, tables="[auth]\nrequire_tls = false\n"))
        self._stack = stack
        self._server = stack.enter_context(production(base))
        data = base / "data"
        more = MORE.replace("MAIL", str(data / "mail")).replace("DATA", str(data))
        self.dovecot = stack.enter_context(Dovecot(base, data / "mail", more=more))

    def ours(self, user: str) -> Imap:
        """A session of mailstack's."""
        return self._closed(Imap(self._server.port("imap"), user, OURS))

    def theirs(self, user: str) -> Imap:
        """A session of Dovecot's."""
        return self._closed(Imap(self.dovecot.port, user, PASSWORD))

    def _closed(self, client: Imap) -> Imap:
        self._stack.callback(client.close)
        return client


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    base = Path(tempfile.mkdtemp(prefix="ms"))
    try:
        base.chmod(0o755)
        with ExitStack() as stack:
            yield Both(base, stack)
    finally:
        shutil.rmtree(base)


def got(client: Imap, command: bytes) -> list[bytes]:
    return [line.strip() for line in client.command(command)[:-1]]


def rights(client: Imap, mailbox: str) -> str:
    (line, _) = client.command(b"MYRIGHTS " + client.name(f"{SHARED}/{mailbox}"))
    return "".join(sorted(line.decode().split()[-1]))


def test_each_sees_what_is_shared_by_the_other(both: Both) -> None:
    alice, bob = both.ours(ALICE), both.ours(BOB)
    alice.command(b"CREATE Ours")
    alice.command(b"CREATE Theirs")
    alice.append("Ours", b"Subject: one\r\n\r\n")
    alice.command(b"SETACL Ours bob lrswi")
    there = both.theirs(BOB)
    assert f"{SHARED}/Ours" in there.list()
    assert rights(there, "Ours") == "".join(sorted("lrswi"))
    assert len(there.mailbox(f"{SHARED}/Ours").messages) == 1
    both.theirs(ALICE).command(b"SETACL Theirs %s lrtex" % BOB.encode())
    assert {f"{SHARED}/Ours", f"{SHARED}/Theirs"} <= bob.list().keys()
    assert rights(bob, "Theirs") == "".join(sorted("lrtexcd"))
    alice.command(b"SETACL Theirs bob -x")
    assert rights(both.theirs(BOB), "Theirs") == "".join(sorted("lrted"))
    alice.command(b"DELETEACL Ours bob")
    assert f"{SHARED}/Ours" not in both.theirs(BOB).list()
    assert not both.dovecot.complaints()


def test_each_reads_annotations_that_the_other_wrote(both: Both) -> None:
    ours = both.ours(ALICE)
    ours.command(b"CREATE Work")
    ours.command(b'SETMETADATA Work (/shared/comment "of\tmailstack" /private/vendor/x/y "1")')
    ours.command(b'SETMETADATA "" (/private/vendor/x/z "server")')
    theirs = both.theirs(ALICE)
    assert b"of\tmailstack" in got(theirs, b"GETMETADATA Work /shared/comment")[0]
    assert b"server" in got(theirs, b'GETMETADATA "" /private/vendor/x/z')[0]
    theirs.command(b'SETMETADATA Work (/private/comment "of\tDovecot" /private/vendor/x/y NIL)')
    theirs.command(b'SETMETADATA "" (/private/vendor/x/w "too")')
    wanted = b'* METADATA Work (/private/comment "of\tDovecot" /private/vendor/x/y NIL /shared/comment "of\tmailstack")'
    assert got(ours, b"GETMETADATA Work (/private/comment /private/vendor/x/y /shared/comment)") == [wanted]
    assert got(ours, b'GETMETADATA "" (/private/vendor/x/w)') == [b'* METADATA "" (/private/vendor/x/w "too")']
    theirs.command(b"RENAME Work Play")
    assert b'"of\tDovecot"' in got(ours, b"GETMETADATA Play /private/comment")[0]
    assert not both.dovecot.complaints()
