"""The units in etc/: systemd understands them, and what they pass and grant is what the server uses."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from production import configuration, given_to_nobody, prepare, production

from mailstack.app.run import DRAIN_TIME
from mailstack.config.load import load
from mailstack.config.sections import Listener
from mailstack.config.units import duration
from mailstack.net.certificates import write_self_signed

ETC = Path(__file__).parents[2] / "etc"
SERVICE, SOCKET = ETC / "mailstack.service", ETC / "mailstack.socket"
Unit = dict[str, dict[str, list[str]]]


def parsed(path: Path) -> Unit:
    """Section → key → its values in order (systemd.syntax(7))."""
    unit: Unit = {}
    section: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if not line.strip() or line[0] in "#;":
            continue
        if line.startswith("["):
            section = unit.setdefault(line.strip("[]"), {})
            continue
        key, equals, value = line.partition("=")
        assert equals, f"{path.name}: {line!r} is neither a section, nor a key with a value"
        section.setdefault(key.strip(), []).append(value.strip())
    return unit


def example_listeners(directory: Path) -> tuple[Listener, ...]:
    """Those of etc/mailstack.toml."""
    cert, _ = write_self_signed(directory, ["mail.example.org"])
    text = (ETC / "mailstack.toml").read_text().replace("/etc/mailstack/tls", str(cert.parent))
    path = directory / "mailstack.toml"
    path.write_text(text)
    return load(path).listeners


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_no_mistake(tmp_path: Path) -> None:
    for path in (SERVICE, SOCKET):
        (tmp_path / path.name).write_text(path.read_text().replace("/usr/local/bin/mailstack", sys.executable))
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / SERVICE.name), str(tmp_path / SOCKET.name)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "Failed to initialize manager" in done.stderr:
        pytest.skip(f"systemd-analyze cannot run here: {done.stderr.strip()}")
    complaints = [line for line in done.stderr.splitlines() if "mailstack" in line or str(tmp_path) in line]
    assert done.returncode == 0 and not complaints, done.stderr


def test_the_sockets_are_those_of_the_listeners(tmp_path: Path) -> None:
    unit = parsed(SOCKET)["Socket"]
    assert sorted(map(int, unit["ListenStream"])) == sorted(listener.port for listener in example_listeners(tmp_path))
    assert unit.get("Service", ["mailstack.service"]) == ["mailstack.service"]
    assert unit["BindIPv6Only"] == ["both"]
    assert unit.get("Accept", ["no"]) == ["no"]


def test_the_service_stops_starts_and_reloads_as_the_server_does() -> None:
    service = parsed(SERVICE)["Service"]
    assert service["Type"] == ["notify"]
    assert duration(float(service["TimeoutStopSec"][0])) > DRAIN_TIME
    assert service["ExecStart"][0].split()[1:] == ["serve", "--config", "/etc/mailstack/mailstack.toml"]
    assert service["ExecReload"][-1] == f"/bin/kill -{signal.SIGHUP.name.removeprefix('SIG')} $MAINPID"
    assert "CAP_NET_BIND_SERVICE" in service["AmbientCapabilities"][0]


def test_the_data_directory_is_the_one_that_may_be_written() -> None:
    service = parsed(SERVICE)["Service"]
    assert service["ProtectSystem"] == ["strict"]
    assert f'data = "/var/lib/{service["StateDirectory"][0]}"' in (ETC / "mailstack.toml").read_text()


LISTEN_AS_SYSTEMD = """
import os, socket, sys
name, ports, program = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
for number, port in enumerate(ports, 3):
    opened = socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET)
    opened.bind(("", int(port)))
    opened.listen(8)
    os.dup2(opened.fileno(), 100 + number)
for number in range(3, 3 + len(ports)):
    os.dup2(100 + number, number)
    os.close(100 + number)
    os.set_inheritable(number, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(ports)), LISTEN_FDNAMES=":".join([name] * len(ports)))
os.execv(program[0], program)
"""


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.mark.processes
def test_each_service_takes_the_socket_at_its_port(reachable: Path) -> None:
    unit = parsed(SOCKET)["Socket"]
    services = {listener.port: listener.service.value for listener in example_listeners(reachable)}
    usual = [int(port) for port in unit["ListenStream"]]
    *passed, unused = free_ports(len(usual) + 1)
    at = {services[port]: here for port, here in zip(usual, passed, strict=True)}
    sections = "".join(f'[[listeners]]\nservice = "{name}"\nport = {port}\n' for name, port in sorted(at.items()))
    (reachable / "mailstack.toml").unlink()
    prepare(reachable, configuration(reachable, rest=sections))
    given_to_nobody(reachable)
    ports = ",".join(map(str, [*passed, unused]))
    prefix = (sys.executable, "-c", LISTEN_AS_SYSTEMD, unit["FileDescriptorName"][0], ports)
    with production(reachable, prefix=prefix) as server:
        assert {name: server.port(name) for name in at} == at
        greetings = {}
        for name in ("smtp", "submission", "imap", "pop3"):
            with server.connect(name, greeting=False) as client:
                greetings[name] = client.line()[:4]
        assert greetings == {"smtp": b"220 ", "submission": b"220 ", "imap": b"* OK", "pop3": b"+OK "}
        assert f"address=[::]:{unused}" in server.wait_log("systemd's socket is not used")
