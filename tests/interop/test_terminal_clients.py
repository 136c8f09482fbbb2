"""Mail readers that draw on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from letters import FLAGS, LETTERS, Account, as_flags, letter
from recorder import Recorder
from server_process import Server, send_message

pytestmark = pytest.mark.interop


@pytest.fixture
def wire(server: Server) -> Iterator[Recorder]:
    with Recorder(server.port("imap")) as recorder:
        yield recorder


@pytest.mark.needs("neomutt")
def test_neomutt(server: Server, client: Any, wire: Recorder) -> None:
    account = Account(server, "neomutt@example.org")
    account.put()
    folder = f"imap://127.0.0.1:{wire.port}/"
    rc = client.write(
        "neomuttrc",
        f"""set imap_user={account.user} imap_pass=secret ssl_starttls=no ssl_force_tls=no
set folder={folder} header_cache={client.home}/cache imap_idle=yes
set timeout=1 mail_check=1 sleep_time=0 mark_old=no quit=yes delete=yes wait_key=no confirmappend=no
""",
    )
    command = ["neomutt", "-n", "-F", str(rc), "-f", folder + "INBOX"]
    with client.terminal(*command) as screen:
        screen.wait("letter 5")
        screen.type("1\rF", "!.*letter 0")
        screen.type("2\rd", "letter 1")
        screen.type("3\rC=Archive\r")
        wire.wait(rb"COPY .* IDLE\r\n")
        send_message(server, account.user, letter(8, b"\r\nnew\r\n"))
        screen.wait("letter 8")
        screen.type("q")
        screen.end()
    flags = ["\\flagged", *FLAGS[2:]]
    assert account.octets() == [LETTERS[0], *LETTERS[2:], account.octets()[-1]]
    assert account.flags()[:5] == [as_flags(each) for each in flags]
    assert account.octets("Archive") == [LETTERS[2]]

    assert [line for line in wire.commands() if "HEADER.FIELDS" in line]
    with client.terminal(*command) as screen:
        screen.wait("letter 8")
        screen.type("q")
        screen.end()
    assert not [line for line in wire.commands() if "HEADER.FIELDS" in line]


@pytest.mark.needs("alpine")
def test_alpine(server: Server, client: Any) -> None:
    account = Account(server, "alpine@example.org")
    account.put()
    folders = f"{{127.0.0.1:{server.port('imaps')}/imap/ssl/novalidate-cert/user={account.user}}}"
    rc = client.write(
        "pinerc",
        f"""user-domain=example.org
inbox-path={folders}INBOX
folder-collections=Far {folders}[]
feature-list=disable-password-file-saving,enable-unix-pipe-cmd,quit-without-confirm,
	expunge-without-confirm,expunge-without-confirm-everywhere
sort-key=arrival
last-version-used=6.26
""",
    )
    with client.terminal("alpine", "-p", str(rc), "-i") as screen:
        screen.wait("ENTER PASSWORD:")
        screen.type("secret\r", "letter 5")
        screen.type("S", "SAVE Msg #1 to folder")
        screen.type("Archive\r", "DONE|copied")
        screen.type("N", "letter 1")
        screen.type("N", "letter 2")
        screen.type("|", "Pipe")
        screen.type("\x17", "RAW")
        screen.type(f"cat >{client.home}/out\r", "completed")
        screen.type("N", "letter 3")
        screen.type("V", "preamble|see attachment")
        screen.type("Q")
        screen.end()
    # nothing was typed that alpine asks yes or no about: it throws away what was typed before it asks
    assert account.octets("Archive") == [LETTERS[0]]
    assert account.octets() == list(LETTERS[1:])
    assert account.flags() == [as_flags(each) for each in (*FLAGS[1:3], "\\answered \\seen", *FLAGS[4:])]
    assert (client.home / "out").read_bytes().replace(b"\r\n", b"\n") == LETTERS[2].replace(b"\r\n", b"\n")
