"""Programs and libraries that send mail, to a server that knows its accounts."""

from __future__ import annotations

import email
import email.policy
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hosted import NOBODY, PASSWORD, Hosted, received
from letters import LARGE, LETTERS
from recorder import Recorder
from senders import (
    Letter,
    Send,
    Way,
    with_aiosmtplib,
    with_curl,
    with_msmtp,
    with_nodemailer,
    with_sendemail,
    with_smtplib,
    with_swaks,
)

pytestmark = pytest.mark.interop

SENDER = "bob@example.net"
NEEDS = {
    "swaks": pytest.mark.needs("swaks"),
    "curl": pytest.mark.needs("curl"),
    "msmtp": pytest.mark.needs("msmtp"),
    "sendemail": pytest.mark.needs("sendemail"),
    "nodemailer": pytest.mark.needs("node", "npm", package="nodejs npm"),
}


def senders(*but: Send) -> Any:
    """A test for each of them."""
    programs = (with_curl, with_swaks, with_msmtp, with_sendemail, with_nodemailer, with_smtplib, with_aiosmtplib)
    names = {each: each.__name__.removeprefix("with_") for each in programs if each not in but}
    return pytest.mark.parametrize(
        "send", [pytest.param(each, marks=NEEDS.get(name, ()), id=name) for each, name in names.items()]
    )


@pytest.fixture(scope="module")
def wire(hosted: Hosted) -> Iterator[Recorder]:
    with Recorder(hosted.server.port("smtp")) as recorder:
        yield recorder


@pytest.fixture
def plain(hosted: Hosted, wire: Recorder) -> Way:
    wire.smtp_extensions()
    return Way(wire.port, "plain", hosted.server.ca)


def is_that(arrived: bytes, sent: bytes, send: Send) -> bool:
    """sendemail adds empty lines."""
    return arrived.endswith(sent) or (send is with_sendemail and arrived.rstrip().endswith(sent.rstrip()))


@senders()
def test_submits_with_starttls(hosted: Hosted, client: Any, send: Send) -> None:
    submit(hosted, client, send, "submission", "starttls")


@senders(with_sendemail)
def test_submits_with_tls(hosted: Hosted, client: Any, send: Send) -> None:
    submit(hosted, client, send, "submissions", "tls")


def submit(hosted: Hosted, client: Any, send: Send, service: str, tls: str) -> None:
    name = f"{send.__name__}-{tls}"
    sender, account = hosted.account(f"{name}-sender"), hosted.account(name)
    way = Way(hosted.server.port(service), tls, hosted.server.ca, sender.user)
    send(client, way, Letter(sender.user, [account.user], LETTERS[2]))
    [octets] = account.octets()
    assert is_that(octets, LETTERS[2], send)
    assert received(octets) == ["ESMTPSA"]


USED: dict[Send, set[str]] = {
    with_curl: {"SIZE"},
    with_swaks: {"PIPELINING"},
    with_msmtp: set(),
    with_sendemail: set(),
    with_nodemailer: {"PIPELINING"},
    with_smtplib: {"SIZE"},
    with_aiosmtplib: {"SIZE"},
}


@senders()
def test_octets_and_extensions(hosted: Hosted, client: Any, send: Send, plain: Way, wire: Recorder) -> None:
    account = hosted.account(f"{send.__name__}-octets")
    # of lines of two dots sendemail makes lines of one
    letters = (LETTERS[0] if send is with_sendemail else LETTERS[1], LARGE)
    for octets in letters:
        send(client, plain, Letter(SENDER, [account.user], octets))
    for octets, arrived in zip(letters, account.octets(), strict=True):
        assert is_that(arrived, octets, send)
    assert wire.smtp_extensions() == USED[send]


@senders(with_msmtp)
def test_the_others_get_it(hosted: Hosted, client: Any, send: Send, plain: Way) -> None:
    accounts = [hosted.account(f"{send.__name__}-{number}") for number in (1, 2)]
    send(client, plain, Letter(SENDER, [accounts[0].user, NOBODY, accounts[1].user], LETTERS[2]))
    for account in accounts:
        [octets] = account.octets()
        assert is_that(octets, LETTERS[2], send)


@senders(with_swaks, with_msmtp, with_sendemail)
def test_addresses_in_utf8(hosted: Hosted, client: Any, send: Send, plain: Way) -> None:
    account = hosted.account(f"{send.__name__}-grüße")
    send(client, plain, Letter("bücher@bücher.example", [account.user], LETTERS[2]))
    [octets] = account.octets()
    assert is_that(octets, LETTERS[2], send)
    assert octets.startswith("Return-Path: <bücher@".encode())  # curl writes the domain in ASCII
    assert received(octets) == ["UTF8SMTP"]


@pytest.mark.needs("msmtp")
def test_msmtp_gives_up(hosted: Hosted, client: Any, plain: Way) -> None:
    account = hosted.account("msmtp-gives-up")
    with pytest.raises(AssertionError, match="550 5.1.1 No such user here"):
        with_msmtp(client, plain, Letter(SENDER, [account.user, NOBODY], LETTERS[0]))
    assert account.octets() == []


@pytest.mark.needs("s-nail")
@pytest.mark.parametrize(("service", "login"), [("submission", "login"), ("submissions", "plain")])
def test_s_nail(hosted: Hosted, client: Any, service: str, login: str) -> None:
    sender, account = hosted.account(f"s-nail-{login}"), hosted.account(f"s-nail-to-{login}")
    attached = os.urandom(2_200_000)
    (client.home / "attached").write_bytes(attached)
    settings = {
        "v15-compat": "",
        "mta": f"{service}://localhost:{hosted.server.port(service)}",
        "smtp-auth": login,
        "smtp-use-starttls": "",
        "tls-ca-file": hosted.server.ca,
        "user": sender.user,
        "password": PASSWORD,
        "from": sender.user,
        "no-save": "",
        "DEAD": "/dev/null",
    }
    options = [f"-S{name}={value}" if value else f"-S{name}" for name, value in settings.items()]
    body = "Grüße.\n.\n..\n"
    client.run("s-nail", "-:/", *options, "-s", "Grüße", "-a", "attached", account.user, stdin=body.encode())
    [octets] = account.octets()
    text, binary = email.message_from_bytes(octets, policy=email.policy.default).iter_parts()
    assert text.get_content() == body.replace("\n", "\r\n")
    assert binary.get_content() == attached
    assert received(octets) == ["ESMTPSA"]
