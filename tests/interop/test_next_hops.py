"""Our server hands mail over to Postfix, Exim, OpenSMTPD and Dovecot, to one of ours as a smarthost, and much of it to
smtp-sink."""

from __future__ import annotations

import imaplib
import re
import smtplib
import socket
import ssl
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import next_hops
import pytest
import trustme
from hosted import PASSWORD as HOSTED_PASSWORD
from hosted import SUBMISSION, Hosted, received
from letters import LETTERS
from mail_servers import until_it_listens
from next_hops import SIZE, NextHop
from production import DOMAIN, PASSWORD, configuration, listeners, prepare, production
from server_process import Server
from test_smtp_sink import SINK, Sink

from mailstack.testing.dns_server import DnsServer

pytestmark = pytest.mark.interop
LIMIT = 20.0
SENDER = f"hopper@{DOMAIN}"
"""The account that sends, on our server and at its smarthost."""
MESSAGES = 500
BY_MX = "mx.postfix.example"
NAMES = ("postfix", "exim", "opensmtpd", "dovecot")


class Ours:
    """Our server, and the ports where next hops have to listen."""

    def __init__(self, directory: Path, dns: DnsServer, hosted: Hosted) -> None:
        self.hosted = hosted
        with ExitStack() as stack:
            free = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in (*NAMES, "sink")]
            self.ports = {name: each.getsockname()[1] for name, each in zip((*NAMES, "sink"), free, strict=True)}
        self.authority = trustme.CA()
        self.certificate = directory / "relay.pem"
        self.authority.issue_cert("relay.example.net").private_key_and_cert_chain_pem.write_to_path(self.certificate)
        authorities = directory / "authorities.pem"
        self.authority.cert_pem.write_to_path(authorities)
        (directory / "password").write_text(HOSTED_PASSWORD)
        self.authorities = authorities
        routes = "".join(
            f'[[routes]]\nname = "{name}"\ndomains = ["{name}.example"]\nhosts = ["127.0.0.1:{port}"]\n'
            for name, port in self.ports.items()
        ).replace('"dovecot.example"]\n', '"dovecot.example"]\nprotocol = "lmtp"\n')
        user, submission = (
            hosted.account("hopper").user,
            hosted.server.port("submission"),
        )
        tables = (
            f"[policy]\naccount_messages_per_minute = 0\n[sending]\nmessages_per_hour = 0\n"
            f'[dns]\nservers = ["{dns.address}"]\n[outbound]\nport = {self.ports["postfix"]}\ntls = "verified"\n'
            f'ca = "{authorities}"\nmta_sts = false\nipv6 = false\n{routes}[[routes]]\ndomains = ["{SUBMISSION}"]\n'
            f'hosts = ["localhost:{submission}"]\nuser = "{user}"\npassword = "{directory}/password"\n'
            f'ca = "{hosted.server.ca}"\n'
        )
        services = ("smtp", "submissions", "imaps")
        home = directory / "ours"
        prepare(home, configuration(home, rest=listeners(services=services), tables=tables), ("hopper",))
        self.server: Server = production(home)

    def submit(
        self,
        to: Sequence[str],
        octets: bytes,
        sender: str = SENDER,
        **options: Any,
    ) -> None:
        with self.client() as client:
            client.sendmail(sender, to, octets, **options)

    def client(self) -> smtplib.SMTP_SSL:
        context = ssl.create_default_context(cafile=str(self.server.ca))
        client = smtplib.SMTP_SSL("127.0.0.1", self.server.port("submissions"), context=context, timeout=10)
        client.login(SENDER, PASSWORD)
        return client

    def report(self, about: str) -> str:
        """The last message to the sender that has this in it, once it is there."""
        context = ssl.create_default_context(cafile=str(self.server.ca))
        with imaplib.IMAP4_SSL("127.0.0.1", self.server.port("imaps"), ssl_context=context, timeout=10) as client:
            client.login(SENDER, PASSWORD)
            client.select()
            end = time.monotonic() + LIMIT
            while time.monotonic() < end:
                client.noop()
                _, (numbers,) = client.search(None, "ALL")
                _, parts = client.fetch(numbers.replace(b" ", b",").decode(), "(RFC822)") if numbers else ("", [])
                for octets in (part[1] for part in reversed(parts) if isinstance(part, tuple)):
                    if about in octets.decode("utf-8", "replace"):
                        return octets.decode("utf-8", "replace")
        raise AssertionError(f"no {about!r}:\n{self.server.log.read_text()[-4000:]}")


