"""PROXY headers, whole and cut at every octet."""

from __future__ import annotations

import struct

import pytest

from mailstack.errors import FramingLost
from mailstack.net.proxy_protocol import SIGNATURE, Proxied, ProxyHeader
from mailstack.ports import Peer


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(body)) + body


V4 = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + struct.pack("!HH", 5000, 25)
V6 = bytes(15) + b"\x01" + bytes(15) + b"\x02" + struct.pack("!HH", 5001, 25)

GOOD = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 25\r\n", Peer("192.0.2.1", 5000)),
    (b"PROXY TCP6 2001:db8::1 ::1 5000 25\r\n", Peer("2001:db8::1", 5000)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
    (v2(1, 0x11, V4), Peer("192.0.2.1", 5000)),
    (v2(1, 0x11, V4 + b"\x04\x00\x02ab"), Peer("192.0.2.1", 5000)),  # a TLV after the addresses
    (v2(1, 0x21, V6), Peer("::1", 5001)),
    (v2(0, 0x00, b""), None),
    (v2(1, 0x00, b"xyz"), None),
]

BAD = [
    b"EHLO x\r\n",
    b"\r\nQUIT\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 5000\r\n",
    b"PROXY TCP4 2001:db8::1 ::1 5000 25\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 70000 25\r\n",
    b"PROXY TCP4 host.example 198.51.100.2 1 25\r\n",
    b"PROXY " + b"x" * 200,
    v2(2, 0x11, V4),
    v2(1, 0x11, V4[:8]),
    SIGNATURE + b"\x21\x11\xff\xff",
]


@pytest.mark.parametrize(("header", "peer"), GOOD)
def test_header_whole_and_cut_at_every_octet(header: bytes, peer: Peer | None) -> None:
    assert ProxyHeader().feed(header + b"EHLO") == Proxied(peer, b"EHLO")
    for cut in range(len(header)):
        parser = ProxyHeader()
        assert parser.feed(header[:cut]) is None
        assert parser.feed(header[cut:] + b"rest") == Proxied(peer, b"rest")


@pytest.mark.parametrize("octets", BAD)
def test_anything_else_is_refused(octets: bytes) -> None:
    with pytest.raises(FramingLost):
        ProxyHeader().feed(octets)


@pytest.mark.parametrize("octets", BAD)
def test_anything_else_is_refused_byte_by_byte(octets: bytes) -> None:
    parser = ProxyHeader()
    with pytest.raises(FramingLost):
        for octet in octets:
            assert parser.feed(bytes([octet])) is None
        pytest.fail("accepted")
