"""IMAP clients that mean harm, against a real process: memory stays flat and others are served."""

from __future__ import annotations

import statistics
import threading
import time
import zlib
from collections.abc import Iterator

import pytest
from server_process import Dialogue, Server

pytestmark = pytest.mark.processes

MIB = 1024 * 1024
PIPELINED = 100_000
LATENCY = 0.05
"""Seconds within which others are answered."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("abuse"), ("dev", "--ephemeral", "--ports", "0")) as running:
        yield running


def logged_in(server: Server) -> Dialogue:
    client = server.connect("imap")
    client.send(b"a LOGIN alice@example.org secret\r\nb SELECT INBOX\r\n")
    client.until(b"b OK")
    return client


def swallow(client: Dialogue, octets: int) -> None:
    """Read so much."""
    while octets > 0:
        octets -= len(client.sock.recv(MIB))


def test_a_hundred_thousand_commands_in_one_write(server: Server) -> None:
    with logged_in(server) as greedy, logged_in(server) as other:
        before = server.rss()
        sending = threading.Thread(target=greedy.send, args=(b"a NOOP\r\n" * PIPELINED,))
        sending.start()
        taken: list[float] = []
        reading = threading.Thread(target=swallow, args=(greedy, PIPELINED * len(b"a OK NOOP completed\r\n")))
        reading.start()
        while reading.is_alive():
            began = time.monotonic()
            other.send(b"x NOOP\r\n")
            assert other.line().startswith(b"x OK")
            taken.append(time.monotonic() - began)
        sending.join()
        assert len(taken) >= 10
        assert statistics.median(taken) < LATENCY
        assert server.rss() - before < 4 * MIB


def test_a_client_that_reads_no_answer_is_not_answered_for_ever(server: Server) -> None:
    """Small answers pile up nowhere, whether the commands come together or one by one."""
    with logged_in(server) as deaf, logged_in(server) as other:
        before = server.rss()
        deaf.sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            for _ in range(60):
                deaf.send(b"a CAPABILITY\r\n" * 10_000)  # 30 times as much comes back: 250 MB in all
        other.send(b"x NOOP\r\n")
        assert other.line().startswith(b"x OK")
        assert server.rss() - before < 4 * MIB


def test_a_bomb_of_compressed_data(server: Server) -> None:
    """64 MiB of spaces in 64 KiB: a literal that nobody wants, read over in pieces."""
    with logged_in(server) as bomber, logged_in(server) as other:
        before = server.rss()
        bomber.send(b"c COMPRESS DEFLATE\r\n")
        assert bomber.line() == b"c OK DEFLATE active"
        pack, unpack = zlib.compressobj(9, wbits=-15), zlib.decompressobj(wbits=-15)
        bomb = pack.compress(b"d APPEND INBOX {%d+}\r\n" % (64 * MIB))
        bomb += b"".join(pack.compress(b" " * MIB) for _ in range(64))
        bomb += pack.compress(b"\r\ne NOOP\r\n") + pack.flush(zlib.Z_SYNC_FLUSH)
        assert len(bomb) < 80_000
        began = time.monotonic()
        bomber.send(bomb)
        other.send(b"x NOOP\r\n")
        assert other.line().startswith(b"x OK")
        assert time.monotonic() - began < 1.0
        said = b""
        while b"e OK NOOP completed\r\n" not in said:
            said += unpack.decompress(bomber.exactly(1))
        assert b"d NO [TOOBIG]" in said
        assert server.rss() - before < 4 * MIB
