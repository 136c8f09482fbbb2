"""Sends messages over SMTP as fast as the server takes them: raw sockets, one epoll, PIPELINING.

    python scripts/bench_load.py --port 2525 --connections 10 --messages 10000 --users 50

Runs as its own process, so that the server's interpreter does not wait for it. Prints one JSON
object: messages accepted, seconds from the first octet to the last 250, its own processor time.
Message number i goes to user number i modulo `users`, and has `X-Bench-Id: RUN-i`.
"""

from __future__ import annotations

import argparse
import json
import resource
import select
import socket
import sys
import time
from collections.abc import Iterator

SILENCE = 60.0
"""Seconds without any reply after which the run has failed."""


def address_of(number: int, domain: str) -> str:
    return f"user{number + 1:04d}@{domain}"


def body_of(size: int) -> bytes:
    """Lines of 78 octets, so many that the whole message has about `size` octets."""
    line = b"The quick brown fox jumps over the lazy dog; mail is what remains of letters.\r\n"
    head = b"From: <bench@example.net>\r\nTo: <bench@example.org>\r\nSubject: bench\r\n\r\n"
    return head + line * max(1, (size - len(head)) // len(line))


class Client:
    """One connection. Sends the data of one message and the commands of the next in one segment."""

    __slots__ = ("sock", "source", "current", "awaited", "buffer", "body", "done")

    def __init__(self, address: tuple[str, int], source: Iterator[tuple[bytes, bytes]], body: bytes) -> None:
        self.sock = socket.create_connection(address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.source = source
        self.current: bytes | None = None
        self.body = body
        self.buffer = b""
        self.done = False
        self.awaited = [b"220"]

    def readable(self) -> int:
        """Take what came and go on; returns how many messages were accepted by it."""
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError(f"the server closed the connection; waiting for {self.awaited}")
        *lines, self.buffer = (self.buffer + data).split(b"\r\n")
        accepted = 0
        for line in lines:
            if line[3:4] == b"-":
                continue
            code = self.awaited.pop(0)
            if not line.startswith(code[:3]):
                raise ConnectionError(f"expected {code!r}, got {line!r}")
            accepted += code == b"250 message"
            if not self.awaited:
                self.proceed(code)
        return accepted

    def proceed(self, code: bytes) -> None:
        """All replies are there: send what comes next."""
        if code == b"220":
            self.awaited = [b"250"]
            self.sock.sendall(b"EHLO bench.example\r\n")
        elif code == b"354":
            assert self.current is not None
            data = b"X-Bench-Id: " + self.current + b"\r\n" + self.body + b".\r\n"
            commands = self.next_message()
            self.awaited.insert(0, b"250 message")
            self.sock.sendall(data + commands)
        elif code == b"221":
            self.done = True
        else:
            self.sock.sendall(self.next_message())

    def next_message(self) -> bytes:
        following = next(self.source, None)
        if following is None:
            self.awaited = [b"221"]
            return b"QUIT\r\n"
        self.current, recipient = following
        self.awaited = [b"250", b"250", b"354"]
        return b"MAIL FROM:<bench@example.net>\r\nRCPT TO:<" + recipient + b">\r\nDATA\r\n"


def run(options: argparse.Namespace) -> dict[str, object]:
    """Raises: ConnectionError when the server refuses anything."""
    addresses = [address_of(number, options.domain).encode() for number in range(options.users)]
    source = iter(
        [(f"{options.run}-{i}".encode(), addresses[i % options.users]) for i in range(options.messages)],
    )
    body = body_of(options.size)
    before = processor_seconds()
    started = time.monotonic()
    poll = select.epoll()
    clients = {}
    for _ in range(options.connections):
        client = Client((options.host, options.port), source, body)
        clients[client.sock.fileno()] = client
        poll.register(client.sock, select.EPOLLIN)
    accepted, last = 0, started
    while clients:
        ready = poll.poll(SILENCE)
        if not ready:
            raise ConnectionError(f"the server said nothing for {SILENCE:.0f} s")
        for descriptor, _ in ready:
            client = clients[descriptor]
            count = client.readable()
            if count:
                accepted += count
                last = time.monotonic()
            if client.done:
                poll.unregister(descriptor)
                client.sock.close()
                del clients[descriptor]
    return {"accepted": accepted, "seconds": last - started, "client_cpu": processor_seconds() - before}


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="only loopback is allowed")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--domain", default="bench.test")
    parser.add_argument("--size", type=int, default=4096, help="octets of a message")
    parser.add_argument("--run", default="run", help="prefix of the X-Bench-Id")
    options = parser.parse_args()
    if not options.host.startswith("127."):
        parser.error("only addresses of loopback are allowed")
    try:
        print(json.dumps(run(options)))
    except (ConnectionError, OSError) as error:
        print(f"bench_load: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
