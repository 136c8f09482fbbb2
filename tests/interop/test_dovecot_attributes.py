"""Annotations (RFC 5464) that Dovecot keeps and those that mailstack keeps, each read by the other."""

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

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        not os.access(MASTER, os.X_OK), reason="Dovecot is not installed (Debian: apt-get install dovecot-imapd)"
    ),
]
ALICE = f"alice@{DOMAIN}"
METADATA = """
mail_attribute_dict = file:%h/dovecot-attributes
protocol imap {
  imap_metadata = yes
}
"""


@pytest.fixture
def base() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ms"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def got(client: Imap, command: bytes) -> list[bytes]:
    return [line.strip() for line in client.command(command)[:-1]]


def test_each_reads_what_the_other_wrote(base: Path) -> None:
    with ExitStack() as stack:
        prepare(base, configuration(base, tables="[auth]\nrequire_tls = false\n"))
        server = stack.enter_context(production(base))
        ours = Imap(server.port("imap"), ALICE, OURS)
        stack.callback(ours.close)
        ours.command(b"CREATE Work")
        ours.command(b'SETMETADATA Work (/shared/comment "of\tmailstack" /private/vendor/x/y "1")')
        ours.command(b'SETMETADATA "" (/private/vendor/x/z "server")')
        dovecot = stack.enter_context(Dovecot(base, base / "data" / "mail", more=METADATA))
        theirs = Imap(dovecot.port, ALICE, PASSWORD)
        stack.callback(theirs.close)
        assert b"of\tmailstack" in got(theirs, b"GETMETADATA Work /shared/comment")[0]
        assert b"server" in got(theirs, b'GETMETADATA "" /private/vendor/x/z')[0]
        theirs.command(b'SETMETADATA Work (/private/comment "of\tDovecot" /private/vendor/x/y NIL)')
        theirs.command(b'SETMETADATA "" (/private/vendor/x/w "too")')
        wanted = (
            b'* METADATA Work (/private/comment "of\tDovecot" /private/vendor/x/y NIL /shared/comment "of\tmailstack")'
        )
        assert got(ours, b"GETMETADATA Work (/private/comment /private/vendor/x/y /shared/comment)") == [wanted]
        assert got(ours, b'GETMETADATA "" (/private/vendor/x/w)') == [b'* METADATA "" (/private/vendor/x/w "too")']
        theirs.command(b"RENAME Work Play")
        assert b'"of\tDovecot"' in got(ours, b"GETMETADATA Play /private/comment")[0]
        assert not dovecot.complaints()
