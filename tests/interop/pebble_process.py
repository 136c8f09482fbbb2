"""pebble, an ACME server for tests, with a DNS that knows our hosts; and a configuration of a server that it asks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from production import HOSTNAME, NOBODY_KNOWS, listeners

from mailstack.net.certificates import write_self_signed
from mailstack.testing.dns_server import DnsServer

START_LIMIT = 10.0


def free_port() -> int:
    """One that nobody listens at now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Pebble:
    """A running pebble."""

    def __init__(self, directory: Path, hosts: dict[str, str]) -> None:
        self.directory = directory / "pebble"
        self.port, self.http_port, self.tls_port = free_port(), free_port(), free_port()
        self.ca, key = write_self_signed(self.directory, ("localhost", "127.0.0.1"))
        self.url = f"https://127.0.0.1:{self.port}/dir"
        self.dns = DnsServer({host: {"A": address} for host, address in hosts.items()})
        settings = {
            "listenAddress": f"127.0.0.1:{self.port}", "managementListenAddress": "",
            "certificate": str(self.ca), "privateKey": str(key),
            "httpPort": self.http_port, "tlsPort": self.tls_port,
            "ocspResponderURL": "", "externalAccountBindingRequired": False,
        }  # fmt: skip
        self.config = self.directory / "pebble.json"
        self.config.write_text(json.dumps({"pebble": settings}))
        self.log = self.directory / "pebble.log"

    def start(self) -> None:
        self.dns.start()
        environment = {
            **os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0", "PEBBLE_WFE_NONCEREJECT": "20",
        }  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ("pebble", "-config", str(self.config), "-dnsserver", self.dns.address),
                stdout=log, stderr=log, env=environment,
            )  # fmt: skip
        end = time.monotonic() + START_LIMIT
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < end, "pebble does not listen"
                time.sleep(0.01)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.dns.stop()


@contextmanager
def pebble(directory: Path, hosts: dict[str, str]) -> Iterator[Pebble]:
    """pebble, that finds hosts at these addresses."""
    running = Pebble(directory, hosts)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def section(pebble: Pebble, challenge: str = "http-01", more: str = "") -> str:
    """[acme], for that authority."""
    port = pebble.http_port if challenge == "http-01" else pebble.tls_port
    return (
        f'[acme]\nagree_to_terms = true\ndirectory = "{pebble.url}"\nca = "{pebble.ca}"\n'
        'email = "postmaster@example.org"\n'
        f'challenge = "{challenge}"\naddress = "127.0.0.1"\nport = {port}\n{more}\n'
    )


def configuration(directory: Path, tables: str, services: tuple[str, ...] = ("smtp", "imaps")) -> str:
    """Without any certificate."""
    return (
        f'data = "{directory}/data"\nhostname = "{HOSTNAME}"\n[[domains]]\nname = "example.org"\n'
        f"{listeners(services=services)}{NOBODY_KNOWS}{tables}\n"
    )
