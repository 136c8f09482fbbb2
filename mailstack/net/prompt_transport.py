"""A TCP transport that says at once what it has to say.

Twisted's own puts what is written into a buffer, asks the reactor to tell when the socket takes it, and writes it in
the reactor's next turn: three system calls and a turn more for each reply, though a socket nearly always takes one."""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp


class PromptServer(tcp.Server):
    """The transport of one accepted connection. Under TLS it writes as Twisted's does: TLS goes past `write`."""

    def write(self, data: bytes) -> None:
        """What the socket does not take is buffered, and so is everything after it."""
        if self._is_idle():
            sent: Any = self.writeSomeData(data)
            if isinstance(sent, int) and sent > 0:
                if sent == len(data):
                    return
                data = data[sent:]
            # else the socket is full or lost, which the reactor finds out by itself
        super().write(data)  # type: ignore[no-untyped-call]

    def _is_idle(self) -> bool:
        """Whether nothing waits to be sent before."""
        return bool(
            self.connected
            and not self.TLS
            and not self._tempDataLen
            and len(self.dataBuffer) == self.offset
            and not self._writeDisconnected
            and not self._aborting
        )