@pytest.fixture(scope="module")
def ours(hosted: Hosted) -> Iterator[Ours]:
    zones = {
        BY_MX: {"MX": [(10, "relay.example.net")]},
        "relay.example.net": {"A": "127.0.0.1"},
    }
    with (
        TemporaryDirectory(prefix="mailstack-next-hops-") as name,
        DnsServer(zones) as dns,
    ):
        Path(name).chmod(0o755)
        made = Ours(Path(name), dns, hosted)
        with made.server:
            yield made


@pytest.fixture(scope="module")
def hop(request: Any, ours: Ours) -> Iterator[tuple[str, NextHop]]:
    name, port = request.param, ours.ports[request.param]
    with ExitStack() as stack:
        if name == "postfix":
            reports_to = ours.server.port("smtp")
            domains = f"postfix.example {BY_MX}"
            running = stack.enter_context(next_hops.postfix(port, domains, ours.certificate, reports_to))
        elif name == "opensmtpd":
            running = stack.enter_context(next_hops.opensmtpd(port, f"{name}.example", ours.authorities))
        else:
            running = stack.enter_context(getattr(next_hops, name)(port, f"{name}.example"))
        yield name, running


def to(*names: str) -> Any:
    marks = {
        "postfix": (pytest.mark.needs("postfix"),),
        "dovecot": (pytest.mark.needs("dovecot"),),
    }
    parameters = [pytest.param(name, marks=marks.get(name, ())) for name in names]
    return pytest.mark.parametrize("hop", parameters, indirect=True)


@to(*NAMES)
def test_letters_arrive_as_they_are_and_who_is_unknown_is_reported(ours: Ours, hop: tuple[str, NextHop]) -> None:
    name, running = hop
    domain = f"{name}.example"
    before = len(running.messages("bob", 0)), len(running.messages("ann", 0))
    nobody = f"nobody-1@{domain}"
    ours.submit([f"bob@{domain}", nobody, f"ann@{domain}"], LETTERS[1])
    with ours.client() as client:
        for octets in (LETTERS[2], LETTERS[3], LETTERS[4]):
            client.sendmail(SENDER, [f"bob@{domain}"], octets, ["BODY=8BITMIME"])
    found = running.messages("bob", before[0] + 4)[before[0] :]
    for octets in LETTERS[1:5]:
        assert any(each.endswith(octets) for each in found), (octets[:200], found)
    assert running.messages("ann", before[1] + 1)[-1].endswith(LETTERS[1])
    report = ours.report(nobody)
    assert f"Final-Recipient: rfc822; {nobody}" in report
    words = "There is no such address." if name != "opensmtpd" else "nobody was found behind it."  # 5.2.4
    assert words in " ".join(report.split()), report
    assert f"bob@{domain}" not in report.partition("\r\n\r\n")[2].partition("message/rfc822")[0].replace(nobody, "")


