"""Programs and libraries that fetch mail by POP3."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hosted import PASSWORD, Hosted
from letters import LARGE, LETTERS, Account
from recorder import Recorder
from server_process import Server, send_message

pytestmark = pytest.mark.interop

PROGRAMS = Path(__file__).parent / "programs"


def with_lf(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n")


def port(server: Server, tls: str) -> int:
    return server.port("pop3s" if tls == "tls" else "pop3")


def needs_module(module: str, package: str) -> None:
    if subprocess.run(["perl", f"-M{module}", "-e1"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip(f"{module} is not installed (Debian: apt-get install {package})")


# --- libraries


def check_library(account: Account, said: str) -> None:
    """What it said is of all LETTERS, and the first of them is gone."""
    words = [line.split("\t") for line in said.splitlines()]
    assert words[0] == ["count", str(len(LETTERS))]
    uids = set()
    for number, (line, sent) in enumerate(zip(words[1:-2], LETTERS, strict=True), 1):
        assert line[:3] == ["message", str(number), str(len(sent))]
        assert with_lf(bytes.fromhex(line[4])) == with_lf(sent)
        uids.add(line[3])
    assert len(uids) == len(LETTERS)
    assert words[-2][0] == "top" and int(words[-2][1]) in (5, 6)
    assert words[-1] == ["done"]
    assert account.octets() == list(LETTERS[1:])


@pytest.mark.needs("perl")
@pytest.mark.parametrize("tls", ["plain", "starttls", "tls"])
def test_net_pop3(hosted: Hosted, client: Any, tls: str) -> None:
    needs_module("IO::Socket::SSL", "libio-socket-ssl-perl")
    account = hosted.account(f"net-pop3-{tls}")
    account.put()
    if tls == "starttls":
        needs_module("Authen::SASL", "libauthen-sasl-perl")
        client.environment["SASL"] = "1"
    arguments = [str(port(hosted.server, tls)), tls, str(hosted.server.ca), account.user]
    check_library(account, client.run("perl", str(PROGRAMS / "pop3.pl"), "Net::POP3", *arguments))


@pytest.mark.needs("perl")
def test_mail_pop3client(hosted: Hosted, client: Any) -> None:
    needs_module("IO::Socket::SSL", "libio-socket-ssl-perl")
    needs_module("Mail::POP3Client", "libmail-pop3client-perl")
    account = hosted.account("mail-pop3client")
    account.put()
    arguments = [str(port(hosted.server, "plain")), "plain", str(hosted.server.ca), account.user]
    check_library(account, client.run("perl", str(PROGRAMS / "pop3.pl"), "Mail::POP3Client", *arguments))


@pytest.mark.needs("ruby")
@pytest.mark.parametrize("tls", ["plain", "tls"])
def test_ruby(hosted: Hosted, client: Any, tls: str) -> None:
    account = hosted.account(f"ruby-{tls}")
    account.put()
    arguments = [str(port(hosted.server, tls)), tls, str(hosted.server.ca), account.user]
    check_library(account, client.run("ruby", str(PROGRAMS / "pop3.rb"), *arguments))


# --- programs that fetch


@pytest.mark.needs("fetchmail")
class TestFetchmail:
    def configure(self, hosted: Hosted, client: Any, account: Account, tls: str, options: str) -> list[str]:
        store = client.write("store", f"#!/bin/sh\ncat >>{client.home}/out\n")
        store.chmod(0o700)
        (client.home / "out").touch()
        way = {"plain": 'sslproto ""', "starttls": "sslproto TLS1+", "tls": "ssl"}[tls]
        rc = client.write(
            ".fetchmailrc",
            f"""poll localhost service {port(hosted.server, tls)} protocol POP3 uidl
  user "{account.user}" password "{PASSWORD}" {way} sslcertck sslcertfile {hosted.server.ca}
  mda "{store}" {options}
