"""Plays transcripts against a real server process with a real Maildir."""

from __future__ import annotations

from server_process import Dialogue, Server, send_message
from transcripts import Link, ScriptError, Transcript

from mailstack.ports import Flag, Flags

SILENCE = 5.0
"""Seconds after which a line that should come is taken not to come."""


class ServerLink:
    """A connection to the server."""

    def __init__(self, dialogue: Dialogue) -> None:
        self.dialogue = dialogue
        dialogue.sock.settimeout(SILENCE)

    def send(self, octets: bytes) -> None:
        self.dialogue.send(octets)

    def read_line(self) -> bytes | None:
        try:
            line = self.dialogue.line()
        except TimeoutError:
            return None
        return line if line or self.dialogue.buffer or not self.dialogue.ended else None

    def rest(self) -> bytes:
        return self.dialogue.buffer

    def at_end(self) -> bool:
        try:
            return self.dialogue.at_end()
        except TimeoutError:
            return False

    def start_tls(self) -> None:
        self.dialogue.start_tls()

    def close(self) -> None:
        self.dialogue.close()


class ServerWorld:
    """One server for one script."""

    def __init__(self, script: Transcript, server: Server) -> None:
        self.script = script
        self.server = server

    def connect(self) -> ServerLink:
        return ServerLink(self.server.connect(self.script.protocol, greeting=False))

    def imap(self, user: str) -> Dialogue:
        client = self.server.connect("imap")
        client.send(f'login LOGIN "{user}" "{self.script.users[user]}"\r\n'.encode())
        expect(client, b"login")
        return client

    def make_mailbox(self, user: str, mailbox: str) -> None:
        with self.imap(user) as client:
            client.send(f'create CREATE "{mailbox}"\r\n'.encode())
            client.until(b"create ")  # NO: it is there already

    def put(self, user: str, mailbox: str, flags: Flags, octets: bytes) -> None:
        names = [f"\\{flag.name.capitalize()}" for flag in Flag if flag in flags.system and flag.name]
        with self.imap(user) as client:
            words = " ".join([*names, *sorted(flags.keywords)])
            client.send(f'put APPEND "{mailbox}" ({words}) {{{len(octets)}}}\r\n'.encode())
            client.until(b"+")
            client.send(octets + b"\r\n")
            expect(client, b"put")

    def deliver(self, address: str, octets: bytes) -> None:
        send_message(self.server, address, octets)

    def event(self, word: str, link: Link) -> None:
        if word != "shutdown":
            raise ScriptError(f"*{word}* is for fakes only: add `only: fakes`")
        self.server.process.terminate()

    def finish(self) -> None:
        log = self.server.log.read_text()
        if self.script.settings.get("failures") != "expected":
            assert "Traceback" not in log, log[-4000:]


def expect(client: Dialogue, tag: bytes) -> None:
    """The tagged reply is OK."""
    reply = client.until(tag + b" ")[-1]
    assert reply.startswith(tag + b" OK"), reply
