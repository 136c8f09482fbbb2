"""Faults of a running server, as the clients of the standard library meet them."""

from __future__ import annotations

import imaplib
import json
import poplib
import smtplib
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from server_process import REPOSITORY, Server, send_message

from mailstack.app.services import Resources, in_development
from mailstack.cli.main import run
from mailstack.config.sections import Listener, ServiceName, TlsMode
from mailstack.ports import Connection

MESSAGE = b"Subject: x\r\n\r\n" + b"0123456789abcdef\r\n" * 50
FAULTS = (
    {"protocol": "smtp", "at": "RCPT", "reply": 452, "times": 2, "recipient": "twice@*"},
    {"protocol": "smtp", "certificate": "expired", "times": 1},
    {"protocol": "imap", "certificate": "wrong-name", "times": 1},
    {"protocol": "pop3", "certificate": "untrusted", "times": 1},
    {"protocol": "pop3", "certificate": "handshake", "times": 1},
    {"protocol": "imap", "at": "FETCH", "cut": "literal", "login": "cut@example.org"},
    {"protocol": "imap", "at": "LOGIN", "reply": "NO [UNAVAILABLE] Later", "login": "later@example.org"},
    {"protocol": "imap", "at": "NOOP", "hang": True, "login": "hang@example.org"},
    {"protocol": "pop3", "at": "STAT", "drop": "reset", "login": "reset@example.org"},
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("faulty")
    said = [word for fault in FAULTS for word in ("--fault", json.dumps(fault))]
    arguments = ("dev", "--data", str(directory / "data"), "--ports", "0", *said)
    with Server(directory, arguments) as server:
        yield server


def smtp(server: Server) -> smtplib.SMTP:
    return smtplib.SMTP(server.host("smtp"), server.port("smtp"), timeout=10)


def test_smtplib_is_refused_twice(server: Server) -> None:
    for _ in range(2):
        with smtp(server) as client, pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            client.sendmail("a@example.net", ["twice@example.org"], MESSAGE)
        assert refused.value.recipients["twice@example.org"][0] == 452
    with smtp(server) as client:
        assert client.sendmail("a@example.net", ["twice@example.org"], MESSAGE) == {}


def test_addresses_name_faults(server: Server) -> None:
    with smtp(server) as client:
        refused = client.sendmail("a@example.net", ["b+fault-rcpt-550@example.org", "b@example.org"], MESSAGE)
        assert [code for code, _ in refused.values()] == [550]
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.sendmail("a@example.net", ["b@data-drop.fault.test"], MESSAGE)
    begun = time.monotonic()
    with smtp(server) as client:
        client.sendmail("a@example.net", ["b+fault-message-delay-0.2@example.org"], MESSAGE)
    assert time.monotonic() - begun >= 0.2


def test_certificates_are_bad_in_their_own_way(server: Server) -> None:
    trusting = ssl.create_default_context(cafile=str(server.ca))
    with smtp(server) as client, pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        client.starttls(context=trusting)
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        imaplib.IMAP4_SSL(server.host("imaps"), server.port("imaps"), ssl_context=trusting, timeout=10)
    with pytest.raises(ssl.SSLCertVerificationError, match="self.signed"):
        poplib.POP3_SSL(server.host("pop3s"), server.port("pop3s"), context=trusting, timeout=10)
    with pytest.raises(ssl.SSLError, match=r"(?i)handshake"):
        poplib.POP3_SSL(server.host("pop3s"), server.port("pop3s"), context=trusting, timeout=10)
    with smtp(server) as client:
        assert client.starttls(context=trusting)[0] == 220, "each was bad once"
    poplib.POP3_SSL(server.host("pop3s"), server.port("pop3s"), context=trusting, timeout=10).quit()


def imap(server: Server, user: str) -> imaplib.IMAP4:
    client = imaplib.IMAP4(server.host("imap"), server.port("imap"), timeout=10)
    client.login(user, "x")
    client.select()
    return client


def test_imaplib_meets_a_cut_literal_beside_others_that_do_not(server: Server) -> None:
    for user in ("cut", "whole"):
        send_message(server, f"{user}@example.org", MESSAGE)
    cut, whole = imap(server, "cut@example.org"), imap(server, "whole@example.org")
    with pytest.raises(imaplib.IMAP4.abort):
        cut.fetch("1", "(BODY[])")
    assert len(whole.fetch("1", "(BODY[])")[1][0][1]) > len(MESSAGE)
    whole.logout()
    with pytest.raises(imaplib.IMAP4.error, match="Later"):
        imap(server, "later@example.org")


def test_a_client_is_left_hanging(server: Server) -> None:
    client = imap(server, "hang@example.org")
    client.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.noop()
    client.shutdown()


def test_poplib_meets_a_reset(server: Server) -> None:
    client = poplib.POP3(server.host("pop3"), server.port("pop3"), timeout=10)
    client.user("reset@example.org")
    client.pass_("x")
    with pytest.raises(ConnectionResetError):
        client.stat()
    client.close()


def test_a_fault_that_cannot_be_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["mailstack", "dev", "--ephemeral", "--fault", '{"protocol": "smtp", "at": "RCPT", "reply": 250}']
    assert run(words) == 2 and "a code from 400 to 599" in capsys.readouterr().err


def test_a_session_of_production_has_nothing_around_it() -> None:
    resources = cast(Resources, SimpleNamespace(faults=None, transcripts=None))

    def make(connection: Connection) -> Any:
        raise NotImplementedError

    listener = Listener(ServiceName.SMTP, port=25, tls=TlsMode.NONE)
    assert in_development(make, listener, resources) is make


def test_production_does_not_even_load_faults() -> None:
    program = (
        "import sys, mailstack.app.production\n"
        "print([name for name in sys.modules if name.startswith(('mailstack.faults', 'mailstack.transcripts'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
