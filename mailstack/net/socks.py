"""SOCKS 5, the client's side: a connection by way of a proxy (RFC 1928, RFC 1929); no IO."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from typing import Literal

VERSION = 5
NO_LOGIN, PASSWORD, NONE_WILL_DO = 0x00, 0x02, 0xFF
CONNECT = 1
IPV4, NAME, IPV6 = 1, 3, 4
MAX_FIELD = 255
"""Octets of a name, a user or a password."""
_REFUSALS = {
    1: "general failure", 2: "not allowed by its rules", 3: "network unreachable", 4: "host unreachable",
    5: "connection refused", 6: "no answer in time", 7: "it cannot connect", 8: "address type not supported",
}  # fmt: skip
"""RFC 1928 §6."""


class ProxyRefused(Exception):
    """The proxy does not connect us; the message says why."""


@dataclass(frozen=True, slots=True)
class SocksProxy:
    """`host` is an IP address. `user` "": no login."""

    host: str
    port: int = 1080
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"SocksProxy({self.host!r}, {self.port})"


class SocksNegotiation:
    """Send what `begin` gives; then `feed` what comes, and send what that gives, until `done`. `rest` is then what the
    host behind the proxy has already said."""

    def __init__(self, proxy: SocksProxy, address: str, port: int) -> None:
        self.done = False
        self.rest = b""
        self._proxy = proxy
        self._request = b"%c%c\0%b%b" % (VERSION, CONNECT, _address(address), port.to_bytes(2, "big"))
        self._buffer = b""
        self._state: Literal["method", "login", "reply"] = "method"

    def begin(self) -> bytes:
        """The methods that we can (RFC 1928 §3)."""
        return bytes((VERSION, 2, NO_LOGIN, PASSWORD) if self._proxy.user else (VERSION, 1, NO_LOGIN))

    def feed(self, data: bytes) -> bytes:
        """What to send next, b"" for nothing. Raises: ProxyRefused."""
        self._buffer += data
        answer = b""
        while True:
            step = {"method": self._method, "login": self._login, "reply": self._reply}[self._state]()
            if step is None or self.done:
                return answer
            answer += step

    def _take(self, length: int) -> bytes:
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken

    def _method(self) -> bytes | None:
        if len(self._buffer) < 2:
            return None
        version, method = self._take(2)
        if version != VERSION:
            raise ProxyRefused("it does not speak SOCKS 5")
        if method == NO_LOGIN:
            self._state = "reply"
            return self._request
        if method != PASSWORD or not self._proxy.user:
            raise ProxyRefused("it wants another login than we have")
        self._state = "login"
        # RFC 1929 §2
        return b"\x01" + _counted(self._proxy.user) + _counted(self._proxy.password)

    def _login(self) -> bytes | None:
        if len(self._buffer) < 2:
            return None
        if self._take(2)[1] != 0:
            raise ProxyRefused("user or password are wrong")
        self._state = "reply"
        return self._request

    def _reply(self) -> bytes | None:
        # VER REP RSV ATYP BND.ADDR BND.PORT   ; RFC 1928 §6
        buffer = self._buffer
        if len(buffer) >= 2 and (buffer[0] != VERSION or buffer[1] != 0):
            raise ProxyRefused(_REFUSALS.get(buffer[1], f"failure {buffer[1]}"))
        if len(buffer) < 5:
            return None
        length = {IPV4: 4, IPV6: 16, NAME: 1 + buffer[4]}.get(buffer[3])
        if length is None:
            raise ProxyRefused("its reply cannot be understood")
        if len(buffer) < 6 + length:
            return None
        self.done = True
        self.rest = buffer[6 + length :]
        return b""


def _address(address: str) -> bytes:
    try:
        parsed = ip_address(address)
    except ValueError:
        return bytes((NAME,)) + _counted(address)
    return bytes((IPV4 if isinstance(parsed, IPv4Address) else IPV6,)) + parsed.packed


def _counted(text: str) -> bytes:
    octets = text.encode()[:MAX_FIELD]
    return bytes((len(octets),)) + octets
