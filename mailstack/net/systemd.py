"""systemd's two handshakes: sockets that it opened for us, and telling it how we are.

Sources: sd_listen_fds(3), sd_notify(3)."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

FIRST_SOCKET = 3
"""SD_LISTEN_FDS_START."""


def passed_sockets(environment: MutableMapping[str, str]) -> dict[str, list[int]]:
    """File descriptors of listening sockets by their `FileDescriptorName=`. The variables are
    removed, so that no child takes them for its own."""
    pid = environment.pop("LISTEN_PID", "")
    count = environment.pop("LISTEN_FDS", "0")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()):
        return {}
    sockets: dict[str, list[int]] = {}
    for number in range(int(count)):
        name = names[number] if number < len(names) else "unknown"
        os.set_inheritable(FIRST_SOCKET + number, False)
        sockets.setdefault(name, []).append(FIRST_SOCKET + number)
    return sockets


def notify(state: str, environment: MutableMapping[str, str]) -> bool:
    """Send `state` as "READY=1" to the service manager; False when there is none.
    Raises: OSError, when there is one that does not listen."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.sendto(state.encode(), address)
    return True