""",
        )
        return ["fetchmail", "-f", str(rc), "--pidfile", str(client.home / "pid"), "--idfile", str(client.home / "ids")]

    def subjects(self, client: Any) -> list[str]:
        return re.findall(r"^Subject: (.*)$", (client.home / "out").read_text(), re.M)

    @pytest.mark.parametrize("tls", ["starttls", "tls"])
    def test_keeps(self, hosted: Hosted, client: Any, tls: str) -> None:
        account = hosted.account(f"fetchmail-{tls}")
        account.put(letters=[*LETTERS[:3], LARGE])
        command = self.configure(hosted, client, account, tls, "keep")
        client.run(*command)
        assert self.subjects(client) == ["letter 0", "letter 1", "letter 2", "letter 7"]
        client.run(*command, statuses=(1,))  # no new mail
        account.put(letters=[LETTERS[5]])
        client.run(*command)
        assert self.subjects(client)[4:] == ["letter 5"]
        assert len(account.octets()) == 5

    def test_flushes_what_was_seen(self, hosted: Hosted, client: Any) -> None:
        account = hosted.account("fetchmail-flush")
        account.put(letters=LETTERS[:2])
        client.run(*self.configure(hosted, client, account, "plain", "keep"))
        account.put(letters=[LETTERS[2]])
        client.run(*self.configure(hosted, client, account, "plain", "keep flush"))
        assert self.subjects(client) == ["letter 0", "letter 1", "letter 2"]
        assert account.octets() == [LETTERS[2]]

    @pytest.mark.parametrize("service", ["smtp", "lmtp"])
    def test_hands_on(self, hosted: Hosted, client: Any, service: str) -> None:
        """By SMTP, which is what it does if nobody says otherwise."""
        account, target = hosted.account(f"fetchmail-from-{service}"), hosted.account(f"fetchmail-to-{service}")
        account.put()
        with Recorder(hosted.server.port(service)) as wire:
            options = f'no mda smtphost "127.0.0.1/{wire.port}" smtpname "{target.user}"'
            options += " lmtp" if service == "lmtp" else ""
            command = self.configure(hosted, client, account, "plain", options)
            rc = client.home / ".fetchmailrc"
            rc.write_text(re.sub(r"mda \S+ no mda", "nokeep", rc.read_text()))
            client.run(*command)
            assert wire.smtp_extensions() == {"8BITMIME", "SIZE"}
        assert account.octets() == []
        for octets, sent in zip(target.octets(), LETTERS, strict=True):
            assert octets.endswith(sent[sent.index(b"From: ") :])

    def test_idles(self, hosted: Hosted, client: Any) -> None:
        """In IMAP; POP3 has nothing like it."""
        account = hosted.account("fetchmail-idle")
        with Recorder(hosted.server.port("imap")) as wire:
            command = self.configure(hosted, client, account, "plain", "keep idle")
            rc = client.home / ".fetchmailrc"
            rc.write_text(
                re.sub(r"service \d+ protocol POP3 uidl", f"service {wire.port} protocol IMAP", rc.read_text())
            )
            process = subprocess.Popen(command, env=client.environment, cwd=client.home, stdout=subprocess.DEVNULL)
            try:
                wire.wait(rb"IDLE\r\n")
                send_message(hosted.server, account.user, LETTERS[0])
                wire.wait(rb"IDLE\r\n.*BODY.*IDLE\r\n")
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)
        assert self.subjects(client) == ["letter 0"]


@pytest.mark.needs("mpop")
@pytest.mark.parametrize("tls", ["plain", "starttls", "tls"])
def test_mpop(hosted: Hosted, client: Any, tls: str) -> None:
    account = hosted.account(f"mpop-{tls}")
    letters = [*LETTERS, LARGE]
    account.put(letters=letters[:6])
    account.put(letters=letters[6:])
    maildir = client.home / "mail"
    for name in ("", "cur", "new", "tmp"):
        (maildir / name).mkdir()

    def fetch(keep: str) -> list[bytes]:
        rc = client.write(
            ".mpoprc",
            f"""account default
