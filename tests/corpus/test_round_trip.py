"""What SMTP takes, IMAP and POP3 give back, octet for octet."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_process import Server, send_message

pytestmark = pytest.mark.processes

CORPUS = Path(os.environ.get("MAILSTACK_CORPUS", Path(__file__).parents[2] / "../shared/corpus"))
MESSAGES = sorted(CORPUS.glob("*/*.eml"))
MIB = 1024 * 1024

HEADER = b"From: <a@example.net>\r\nSubject: generated\r\n"
GENERATED: dict[str, bytes] = {
    "empty": b"",
    "one empty line": b"\r\n",
    "no headers": b"\r\nonly a body\r\n",
    "no body": HEADER,
    "headers and nothing": HEADER + b"\r\n",
    "not a header": b"this is no header field at all\r\nnor this\r\n\r\nbody\r\n",
    "dots": HEADER + b"\r\n.\r\n..\r\n...\r\n.a\r\n. \r\na.\r\n",
    "8 bit": HEADER + b"\r\n" + bytes(set(range(256)) - {0, 10, 13}) + b"\r\n",
    "8 bit header": b"Subject: gr\xfc\xdfe\r\n\r\nx\r\n",
    "empty lines": HEADER + b"\r\n" * 1000,
    "trailing blanks": HEADER + b"\r\na  \t\r\n \r\n\t\r\n",
    "one long line": HEADER + b"\r\n" + b"x" * (10 * MIB) + b"\r\n",
    "long header line": b"Subject: " + b"y" * 200_000 + b"\r\n\r\nx\r\n",
    "many headers": b"".join(b"X-%d: %d\r\n" % (i, i) for i in range(5000)) + b"\r\nx\r\n",
    "128 KiB less one": HEADER + b"\r\n" + (b"z" * 62 + b"\r\n") * 2047 + b"end\r\n",
    "128 KiB and more": HEADER + b"\r\n" + (b"z" * 62 + b"\r\n") * 2048 + b"end\r\n",
    "open multipart": HEADER + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\none\r\n',
    "no boundary": HEADER + b"Content-Type: multipart/mixed\r\n\r\n--\r\n\r\none\r\n",
    "nested": HEADER
    + b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (i, i) for i in range(200))
    + b"\r\nx\r\n",
    "from line": b"From alice Thu Jan  1 00:00:00 1970\r\n" + HEADER + b"\r\nFrom here\r\n>From there\r\n",
}
REPAIRED: dict[str, bytes] = {
    "bare CR": HEADER + b"\r\na\rb\r\n",
    "bare LF": HEADER + b"\r\na\nb\r\n",
    "CR CR LF": HEADER + b"\r\na\r\r\nb\r\n",
    "LF CR": HEADER + b"\r\na\n\rb\r\n",
    "LF only": (HEADER + b"\r\none\r\ntwo\r\n").replace(b"\r\n", b"\n") + b"\r\n",
}


def canonical(octets: bytes) -> bytes:
    """Every CR and LF that stands alone becomes CRLF."""
    return re.sub(rb"\r\n|\r|\n", b"\r\n", octets)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("corpus"), ("dev", "--ephemeral", "--ports", "0")) as running:
        yield running


def by_imap(server: Server, user: str) -> tuple[bytes, int]:
    """The octets of BODY[] of the only message, and its RFC822.SIZE."""
    with server.connect("imap") as client:
        client.send(b"a LOGIN %s x\r\nb SELECT INBOX\r\n" % user.encode())
        assert b"* 1 EXISTS" in client.until(b"b OK")
        client.send(b"c FETCH 1 (RFC822.SIZE BODY.PEEK[])\r\n")
        line = client.line()
        size = re.search(rb"RFC822.SIZE (\d+)", line)
        literal = re.search(rb"BODY\[\] \{(\d+)\}$", line)
        assert size and literal, line
        octets = client.exactly(int(literal[1]))
        assert client.line() == b")"
        # What clients ask next must survive every message too.
        client.send(b"d FETCH 1 (ENVELOPE BODYSTRUCTURE BODY.PEEK[1] BODY.PEEK[1.MIME] BODY.PEEK[TEXT])\r\n")
        assert client.until(b"d ")[-1].startswith(b"d OK")
        client.send(b'e SEARCH OR (SUBJECT "x") OR (BODY "x") OR (HEADER "X" "") SENTSINCE 1-Jan-2000\r\n')
        assert client.until(b"e ")[-1].startswith(b"e OK")
        return octets, int(size[1])


def by_pop3(server: Server, user: str) -> tuple[bytes, int]:
    """The octets of RETR, dots unstuffed, and the size that LIST says."""
    with server.connect("pop3") as client:
        client.send(b"USER %s\r\nPASS x\r\nLIST 1\r\nRETR 1\r\n" % user.encode())
        replies = [client.line() for _ in range(4)]
        assert all(reply.startswith(b"+OK") for reply in replies), replies
        pieces = [client.buffer]
        tail = client.buffer[-5:]
        while tail[-5:] != b"\r\n.\r\n":
            pieces.append(client.sock.recv(1 << 20))
            assert pieces[-1], "the connection ended within the message"
            tail = (tail + pieces[-1])[-5:]
        octets = b"".join(pieces)[:-3]
        return re.sub(rb"(\A|\r\n)\.", rb"\1", octets), int(replies[2].split()[2])


def round_trip(server: Server, user: str, sent: bytes) -> None:
    expected = canonical(sent)
    if expected and not expected.endswith(b"\r\n"):
        expected += b"\r\n"
    send_message(server, user, sent)
    octets, size = by_imap(server, user)
    assert size == len(octets)
    assert octets.endswith(expected)
    trace = octets[: len(octets) - len(expected)]
    assert trace.startswith(b"Return-Path: <sender@example.net>\r\n")
    assert all(re.match(rb"[!-9;-~]+:|[ \t]", line) for line in trace.splitlines()), trace
    retrieved, listed = by_pop3(server, user)
    assert retrieved == octets
    assert listed == size


@pytest.mark.skipif(not MESSAGES, reason=f"no corpus at {CORPUS}; set MAILSTACK_CORPUS to a folder of folders of .eml")
@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_corpus(server: Server, path: Path) -> None:
    round_trip(server, f"{path.parent.name}{path.stem}@example.org", canonical(path.read_bytes()))


@pytest.mark.parametrize("name", GENERATED)
def test_generated(server: Server, name: str) -> None:
    round_trip(server, f"g{list(GENERATED).index(name)}@example.org", GENERATED[name])


@pytest.mark.parametrize("name", REPAIRED)
def test_lone_line_ends_are_repaired(server: Server, name: str) -> None:
    round_trip(server, f"r{list(REPAIRED).index(name)}@example.org", REPAIRED[name])
