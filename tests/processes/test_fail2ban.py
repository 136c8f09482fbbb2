"""The filter in etc/fail2ban finds the lines that a running server writes of failed logins, and
nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest
from production import DOMAIN, PASSWORD, configuration, given_to_nobody, plain, prepare, production
from server_process import Server

pytestmark = pytest.mark.processes

ETC = Path(__file__).parents[2] / "etc/fail2ban"
ADDRESS = r"(?P<address>[0-9a-fA-F:.]{2,45})"
"""As fail2ban's <ADDR>: an address of IPv4 or IPv6, no name."""
WRONG = "a guess"
HOSTILE = 'x" peer=192.0.2.99 conn=y info  login failed conn=z user=u peer=192.0.2.98 \\'
"""A user name that would like to have somebody else banned."""


def definition() -> dict[str, str]:
    """[Definition] of the filter, with fail2ban's interpolation, which is ConfigParser's."""
    parser = ConfigParser()
    parser.read(ETC / "filter.d/mailstack.conf")
    return dict(parser["Definition"])


@pytest.fixture(scope="module")
def failures() -> list[re.Pattern[str]]:
    rules = definition()["failregex"].split("\n")
    assert len(rules) == 2
    return [re.compile(rule.replace("<ADDR>", ADDRESS)) for rule in rules]


def addresses(failures: list[re.Pattern[str]], line: str) -> list[str]:
    """Whom the filter would ban for this line, of which fail2ban takes away the time."""
    stripped = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "", line, count=1)
    return [found["address"] for rule in failures if (found := rule.search(stripped))]


@pytest.fixture(scope="module", params=["text", "json"])
def server(request: pytest.FixtureRequest, shared_directory: Path) -> Iterator[Server]:
    """Whose connections come by a balancer, so that the clients have addresses of their own."""
    directory = shared_directory / request.param
    text = configuration(directory, tables=f'[auth]\nrequire_tls = false\n[log]\nformat = "{request.param}"')
    text = text.replace('address = "127.0.0.1"\n', 'address = "127.0.0.1"\nproxy_trusted = ["127.0.0.0/8"]\n')
    prepare(directory, text)
    given_to_nobody(shared_directory)
    with production(directory) as running:
        yield running


CLIENTS = {"submission": "192.0.2.1", "imap": "192.0.2.2", "pop3": "2001:db8::3"}


def talk(server: Server, service: str, *lines: bytes) -> None:
    """Say these lines as the client of the service; the last one's answer must be a refusal."""
    with server.connect(service, greeting=False) as client:
        address = CLIENTS[service]
        client.send(f"PROXY TCP{6 if ':' in address else 4} {address} {address} 40000 25\r\n".encode())
        client.line()
        if service == "submission":
            client.smtp(b"EHLO client.example", b"250")
        for line in lines:
            client.send(line + b"\r\n")
            answer = client.line()
        assert answer.startswith((b"535", b"a NO", b"-ERR")), answer


def fail_everywhere(server: Server) -> None:
    quoted = HOSTILE.replace("\\", "\\\\").replace('"', '\\"').encode()
    for user, as_imap in ((f"alice@{DOMAIN}", b"alice@" + DOMAIN.encode()), (HOSTILE, quoted)):
        talk(server, "submission", b"AUTH PLAIN " + plain(user, WRONG))
        talk(server, "imap", b'a LOGIN "%s" "%s"' % (as_imap, WRONG.encode()))
        talk(server, "pop3", b"USER " + user.encode(), b"PASS " + WRONG.encode())


def test_every_failed_login_is_found_and_names_its_client(server: Server, failures: list[re.Pattern[str]]) -> None:
    before = len(server.log.read_text().splitlines())
    fail_everywhere(server)
    lines = [line for line in server.log.read_text().splitlines()[before:] if "login failed" in line]
    expected = [address for _ in range(2) for address in CLIENTS.values()]
    assert [addresses(failures, line) for line in lines] == [[address] for address in expected]
    from_journal = [f"mx1 mailstack[417]: {line}" for line in lines]
    assert [addresses(failures, line) for line in from_journal] == [[address] for address in expected]
    assert WRONG not in server.log.read_text()


def test_nothing_else_is_found(server: Server, failures: list[re.Pattern[str]]) -> None:
    login = f'a LOGIN alice@{DOMAIN} "{PASSWORD}"'.encode()
    with server.connect("imap", greeting=False) as client:
        client.send(b"PROXY TCP4 192.0.2.4 192.0.2.4 40000 143\r\n" + login + b"\r\n")
        client.until(b"a OK")
        name = HOSTILE.replace("\\", "\\\\").replace('"', '\\"').encode()
        client.send(b'b ID ("name" "%s")\r\nc LOGOUT\r\n' % name)
        client.until(b"c OK")
    server.wait_log(json.dumps(HOSTILE)[1:-1])
    lines = server.log.read_text().splitlines()
    others = [line for line in lines if "login failed conn" not in line and '"event":"login failed"' not in line]
    tempting = [line for line in lines if "name=" in line or '"name":' in line]
    assert tempting and len(others) > 5
    assert [addresses(failures, line) for line in [*others, *tempting]] == [[] for _ in [*others, *tempting]]


def test_the_jail_watches_every_port_of_the_example() -> None:
    jail = ConfigParser()
    jail.read(ETC / "jail.d/mailstack.conf")
    from mailstack.config.sections import USUAL_PORTS, ServiceName

    assert jail["mailstack"]["filter"] == "mailstack"
    assert sorted(map(int, jail["mailstack"]["port"].split(","))) == sorted(
        port
        for service, port in USUAL_PORTS.items()
        if service is not ServiceName.LMTP  # nobody logs in there
    )
    assert definition()["journalmatch"] == "_SYSTEMD_UNIT=mailstack.service"
