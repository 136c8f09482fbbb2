"""COMPRESS=DEFLATE: what is compressed and what is not, broken data, and bombs."""

from __future__ import annotations

import resource
import zlib

import pytest
from imap_world import Client, World

from mailstack.errors import FramingLost
from mailstack.imap.session import TOO_LONG
from mailstack.net.deflate import PIECE, Deflate


class Peer:
    """The client's end of the compression."""

    def __init__(self, client: Client) -> None:
        self.client = client
        assert client.lines(b"COMPRESS DEFLATE") == [b"t OK DEFLATE active"]
        self._out = zlib.compressobj(wbits=-15)
        self._in = zlib.decompressobj(wbits=-15)

    def pack(self, octets: bytes) -> bytes:
        return self._out.compress(octets) + self._out.flush(zlib.Z_SYNC_FLUSH)

    def say(self, octets: bytes) -> bytes:
        return self.unpack(self.client.say(self.pack(octets)))

    def unpack(self, octets: bytes) -> bytes:
        assert not self._in.unconsumed_tail
        return self._in.decompress(octets)


def test_everything_after_the_ok_is_compressed_both_ways() -> None:
    world = World()
    world.inbox.insert(b"Subject: x\r\n\r\n" + b"body " * 5000)
    peer = Peer(world.log_in())
    assert peer.say(b"a NOOP\r\n") == b"a OK NOOP completed\r\n"
    answer = peer.client.say(peer.pack(b"b FETCH 1 BODY.PEEK[]\r\n"))
    assert len(answer) < 500
    assert peer.unpack(answer).endswith(b"b OK FETCH completed\r\n")
    packed = peer.pack(b"c NOOP\r\nd NO") + peer.pack(b"OP\r\n")
    said = b"".join([peer.unpack(peer.client.say(packed[at : at + 1])) for at in range(len(packed))])
    assert said == b"c OK NOOP completed\r\nd OK NOOP completed\r\n"


def test_it_is_active_once_and_known_after_login_only() -> None:
    client = World().connect()
    assert b"COMPRESS" not in client.greeting
    assert client.lines(b"COMPRESS DEFLATE")[-1].startswith(b"t BAD expected a command for the not authenticated")
    client = World().log_in()
    assert b"COMPRESS=DEFLATE" in client.lines(b"CAPABILITY")[0]
    assert client.lines(b"COMPRESS LZ4") == [b"t BAD expected DEFLATE at column 12"]
    peer = Peer(client)
    assert peer.say(b"a COMPRESS DEFLATE\r\n") == b"a NO [COMPRESSIONACTIVE] DEFLATE is active via COMPRESS\r\n"
    assert peer.say(b"b NOOP\r\n") == b"b OK NOOP completed\r\n"


def test_what_came_with_the_command_is_taken_for_compressed() -> None:
    """No plain command is executed after the OK, however the octets were cut."""
    world = World()
    client = world.log_in()
    said = client.say(b"a COMPRESS DEFLATE\r\nb DELETE Trash\r\n")
    plain, _, rest = said.partition(b"a OK DEFLATE active\r\n")
    assert plain == b""
    assert zlib.decompressobj(wbits=-15).decompress(rest).startswith(b"* BYE cannot go on: what came is not compressed")
    assert client.over == [None]
    eager = world.log_in()
    pack = zlib.compressobj(wbits=-15)
    said = eager.say(b"a COMPRESS DEFLATE\r\n" + pack.compress(b"b NOOP\r\n") + pack.flush(zlib.Z_SYNC_FLUSH))
    assert zlib.decompressobj(wbits=-15).decompress(said.partition(b"\r\n")[2]) == b"b OK NOOP completed\r\n"


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_broken_data_ends_the_connection_with_a_word(cut: int) -> None:
    peer = Peer(World().log_in())
    peer.unpack(peer.client.say(peer.pack(b"a NOOP\r\n" * 10)[:-cut]))
    said = peer.client.say(b"\xff" * 40)
    assert b"* BYE cannot go on: what came is not compressed as it should be\r\n" in peer.unpack(said)
    assert peer.client.over == [None]


def test_a_bomb_is_decompressed_as_it_is_used() -> None:
    pack = zlib.compressobj(9, wbits=-15)
    bomb = b"".join(pack.compress(b"x" * (1 << 20)) for _ in range(200)) + pack.flush()
    assert len(bomb) < 250_000
    deflate, size = Deflate(), 0
    deflate.feed(bomb)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FramingLost):
        while piece := deflate.take():
            assert len(piece) <= PIECE
            size += len(piece)
    assert size == 200 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2048


def test_a_bomb_of_one_line_is_one_command_that_is_too_long() -> None:
    peer = Peer(World().log_in())
    said = peer.say(b"a " + b"x" * (8 << 20) + b"\r\nb NOOP\r\n")
    assert said == b"a BAD [LIMIT] %b\r\nb OK NOOP completed\r\n" % TOO_LONG.encode()


def test_a_compressed_message_is_stored() -> None:
    world = World()
    peer = Peer(world.log_in(b""))
    octets = b"Subject: x\r\n\r\n" + b"y" * 300_000 + b"\r\n"
    said = peer.say(b"a APPEND INBOX {%d+}\r\n%b\r\n" % (len(octets), octets))
    assert b"a OK [APPENDUID" in said
    assert world.inbox.messages[1].octets == octets
