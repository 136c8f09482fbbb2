"""Two servers that send each other mail, as strangers do: by DNS, with TLS, and with reports of what fails."""

from __future__ import annotations

import imaplib
import json
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trustme
from production import DOMAIN, NOT_ROOT, PASSWORD, given_to_nobody
from server_process import REPOSITORY, Server

from mailstack.auth.database import AccountDatabase
from mailstack.auth.passwords import hash_password
from mailstack.net.certificates import CERTIFICATE, KEY, write_self_signed
from mailstack.testing.dns_server import DnsServer

pytestmark = pytest.mark.processes
OTHER = "example.net"
DEAD = "dead.example"
"""A domain whose exchanger does not listen."""
LIMIT = 20.0
POLICY = f"version: STSv1\nmode: enforce\nmx: mail.{OTHER}\nmax_age: 86400\n"
ADDRESSES = {DOMAIN: "127.0.0.2", OTHER: "127.0.0.3"}


def free_port() -> int:
    """One that is free at each of the addresses."""
    with ExitStack() as stack:
        first = stack.enter_context(socket.socket())
        first.bind((ADDRESSES[DOMAIN], 0))
        port: int = first.getsockname()[1]
        for address in (ADDRESSES[OTHER], "127.0.0.1"):
            stack.enter_context(socket.socket()).bind((address, port))
        return port


def host(directory: Path, domain: str, port: int, dns: DnsServer, tables: str = "") -> Server:
    """A server for one domain, with one account, bob."""
    directory.parent.chmod(0o755)
    directory.mkdir()
    (directory / "data").mkdir(mode=0o700)
    database = AccountDatabase(directory / "data" / "accounts.sqlite3")
    database.add_accounts([f"bob@{domain}"], hash_password(PASSWORD))
    database.close()
    name, address = f"mail.{domain}", ADDRESSES[domain]
    write_self_signed(directory / "tls", (name, address))
    at = [f'[[listeners]]\nservice = "smtp"\naddress = "{address}"\nport = {port}\n']
    at += [f'[[listeners]]\nservice = "{s}"\naddress = "{address}"\nport = 0\n' for s in ("submissions", "imaps")]
    (directory / "mailstack.toml").write_text(
        f'data = "{directory}/data"\nhostname = "{name}"\n[[domains]]\nname = "{domain}"\n{"".join(at)}'
        f'[[tls.certificates]]\ncert = "tls/{CERTIFICATE}"\nkey = "tls/{KEY}"\n'
        f'[dns]\nservers = ["{dns.address}"]\n[outbound]\nport = {port}\nsource = ["{address}"]\n{tables}\n'
    )
    given_to_nobody(directory)
    return Server(directory, ("serve", "--config", str(directory / "mailstack.toml")), NOT_ROOT)


@contextmanager
def publishing(directory: Path, policy: str) -> Iterator[str]:
    """A host of a policy of MTA-STS, for mta-sts.careful.example; gives keys of [outbound]."""

    class Request(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.wfile.write(policy.encode())

        def log_message(self, *_: object) -> None:
            return

    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("mta-sts.careful.example").configure_cert(context)
    authority.cert_pem.write_to_path(directory / "authorities.pem")
    (directory / "authorities.pem").chmod(0o644)
    with ThreadingHTTPServer(("127.0.0.5", 0), Request) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f'ca = "{directory}/authorities.pem"\nmta_sts_port = {server.server_port}\n'
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Server, Server, DnsServer]]:
    zones = {domain: {"MX": [(10, f"mail.{domain}")]} for domain in ADDRESSES}
    zones[DEAD] = {"MX": [(10, f"mail.{DEAD}")]}
    zones |= {f"mail.{domain}": {"A": address} for domain, address in (*ADDRESSES.items(), (DEAD, "127.0.0.4"))}  # type: ignore[dict-item]
    zones["careful.example"] = zones[OTHER]
    zones["_mta-sts.careful.example"] = {"TXT": "v=STSv1; id=1"}  # type: ignore[dict-item]
    zones["mta-sts.careful.example"] = {"A": "127.0.0.5"}  # type: ignore[dict-item]
    port = free_port()
    with (
        TemporaryDirectory(prefix="mailstack-pair-") as top,
        DnsServer(zones) as dns,
        publishing(Path(top), POLICY) as tables,
        host(Path(top) / "one", DOMAIN, port, dns, tables) as one,
        host(Path(top) / "two", OTHER, port, dns) as two,
    ):
        yield one, two, dns


def submit(server: Server, domain: str, to: str, subject: str) -> None:
    context = ssl.create_default_context(cafile=str(server.ca))
    context.check_hostname = False
    where = server.host("submissions"), server.port("submissions")
    with smtplib.SMTP_SSL(*where, context=context, timeout=10) as client:
        client.login(f"bob@{domain}", PASSWORD)
        message = f"From: bob@{domain}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\nhello\r\n"
        client.sendmail(f"bob@{domain}", [to], message)


