"""A running server asks DNS about the sender's domain; the DNS server is one of the test's."""

from __future__ import annotations

from pathlib import Path

import pytest
from production import DOMAIN, configuration, given_to_nobody, production

from mailstack.testing.dns_server import DnsServer, Fault

pytestmark = pytest.mark.processes


def tables(dns: DnsServer, judgement: str) -> str:
    return (
        f'[dns]\nservers = ["{dns.address}"]\ncache_entries = 0\n'
        f'[policy]\nexempt = []\ngreeting_delay = 0\ntarpit_delay = 0\nsender_domain = "{judgement}"\n'
    )


def test_senders_whose_domain_is_not_there(reachable: Path) -> None:
    zones = {"there.example": {"MX": (10, "mx.there.example")}, "broken.example": Fault.SERVFAIL}
    with (
        DnsServer(zones) as dns,
        production(reachable, configuration(reachable, tables=tables(dns, "reject"))) as server,
    ):
        with server.connect("smtp") as client:
            client.smtp(b"EHLO client.example", b"250")
            client.smtp(b"MAIL FROM:<a@gone.example>", b"550 5.1.8 ")
            client.smtp(b"MAIL FROM:<a@there.example>", b"250")
            client.smtp(b"RSET", b"250")
            assert dns.asked("gone.example", "MX") == dns.asked("there.example", "MX") == 1
            dns.zones["gone.example"] = {"A": "192.0.2.1"}
            client.smtp(b"MAIL FROM:<a@gone.example>", b"250")
            client.smtp(b"RSET", b"250")
            client.smtp(b"MAIL FROM:<a@broken.example>", b"250")
            client.smtp(f"RCPT TO:<alice@{DOMAIN}>".encode(), b"250")
            client.smtp(b"DATA", b"354")
            client.smtp(b"Subject: x\r\n\r\nx\r\n.", b"250")
        (message,) = (reachable / "data").glob("mail/**/alice*/**/new/*")
        assert b"\nMailstack-Marks: sender-domain-unknown (broken.example)\r\n" in message.read_bytes()
        (reachable / "mailstack.toml").write_text(configuration(reachable, tables=tables(dns, "mark")))
        given_to_nobody(reachable)
        server.hang_up()
        assert "policy.sender_domain" in server.wait_log(" reloaded ")
        with server.connect("smtp") as client:
            client.smtp(b"EHLO client.example", b"250")
            client.smtp(b"MAIL FROM:<a@other.example>", b"250")
