"""The servers that are asked, in which order, and those that are left alone for a while. Pure but for reading
resolv.conf."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mailstack.names import BadServer, NameServer

RESOLV_CONF = Path("/etc/resolv.conf")
MAX_RESOLV_CONF = 64 * 1024
"""Octets that are read of it."""
HERE = NameServer("127.0.0.1")
"""Who is asked when nobody is named, as resolv.conf(5) says."""
FAILURES = 2
"""Times in a row that a server does not reply, after which it is set aside."""
ASIDE, LONGEST_ASIDE = 30.0, 300.0
"""Seconds for which a server is set aside at first, and at most: each time twice as long."""


def system_servers(path: Path = RESOLV_CONF) -> tuple[NameServer, ...]:
    """The servers of resolv.conf(5). Lines that cannot be understood do not count."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_RESOLV_CONF).decode("utf-8", "replace")
    except OSError:
        return (HERE,)
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                found.append(NameServer.parse(words[1]))
            except BadServer:
                continue
    return tuple(dict.fromkeys(found)) or (HERE,)


@dataclass(slots=True)
class _Health:
    failures: int = 0
    aside: float = 0.0
    """Seconds of the last time it was set aside."""
    until: float = 0.0


class Servers:
    """Those that work first, in the order of the configuration."""

    def __init__(self, servers: Sequence[NameServer]) -> None:
        self.all = tuple(servers)
        self._health = {server: _Health() for server in servers}

    def order(self, now: float) -> list[NameServer]:
        """Whom to ask, one after the other. Those that are set aside come last: there may be no other."""
        return sorted(self.all, key=lambda server: self._health[server].until > now)

    def answered(self, server: NameServer) -> None:
        """It works."""
        self._health[server] = _Health()

    def failed(self, server: NameServer, now: float) -> float:
        """It did not reply. Seconds for which it is set aside from now, 0 if it is not or is already."""
        health = self._health[server]
        health.failures += 1
        if health.failures < FAILURES or health.until > now or len(self.all) == 1:
            return 0.0
        health.aside = min(health.aside * 2 or ASIDE, LONGEST_ASIDE)
        health.until = now + health.aside
        return health.aside