def received(server: Server, domain: str, subject: str) -> str:
    """The message with this subject in bob's INBOX, once it is there."""
    context = ssl.create_default_context(cafile=str(server.ca))
    context.check_hostname = False
    with imaplib.IMAP4_SSL(server.host("imaps"), server.port("imaps"), ssl_context=context, timeout=10) as client:
        client.login(f"bob@{domain}", PASSWORD)
        client.select()
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            client.noop()
            _, (numbers,) = client.search(None, "SUBJECT", f'"{subject}"')
            if numbers:
                _, parts = client.fetch(numbers.split()[-1].decode(), "(RFC822)")
                assert isinstance(parts[0], tuple)
                return parts[0][1].decode()
    raise AssertionError(f"no {subject!r} within {LIMIT} s:\n{server.log.read_text()[-4000:]}")


def test_mail_arrives_with_tls_and_the_queue_is_empty_then(pair: tuple[Server, Server, DnsServer]) -> None:
    one, two, _ = pair
    submit(one, DOMAIN, f"bob@{OTHER}", "there")
    message = received(two, OTHER, "there")
    assert f"from mail.{DOMAIN} ([{ADDRESSES[DOMAIN]}])" in message
    assert "with ESMTPS" in message and "TLSv1.3" in message
    assert "status=2.0.0" in one.wait_log("mail sent")
    assert not list((one.data / "queue").glob("*.msg"))
    submit(two, OTHER, f"bob@{DOMAIN}", "and back")
    assert "with ESMTPS" in received(one, DOMAIN, "and back")


def test_a_refusal_comes_back_to_the_sender(pair: tuple[Server, Server, DnsServer]) -> None:
    one, _, _ = pair
    submit(one, DOMAIN, f"nobody@{OTHER}", "for nobody")
    report = received(one, DOMAIN, "Not delivered")
    assert f"Final-Recipient: rfc822; nobody@{OTHER}" in report
    assert "Status: 5.1.1" in report and f"Remote-MTA: dns; mail.{OTHER}" in report
    assert "Subject: for nobody" in report


def test_the_way_of_a_message_can_be_traced(pair: tuple[Server, Server, DnsServer]) -> None:
    one, two, _ = pair
    submit(one, DOMAIN, f"bob@{OTHER}", "traced")
    message = received(two, OTHER, "traced")
    message_id = next(line.split()[1] for line in message.splitlines() if line.lower().startswith("message-id:"))
    assert traced(one, message_id) == ["queued", "sent"]
    assert traced(two, message_id) == ["delivered"]
    assert traced(one, f"bob@{OTHER}")[-1:] == ["sent"]


def traced(server: Server, what: str) -> list[str]:
    """What `mailstack log trace` says, once it says that the message is where it should be."""
    config = str(server.directory / "mailstack.toml")
    command = [sys.executable, "-m", "mailstack", "log", "trace", what, "--json", "--config", config]
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
        steps = [json.loads(line)["step"] for line in done.stdout.splitlines()]
        if {"sent", "delivered"} & set(steps):
            return steps
    raise AssertionError(f"{what} is not traced: {done.stdout}{done.stderr}")


def by_hand(server: Server, *words: str) -> str:
    """What `mailstack queue` prints beside the running server."""
    command = [sys.executable, "-m", "mailstack", "queue", *words, "--config", str(server.directory / "mailstack.toml")]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout


def test_where_mail_goes_is_shown(pair: tuple[Server, Server, DnsServer]) -> None:
    one, two, _ = pair
    shown = by_hand(one, "route", f"bob@{OTHER}", f"bob@{DOMAIN}", "--sender", f"bob@{DOMAIN}")
    assert shown == (
        f"bob@{OTHER} -> {OTHER} (by DNS)\n"
        f"  mail.{OTHER}[{ADDRESSES[OTHER]}]:{two.port('smtp')}  SMTP, TLS if it is offered, with any certificate,"
        f" from {ADDRESSES[DOMAIN]}\nbob@{DOMAIN} -> local (mailboxes here)\n"
    )


def test_what_is_given_up_by_hand_is_reported_by_the_server(pair: tuple[Server, Server, DnsServer]) -> None:
    one, _, _ = pair
    submit(one, DOMAIN, f"bob@{DEAD}", "to the dead")
    one.wait_log("destination not reached")
    assert by_hand(one, "fail", "--destination", DEAD, "--yes") == "given up 1\n"
    report = received(one, DOMAIN, "Not delivered")
    while DEAD not in report:
        report = received(one, DOMAIN, "Not delivered")
    assert "Status: 4.4.7" in report and "Subject: to the dead" in report
    assert json.loads(by_hand(one, "list", "--destination", DEAD, "--json")) == []


def test_a_domain_that_does_not_exist_is_said_at_once(pair: tuple[Server, Server, DnsServer]) -> None:
    one, _, _ = pair
    submit(one, DOMAIN, "bob@nowhere.example", "to nowhere")
    report = received(one, DOMAIN, "Not delivered")
    while "nowhere.example" not in report:
        report = received(one, DOMAIN, "Not delivered")
    assert "Status: 5.1.2" in report


def test_a_domain_that_demands_a_certificate_gets_nothing_without(pair: tuple[Server, Server, DnsServer]) -> None:
    one, _, _ = pair
    submit(one, DOMAIN, "bob@careful.example", "carefully")
    assert "mode=enforce" in one.wait_log("MTA-STS policy")
    deferred = one.wait_log("to=bob@careful.example mta=")
    assert "mail deferred" in deferred and "status=4.7.5" in deferred and "self-signed" in deferred
