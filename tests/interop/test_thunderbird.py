"""Thunderbird without a screen, driven by Marionette."""

from __future__ import annotations

import base64
import itertools
import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from letters import FLAGS, LETTERS, Account, as_flags, letter
from recorder import Recorder
from server_process import Server, send_message

pytestmark = pytest.mark.interop

LIMIT = 60
INSIDE = Path(__file__).parent / "programs" / "thunderbird.js"
PREFERENCES: dict[str, Any] = {
    "marionette.port": 0,
    "app.donation.eoy.version.viewed": 999,
    "app.update.enabled": False,
    "datareporting.policy.dataSubmissionPolicyBypassNotification": True,
    "mail.provider.suppress_dialog_on_startup": True,
    "mail.server.default.check_all_folders_for_new": False,
    "mail.spotlight.firstRunDone": True,
    "mailnews.start_page.enabled": False,
    "network.connectivity-service.enabled": False,
}


class Thunderbird:
    """A context manager. Its profile is in the client's home."""

    def __init__(self, client: Any) -> None:
        self._profile = client.home / "profile"
        self._profile.mkdir()
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items())
        (self._profile / "user.js").write_text("".join(lines))
        options = ["--headless", "--no-remote", "--marionette", "-remote-allow-system-access"]
        self._log = (client.home / "log").open("wb")
        self._process = subprocess.Popen(
            ["thunderbird", *options, "--profile", str(self._profile)],
            stdout=self._log,
            stderr=self._log,
            env=client.environment,
            cwd=client.home,
        )
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._sock: socket.socket | None = None

    def __enter__(self) -> Thunderbird:
        port_file = self._profile / "MarionetteActivePort"
        wait(lambda: port_file.exists() and port_file.read_text() or self._process.poll() is not None)
        assert self._process.poll() is None, Path(self._log.name).read_text()
        self._sock = socket.create_connection(("127.0.0.1", int(port_file.read_text())), timeout=LIMIT)
        self._packet()
        self._command("WebDriver:NewSession", capabilities={"timeouts": {"script": LIMIT * 1000}})
        self._command("Marionette:SetContext", value="chrome")
        return self

    def run(self, script: str, *arguments: Any) -> Any:
        """What the body of an asynchronous function returns; `given` is the arguments."""
        whole = (
            f"{INSIDE.read_text()}\nconst [given, done] = arguments;\n"
            f"(async () => {{ {script} }})().then(value => done([value]), error => done(String(error)));"
        )
        value = self._command("WebDriver:ExecuteAsyncScript", script=whole, args=[list(arguments)])["value"]
        assert isinstance(value, list), value
        return value[0] if value else None

    def _command(self, name: str, **parameters: Any) -> Any:
        assert self._sock
        octets = json.dumps([0, next(self._numbers), name, parameters]).encode()
        self._sock.sendall(b"%d:%s" % (len(octets), octets))
        _, _, error, result = self._packet()
        assert error is None, error
        return result

    def _packet(self) -> Any:
        while b":" not in self._buffer:
            self._more()
        length, _, self._buffer = self._buffer.partition(b":")
        while len(self._buffer) < int(length):
            self._more()
        packet, self._buffer = self._buffer[: int(length)], self._buffer[int(length) :]
        return json.loads(packet)

    def _more(self) -> None:
        assert self._sock
        octets = self._sock.recv(65536)
        assert octets, "Thunderbird ended"
        self._buffer += octets

    def __exit__(self, *error: object) -> None:
        if self._sock:
            self._sock.close()
        self._process.terminate()
        try:
            self._process.wait(LIMIT)
        finally:
            self._process.kill()
            self._process.wait()
            self._log.close()


def wait(condition: Callable[[], Any]) -> None:
    """Raises: AssertionError."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def account(server: Server) -> Iterator[Account]:
    made = Account(server, "thunderbird@example.org")
    made.create("Work/2024")
    imap = made.connect()
    imap.command(b"DELETE Work")  # a name with others below it, and no mailbox
    imap.command(b"SUBSCRIBE Work")
    imap.close()
    made.put()
    yield made


@pytest.mark.needs("thunderbird")
def test_thunderbird(server: Server, client: Any, account: Account) -> None:
    with Recorder(server.port("imap")) as wire, Thunderbird(client) as thunderbird:
        thunderbird.run("connect(...given);", wire.port, account.user)
        listed = thunderbird.run(
            """await until(() => root().subFolders.length === 7);
            return root().subFolders.map(each => [each.name, each.flags & Ci.nsMsgFolderFlags.SpecialUse]);"""
        )
        closed = thunderbird.run(
            """return root().descendants.filter(each => each.flags & Ci.nsMsgFolderFlags.ImapNoselect)
            .map(each => each.name);"""
        )
        assert closed == ["Work"]
        listed = [(name, use) for name, use in listed if name != "Work"]
        assert sorted(name for name, _ in listed) == ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"]
        assert len({use for _, use in listed}) == 6 and all(use for _, use in listed), listed

        shown = thunderbird.run(
            """await update("INBOX");
            return [...folder("INBOX").messages].map(
                each => [each.messageKey, each.mime2DecodedSubject, each.messageSize]);"""
        )
        assert shown == [[uid, f"letter {uid - 1}", len(octets)] for uid, octets in enumerate(LETTERS, 1)]
        for uid, octets in enumerate(LETTERS, 1):
            streamed = base64.b64decode(thunderbird.run("return await octets(given[0]);", uid))
            assert re.sub(rb"^(X-Mozilla-[^\n]*\n)*", b"", streamed) == octets  # fields of its own

        thunderbird.run(
            """folder("INBOX").markMessagesFlagged([message(1)], true);
            folder("INBOX").markMessagesRead([message(2)], false);
            folder("INBOX").addKeywordsToMessages([message(3)], "$label1");
            root().createSubfolder("Entwürfe & alte", null);
            await until(() => root().containsChildNamed("Entwürfe & alte"));
            folder("Entwürfe & alte").createSubfolder("2024", null);
            await until(() => folder("Entwürfe & alte").containsChildNamed("2024"));
            await transfer([3, 4], "Entwürfe & alte", false);
            await transfer([5], "Entwürfe & alte", true);
            await transfer([6], "Trash", true);"""
        )
        assert account.octets("Entw&APw-rfe &- alte") == list(LETTERS[2:5])
        assert account.octets("Trash") == [LETTERS[5]]
        made = [line for line in wire.commands() if "create " in line.lower()]
        assert made == ['create "Entwürfe & alte"', 'create "Entwürfe & alte/2024"']  # UTF8=ACCEPT; no "/" at the end

        thunderbird.run('await update("INBOX");')
        send_message(server, account.user, letter(8, b"\r\nnew\r\n"))
        told = thunderbird.run(  # by IDLE: it looks by itself only every ten minutes
            'return (await until(() => [...folder("INBOX").messages].find(each => each.messageKey > 6))).subject;'
        )
        assert told == "letter 8"
        flags = ["\\flagged", "", "\\flagged \\seen $label1", FLAGS[3], ""]
        wait(lambda: account.flags()[:3] == [as_flags(each) for each in flags[:3]])
        assert account.flags() == [as_flags(each) for each in flags]
