"""The PROXY protocol, versions 1 and 2: a balancer says who the client is before it speaks.

Source: "The PROXY protocol", haproxy, version 2020/03/05. Sans-IO: octets in, `Proxied` out."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from mailstack.errors import FramingLost
from mailstack.ports import Peer

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""First octets of version 2 (§2.2)."""
MAX_V1_LINE = 107
"""Octets of the longest version 1 line with its CRLF (§2.1)."""
MAX_V2_BODY = 4096
"""Octets of addresses and TLVs that we read; more is nobody's real header."""
_INET, _INET6 = 0x1, 0x2


@dataclass(frozen=True, slots=True)
class Proxied:
    """The header is complete. `peer` is None for a connection of the balancer's own (LOCAL or
    UNKNOWN); `rest` is what followed the header."""

    peer: Peer | None
    rest: bytes


class ProxyHeader:
    """Collects one header. Raises: FramingLost on anything that is not one."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Proxied | None:
        """None until the header is complete."""
        self._buffer += data
        start = self._buffer[: len(SIGNATURE)]
        if SIGNATURE.startswith(start) and len(start) < len(SIGNATURE):
            return None
        if start == SIGNATURE:
            return self._version_2()
        if not b"PROXY ".startswith(start[:6]):
            raise FramingLost("no PROXY header")
        return self._version_1()

    def _version_1(self) -> Proxied | None:
        end = self._buffer.find(b"\r\n", 0, MAX_V1_LINE)
        if end < 0:
            if len(self._buffer) >= MAX_V1_LINE:
                raise FramingLost("PROXY line too long")
            return None
        words = self._buffer[:end].decode("ascii", "replace").split(" ")
        rest = self._buffer[end + 2 :]
        if words[1] == "UNKNOWN":
            return Proxied(None, rest)
        if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
            raise FramingLost("bad PROXY line")
        return Proxied(_peer(words[2], words[4], 4 if words[1] == "TCP4" else 6), rest)

    def _version_2(self) -> Proxied | None:
        if len(self._buffer) < 16:
            return None
        version_command, family, length = struct.unpack_from("!BBH", self._buffer, 12)
        if version_command not in (0x20, 0x21) or length > MAX_V2_BODY:
            raise FramingLost("bad PROXY version, command or length")
        if len(self._buffer) < 16 + length:
            return None
        body, rest = self._buffer[16 : 16 + length], self._buffer[16 + length :]
        if version_command == 0x20:
            return Proxied(None, rest)
        return Proxied(_binary_peer(family >> 4, body), rest)


def _binary_peer(family: int, body: bytes) -> Peer | None:
    if family == _INET and len(body) >= 12:
        return Peer(str(IPv4Address(body[0:4])), int.from_bytes(body[8:10], "big"))
    if family == _INET6 and len(body) >= 36:
        return Peer(str(IPv6Address(body[0:16])), int.from_bytes(body[32:34], "big"))
    if family in (_INET, _INET6):
        raise FramingLost("PROXY addresses cut short")
    return None


def _peer(host: str, port: str, version: int) -> Peer:
    try:
        address = ip_address(host)
    except ValueError:
        raise FramingLost("bad address in PROXY line") from None
    if address.version != version or not (port.isdecimal() and port.isascii()) or int(port) > 65535:
        raise FramingLost("bad address in PROXY line")
    return Peer(str(address), int(port))
