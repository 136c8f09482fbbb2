"""`mailstack dns lookup`: what it asks, what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from command_line import LIMIT, PROGRAM, command, environment, invoke
from production import configuration

from mailstack.cli.dns import TYPES
from mailstack.cli.dns_shown import domain_document, domain_lines, seen_lines
from mailstack.dns.lookup import ASK, SHOWN_HOSTS, Domain, Lookup, Seen
from mailstack.mail.mta_sts import StsMode, StsPolicy
from mailstack.names import NoSuchName, Resolver, TemporaryFailure
from mailstack.testing.dns_server import DnsServer
from mailstack.testing.names import FakeResolver
from mailstack.testing.zones import Fault, Zone

ZONES: Zone = {
    "example.org": {"MX": [(20, "b.example.org"), (10, "mx.example.org"), (30, "broken.example")], "TXT": "v=spf1 mx"},
    "mx.example.org": {"A": "192.0.2.1", "AAAA": "2001:db8::1"},
    "b.example.org": {"CNAME": "mx.example.org"},
    "_25._tcp.mx.example.org": {"TLSA": (3, 1, 1, "ab" * 32)},
    "_mta-sts.example.org": {"TXT": ["v=STSv1; id=1;", "another"]},
    "_smtp._tls.example.org": {"TXT": "something else"},
    "host.example": {"A": "192.0.2.7"},
    "nomail.example": {"MX": (0, ".")},
    "many.example": {"MX": [(number, f"mx{number}.many.example") for number in range(150)]},
    "192.0.2.1": {"PTR": "mx.example.org"},
    "broken.example": Fault.SERVFAIL,
    "rude.example": {"TXT": b"\x1b[2J\xff\n" + b"x" * 500},
}


def look(name: str, zones: Zone = ZONES) -> Domain:
    resolver: Resolver = FakeResolver(zones, signed=["example.org"])
    return asyncio.run(Lookup(resolver, iter(range(1000)).__next__).domain(name))


def shown(name: str) -> list[str]:
    """The lines, without what all of them have."""
    lines = [line.replace(", ttl 300 s, from , 1000 ms", "") for line in domain_lines(look(name))]
    return [line.rstrip() for line in lines]


def test_a_domain_with_everything() -> None:
    assert shown("example.org") == [
        "example.org  MX  (authenticated)",
        "     10  mx.example.org  (authenticated)",
        "           2001:db8::1",
        "           192.0.2.1",
        "         _25._tcp.mx.example.org  TLSA  (authenticated)",
        f"           3 1 1 {'ab' * 32}",
        "     20  b.example.org  (at mx.example.org, authenticated)",
        "           2001:db8::1",
        "           192.0.2.1",
        "         _25._tcp.mx.example.org  TLSA  (authenticated)",
        f"           3 1 1 {'ab' * 32}",
        "     30  broken.example  (unknown now: SERVFAIL, 1000 ms)",
        '  MTA-STS  "v=STSv1; id=1;"  (authenticated)',
        "  TLS-RPT  none among the records",
    ]


def test_domains_with_less() -> None:
    assert shown("host.example")[:3] == [
        "host.example  MX  (no such records, not authenticated)",
        "  its own exchanger  host.example  (not authenticated)",
        "           192.0.2.7",
    ]
    assert shown("nomail.example")[1] == "  accepts no mail (null MX)"
    assert shown("broken.example") == ["broken.example  MX  (unknown now: SERVFAIL, 1000 ms)"]
    assert shown("gone.example")[0] == "gone.example  MX  (no such name, not authenticated)"
    assert f"  and {150 - SHOWN_HOSTS} more exchangers" in shown("many.example")


@pytest.mark.parametrize(
    ("name", "receives"),
    [("example.org", True), ("host.example", True), ("nomail.example", False), ("gone.example", False),
     ("broken.example", False), ("many.example", False)],
)  # fmt: skip
def test_whether_it_can_receive(name: str, receives: bool) -> None:
    document = domain_document(look(name))
    assert document["can_receive"] is receives
    assert document["accepts_no_mail"] is (name == "nomail.example")
    assert json.loads(json.dumps(document)) == document


def test_a_text_cannot_do_anything_to_a_terminal() -> None:
    resolver = FakeResolver(ZONES)
    seen = asyncio.run(Lookup(resolver, lambda: 0.0).one("rude.example", "TXT"))
    (_, line) = seen_lines(seen)
    assert line == '  "�[2J��' + "x" * 394 + '…"'


def test_failures_say_why() -> None:
    for failure, words in ((NoSuchName("a.b", server="s"), "no such name"), (TemporaryFailure("a.b", "x"), "now: x")):
        assert words in next(iter(seen_lines(Seen("a.b", "MX", failure, 0.0))))


def test_a_policy_is_shown() -> None:
    domain = Domain(Seen("example.org", "MX", NoSuchName("example.org", server="s"), 0.0))
    domain.policy = StsPolicy(StsMode.TESTING, 600, ("mx.example.org",))
    assert list(domain_lines(domain))[-3:] == ["    mode: testing", "    mx: mx.example.org", "    max_age: 600"]
    assert domain_document(domain)["mta_sts_policy"] == {"mode": "testing", "max_age": 600, "mx": ["mx.example.org"]}
    domain.policy = "no\x1b[2J"
    assert list(domain_lines(domain))[-1] == "  MTA-STS policy  none: no\ufffd[2J"
    assert domain_document(domain)["mta_sts_policy"] == {"error": "no\x1b[2J"}


def test_every_type_can_be_asked_for() -> None:
    assert tuple(ASK) == TYPES


# --- as a process


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    with DnsServer(ZONES, signed=["example.org"]) as running:
        yield running


def test_a_domain_by_the_server_of_the_configuration(server: DnsServer, config: Path) -> None:
    config.write_text(configuration(config.parent, tables=f'[dns]\nservers = ["{server.address}"]\n'))
    ended = command("dns", "lookup", "alice@example.org", "--config", str(config), "--json", "--policy")
    assert (ended.status, ended.err) == (0, "")
    document: dict[str, Any] = json.loads(ended.out)
    assert [host["host"] for host in document["hosts"]] == ["mx.example.org", "b.example.org", "broken.example"]
    assert document["mta_sts_policy"] == {"error": "mta-sts.example.org: no such name"}
    assert document["mx"]["server"] == server.address and document["mx"]["authenticated"]


def test_one_question_and_its_end(server: DnsServer, tmp_path: Path) -> None:
    ended = command("dns", "lookup", "192.0.2.1", "--server", server.address)
    assert ended.status == 0 and ended.out.splitlines()[1:] == ["  mx.example.org"]
    ended = command("dns", "lookup", "gone.example", "--type", "txt", "--server", server.address)
    assert ended.status == 1 and "(no such name, not authenticated, ttl 300 s" in ended.out


def test_the_end_by_ctrl_c() -> None:
    with DnsServer() as silent:
        silent.silent = True
        words = ("dns", "lookup", "x.example", "--server", silent.address)
        with subprocess.Popen([*PROGRAM, *words], env=environment(), stdout=PIPE, stderr=PIPE) as process:
            end = time.monotonic() + LIMIT
            while not silent.questions:
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.005)
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=LIMIT) == (b"", b"Aborted!\n")
            assert process.returncode == 130


def test_wrong_usage(tmp_path: Path) -> None:
    for words, says in (
        (["x.example", "--server", "dns.example"], "--server: expected an IP address"),
        (["x.example", "--type", "TXT", "--policy"], "--policy is of a domain"),
        (["x.example", "--type", "ANY"], "'ANY' is not one of"),
    ):
        result = invoke("dns", "lookup", *words)
        assert result.exit_code == 2 and says in result.stderr
    result = invoke("dns", "lookup", "x.example", "--config", tmp_path / "gone.toml")
    assert result.exit_code == 1 and "there is no such file" in result.stderr
