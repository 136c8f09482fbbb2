"""Postfix, Exim and OpenSMTPD hand mail over: by SMTP, with and without TLS, and by LMTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import mail_servers
import pytest
from hosted import DOMAIN, LMTP, SECURE, SUBMISSION, UNIX, Hosted, received
from letters import LARGE, LETTERS
from mail_servers import MailServer, Postfix, Routes
from recorder import Recorder

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def wires(hosted: Hosted) -> Iterator[dict[str, Recorder]]:
    with Recorder(hosted.server.port("smtp")) as smtp, Recorder(hosted.server.port("lmtp")) as lmtp:
        yield {DOMAIN: smtp, LMTP: lmtp}


@pytest.fixture(scope="module")
def routes(hosted: Hosted, wires: dict[str, Recorder]) -> Routes:
    server = hosted.server
    user = hosted.account("relay").user
    submission = server.port("submission")
    return Routes(wires[DOMAIN].port, wires[LMTP].port, hosted.unix, server.port("smtp"), submission, user, server.ca)


SERVERS: dict[str, Callable[[Routes], AbstractContextManager[MailServer]]] = {
    "postfix": mail_servers.postfix,
    "exim": mail_servers.exim,
    "opensmtpd": mail_servers.opensmtpd,
}


@pytest.fixture(scope="module")
def mail_server(request: Any, routes: Routes) -> Iterator[tuple[str, MailServer]]:
    with ExitStack() as stack:
        yield request.param, stack.enter_context(SERVERS[request.param](routes))


each = pytest.mark.parametrize(
    "mail_server",
    [pytest.param("postfix", marks=pytest.mark.needs("postfix")), "exim", "opensmtpd"],
    indirect=True,
)


@each
@pytest.mark.parametrize(
    ("domain", "protocol"), [(DOMAIN, "ESMTP"), (SECURE, "ESMTPS"), (LMTP, "LMTP"), (UNIX, "LMTP")],
    ids=["smtp", "tls", "lmtp", "unix"],
)  # fmt: skip
def test_one_recipient_of_three_is_refused(
    hosted: Hosted, mail_server: tuple[str, MailServer], domain: str, protocol: str
) -> None:
    name, running = mail_server
    accounts = [hosted.account(f"{name}-{number}", domain) for number in (1, 2)]
    said = running.send([accounts[0].user, f"nobody@{domain}", accounts[1].user], LETTERS[1])
    assert "550 5.1.1 No such user here" in said
    for account in accounts:
        [octets] = account.octets()
        assert octets.endswith(LETTERS[1])
        assert received(octets)[0] == protocol


@each
def test_logs_in(hosted: Hosted, mail_server: tuple[str, MailServer], routes: Routes) -> None:
    name, running = mail_server
    account = hosted.account(f"{name}-submission", SUBMISSION)
    running.send([account.user], LETTERS[2], routes.user)
    [octets] = account.octets()
    assert octets.endswith(LETTERS[2])
    assert received(octets)[0] == "ESMTPSA"


USED = {
    "postfix": {"8BITMIME", "DSN", "PIPELINING", "SIZE"},
    "exim": {"CHUNKING", "PIPELINING", "SIZE"},
    "opensmtpd": set[str](),
}


@each
def test_letters_arrive_as_they_are(
    hosted: Hosted, mail_server: tuple[str, MailServer], wires: dict[str, Recorder]
) -> None:
    name, running = mail_server
    account = hosted.account(f"{name}-letters")
    wires[DOMAIN].smtp_extensions()
    # OpenSMTPD waits a second before each further message
    letters = (LETTERS[2], LARGE) if name == "opensmtpd" else (*LETTERS, LARGE)
    for octets in letters:
        running.send([account.user], octets)
    found = account.octets()
    assert len(found) == len(letters)
    for octets, arrived in zip(letters, found, strict=True):
        assert arrived.endswith(octets[octets.index(b"\r\nSubject: ") :])
    assert wires[DOMAIN].smtp_extensions() == USED[name]


@pytest.mark.parametrize(
    "mail_server", [pytest.param("postfix", marks=pytest.mark.needs("postfix")), "exim"], indirect=True
)
@pytest.mark.parametrize("domain", [DOMAIN, LMTP])
def test_addresses_in_utf8(
    hosted: Hosted, mail_server: tuple[str, MailServer], wires: dict[str, Recorder], domain: str
) -> None:
    name, running = mail_server
    account = hosted.account(f"{name}-grüße", domain)
    wires[domain].smtp_extensions()
    running.send([account.user], LETTERS[2], "bücher@bücher.example")
    [octets] = account.octets()
    assert octets.startswith("Return-Path: <bücher@bücher.example>\r\n".encode())
    assert received(octets)[0] == ("UTF8LMTP" if domain == LMTP else "UTF8SMTP")
    assert "SMTPUTF8" in wires[domain].smtp_extensions()


@pytest.mark.needs("postfix")
@pytest.mark.parametrize("mail_server", ["postfix"], indirect=True)
class TestPostfix:
    def test_asks_who_we_are(self, mail_server: tuple[str, Postfix]) -> None:
        _, postfix = mail_server
        said = postfix.send(["alice@wrong.example.org"], LETTERS[0], until="status=deferred")
        assert "Server certificate not verified" in said

    def test_hears_of_success(self, hosted: Hosted, mail_server: tuple[str, Postfix]) -> None:
        _, postfix = mail_server
        sender, recipient = hosted.account("postfix-sender"), hosted.account("postfix-asked")
        postfix.send([recipient.user], LETTERS[0], sender.user, "-N", "success", "-V", "letter+0")
        [report] = sender.octets()
        assert b"\r\nOriginal-Envelope-Id: letter+0\r\n" in report
        assert b"\r\nOriginal-Recipient: rfc822; %s\r\n" % recipient.user.encode() in report
        assert b"\r\nAction: delivered\r\n" in report