host 127.0.0.1
port {port(hosted.server, tls)}
tls {"off" if tls == "plain" else "on"}
tls_starttls {"on" if tls == "starttls" else "off"}
tls_trust_file {hosted.server.ca}
user {account.user}
password {PASSWORD}
keep {keep}
received_header off
delivery maildir {maildir}
uidls_file {client.home}/uidls
""",
        )
        client.run("mpop", "-C", str(rc))
        return sorted(path.read_bytes() for path in (maildir / "new").iterdir())

    assert fetch("on") == sorted(map(with_lf, letters))
    assert len(account.octets()) == 7
    assert len(fetch("off")) == 7, "what is known is not fetched again"
    assert account.octets() == []


@pytest.mark.needs("getmail", package="getmail6")
def test_getmail_deletes(hosted: Hosted, client: Any) -> None:
    account = hosted.account("getmail-tls")
    account.put(letters=[*LETTERS[:5], LARGE])
    client.write(
        "getmailrc",
        f"""[retriever]
type = SimplePOP3SSLRetriever
server = 127.0.0.1
port = {port(hosted.server, "tls")}
username = {account.user}
password = {PASSWORD}
ca_certs = {hosted.server.ca}
[destination]
type = MDA_external
path = {client.store()}
unixfrom = false
allow_root_commands = true
[options]
delete = true
""",
    )
    client.run("getmail", "--getmaildir", str(client.home), "--rcfile", "getmailrc")
    found = [path.read_bytes() for path in (client.home / "out").iterdir()]
    assert len(found) == 6
    for sent in (*LETTERS[:5], LARGE):
        assert [octets for octets in found if octets.endswith(with_lf(sent))], sent[:200]
    assert account.octets() == []


# --- others


@pytest.mark.needs("mutt")
def test_mutt(hosted: Hosted, client: Any) -> None:
    """Left to itself, it takes SCRAM-SHA-256-PLUS, finds out that it has nothing to bind to, and gives up."""
    account = hosted.account("mutt-pop")
    account.put()
    rc = client.write(
        "muttrc",
        f"""set certificate_file={hosted.server.ca} ssl_ca_certificates_file={hosted.server.ca} ssl_verify_dates=no
set pop_user={account.user} pop_pass={PASSWORD} pop_authenticators=scram-sha-256 pop_delete=yes
set folder={client.home} header_cache= message_cachedir={client.home}/cache mbox_type=mbox delete=yes move=no quit=yes
set confirmappend=no confirmcreate=no sleep_time=0 wait_key=no
push '<delete-pattern>~s "letter 3"<enter><quit>'
push '<tag-pattern>~A<enter><tag-prefix><copy-message>{client.home}/out<enter>'
""",
    )
    folder = f"pops://localhost:{port(hosted.server, 'tls')}/"
    client.run_in_terminal("mutt", "-n", "-F", str(rc), "-f", folder)
    copied = (client.home / "out").read_bytes()
    assert re.findall(rb"^Subject: (.*)$", copied, re.M) == [b"letter %d" % number for number in range(6)]
    assert with_lf(LETTERS[2]).partition(b"\n\n")[2] in copied
    assert account.octets() == [*LETTERS[:3], *LETTERS[4:]]


@pytest.mark.needs("curl")
def test_curl(hosted: Hosted, client: Any) -> None:
    account = hosted.account("curl-pop3")
    account.put(letters=[LETTERS[1], LARGE])
    curl = ["curl", "-sS", "--cacert", str(hosted.server.ca), "-u", f"{account.user}:{PASSWORD}"]
    url = f"pop3s://127.0.0.1:{port(hosted.server, 'tls')}/"
    for number, sent in enumerate((LETTERS[1], LARGE), 1):
        client.run(*curl, "-o", "out", f"{url}{number}")
        assert (client.home / "out").read_bytes() == sent
    assert client.run(*curl, url).split() == ["1", str(len(LETTERS[1])), "2", str(len(LARGE))]
    assert len(client.run(*curl, "-X", "UIDL", url).splitlines()) == 2
    assert "Subject: letter 1" in client.run(*curl, "-X", "TOP 1 0", url)
    client.run(*curl, "--login-options", "AUTH=PLAIN", "-X", "DELE 1", url, "-I")
    assert account.octets() == [LARGE]