@to("postfix", "exim", "opensmtpd")
def test_what_is_too_big_comes_back(ours: Ours, hop: tuple[str, NextHop]) -> None:
    name, _ = hop
    recipient = f"bob+big@{name}.example"
    ours.submit(
        [recipient],
        b"Subject: big\r\n\r\n" + b"".join(b"%070d\r\n" % n for n in range(SIZE // 60)),
    )
    report = ours.report(recipient)
    assert "Status: 5.3.4" in report and "The message is too big" in report


@to("postfix", "exim")
def test_addresses_in_utf8(ours: Ours, hop: tuple[str, NextHop]) -> None:
    name, running = hop
    ours.submit(
        [f"bücher@{name}.example"],
        LETTERS[2],
        mail_options=["SMTPUTF8", "BODY=8BITMIME"],
    )
    [octets] = running.messages("bücher", 1)
    assert octets.endswith(LETTERS[2])


@to("opensmtpd")
def test_an_address_in_utf8_comes_back_where_it_cannot_go(ours: Ours, hop: tuple[str, NextHop]) -> None:
    name, _ = hop
    ours.submit([f"bücher@{name}.example"], LETTERS[0], mail_options=["SMTPUTF8"])
    report = ours.report("does not offer SMTPUTF8")
    assert "Status: 5.6.7" in report


@to("postfix")
class TestPostfix:
    def test_by_mx_with_a_certificate_that_is_verified(self, ours: Ours, hop: tuple[str, NextHop]) -> None:
        _, running = hop
        before = len(running.messages("ann", 0))
        ours.submit([f"ann@{BY_MX}"], LETTERS[0])
        octets = running.messages("ann", before + 1)[-1]
        assert octets.endswith(LETTERS[0])
        assert b"using TLSv1.3" in octets and received(octets)[0] == "ESMTPS"

    def test_reports_success_itself(self, ours: Ours, hop: tuple[str, NextHop]) -> None:
        ours.submit(
            ["ann@postfix.example"],
            LETTERS[5],
            mail_options=["ENVID=letter-5"],
            rcpt_options=["NOTIFY=SUCCESS,FAILURE"],
        )
        report = ours.report("Original-Envelope-Id: letter-5")
        assert "Reporting-MTA: dns; relay.example.net" in report and "Action: delivered" in report
        assert "Original-Recipient: rfc822;ann@postfix.example" in report

    def test_failure_is_reported_by_us(self, ours: Ours, hop: tuple[str, NextHop]) -> None:
        recipient = "nobody-2@postfix.example"
        ours.submit(
            [recipient],
            LETTERS[5],
            mail_options=["ENVID=letter-6"],
            rcpt_options=["NOTIFY=FAILURE"],
        )
        report = ours.report("Original-Envelope-Id: letter-6")
        assert "Reporting-MTA: dns; mail.example.org" in report and "Action: failed" in report
        assert "Status: 5.1.1" in report


def test_a_smarthost_that_wants_a_login(ours: Ours) -> None:
    account = ours.hosted.account("by-smarthost", SUBMISSION)
    ours.submit([account.user], LETTERS[2], SENDER, mail_options=["BODY=8BITMIME"])
    assert "status=2.0.0" in ours.server.wait_log(f"to={account.user} mta=localhost")
    [octets] = account.octets()
    assert octets.endswith(LETTERS[2]) and received(octets)[0] == "ESMTPSA"


@pytest.mark.skipif(SINK is None, reason="smtp-sink is not installed")
def test_many_messages_arrive_once_each(ours: Ours, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o755)
    sink = Sink("-R", str(tmp_path), "-D", "mail", port=ours.ports["sink"])
    try:
        until_it_listens(sink.process, sink.port, tmp_path / "log")
        with ours.client() as client:
            client.ehlo("client.example")
            for number in range(MESSAGES):
                client.send(f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<joe@sink.example>\r\nDATA\r\n")
                assert [client.getreply()[0] for _ in range(3)] == [250, 250, 354]
                client.send(f"Subject: number-{number}\r\n\r\nx\r\n.\r\n")
                assert client.getreply()[0] == 250
        end = time.monotonic() + 60
        while ours.server.log.read_text().count("to=joe@sink.example") < MESSAGES:
            assert time.monotonic() < end, ours.server.log.read_text()[-2000:]
            time.sleep(0.05)
        while list((ours.server.data / "queue").glob("*.msg")):
            assert time.monotonic() < end, "the queue does not become empty"
            time.sleep(0.05)
    finally:
        sink.stop()
    found = Counter(re.findall(rb"^Subject: number-(\d+)", (tmp_path / "mail").read_bytes(), re.M))
    assert found == Counter(b"%d" % number for number in range(MESSAGES))
