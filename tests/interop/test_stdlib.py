"""Python's own clients."""

from __future__ import annotations

import email
import email.policy
import imaplib
import poplib
import smtplib
import ssl
from email.message import EmailMessage

import pytest
from server_process import Server

pytestmark = pytest.mark.interop


def context() -> ssl.SSLContext:
    made = ssl.create_default_context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def letter(subject: str) -> EmailMessage:
    made = EmailMessage()
    made["From"] = "bob@example.org"
    made["To"] = "alice@example.org"
    made["Subject"] = subject
    made.set_content("Grüße.\n.\n..\n")
    made.add_attachment(bytes(range(256)), maintype="application", subtype="octet-stream", filename="all.bin")
    return made


def send(server: Server, user: str, subject: str) -> None:
    with smtplib.SMTP("127.0.0.1", server.port("smtp")) as client:
        client.send_message(letter(subject), to_addrs=[user])


def test_smtplib_starttls_and_login(server: Server) -> None:
    with smtplib.SMTP("127.0.0.1", server.port("submission")) as client:
        client.starttls(context=context())
        client.login("bob@example.org", "x")
        assert client.send_message(letter("by submission"), to_addrs=["stdlib-sub@example.org"]) == {}
    with smtplib.SMTP_SSL("127.0.0.1", server.port("submissions"), context=context()) as client:
        client.login("bob@example.org", "x")
        client.send_message(letter("by submissions"), to_addrs=["stdlib-sub@example.org"])
    with imaplib.IMAP4("127.0.0.1", server.port("imap")) as client:
        client.login("stdlib-sub@example.org", "x")
        assert client.select() == ("OK", [b"2"])


def test_smtplib_speaks_utf8(server: Server) -> None:
    with smtplib.SMTP("127.0.0.1", server.port("smtp")) as client:
        client.sendmail(
            "bob@example.org",
            ["grüße@example.org"],
            letter("utf8").as_bytes(),
            mail_options=["SMTPUTF8", "BODY=8BITMIME"],
        )


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_imaplib(server: Server, tls: bool) -> None:
    user = f"stdlib-imap-{tls}@example.org"
    send(server, user, "one")
    send(server, user, "two")
    port = server.port("imaps" if tls else "imap")
    made = imaplib.IMAP4_SSL("127.0.0.1", port, ssl_context=context()) if tls else imaplib.IMAP4("127.0.0.1", port)
    with made as client:
        client.login(user, "x")
        assert client.select() == ("OK", [b"2"])
        status, data = client.fetch("2", "(UID FLAGS BODY.PEEK[])")
        assert status == "OK"
        item = data[0]
        assert isinstance(item, tuple)
        parsed = email.message_from_bytes(item[1], policy=email.policy.default)
        assert parsed["Subject"] == "two"
        attachment = next(iter(parsed.iter_attachments()))
        assert attachment.get_content() == bytes(range(256))
        assert client.search(None, "SUBJECT", "two") == ("OK", [b"2"])
        assert client.store("1", "+FLAGS", "(\\Deleted $Keyword)")[0] == "OK"
        assert client.create("Work/2024")[0] == "OK"
        assert client.copy("2", "Work/2024")[0] == "OK"
        assert client.status("Work/2024", "(MESSAGES UIDNEXT)")[1] == [b"Work/2024 (MESSAGES 1 UIDNEXT 2)"] or (
            client.status("Work/2024", "(MESSAGES)")[0] == "OK"
        )
        assert client.expunge() == ("OK", [b"1"])
        assert client.append("INBOX", "\\Seen", None, letter("three").as_bytes().replace(b"\n", b"\r\n"))[0] == "OK"
        assert client.uid("SEARCH", "ALL") == ("OK", [b"2 3"])


def test_imaplib_starttls(server: Server) -> None:
    with imaplib.IMAP4("127.0.0.1", server.port("imap")) as client:
        client.starttls(context())
        client.login("stdlib-starttls@example.org", "x")
        assert client.select()[0] == "OK"


@pytest.mark.parametrize("way", ["plain", "stls", "tls"])
def test_poplib(server: Server, way: str) -> None:
    user = f"stdlib-pop-{way}@example.org"
    send(server, user, "one")
    send(server, user, "two")
    if way == "tls":
        client: poplib.POP3 = poplib.POP3_SSL("127.0.0.1", server.port("pop3s"), context=context())
    else:
        client = poplib.POP3("127.0.0.1", server.port("pop3"))
    if way == "stls":
        client.stls(context())
    client.user(user)
    client.pass_("x")
    count, size = client.stat()
    assert count == 2
    _, lines, octets = client.retr(2)
    parsed = email.message_from_bytes(b"\r\n".join(lines) + b"\r\n", policy=email.policy.default)
    assert parsed["Subject"] == "two"
    assert sum(int(line.split()[1]) for line in client.list()[1]) == size
    assert client.top(1, 0)[1][-1] == b""
    assert len(set(client.uidl()[1])) == 2
    client.dele(1)
    client.quit()
    again = poplib.POP3("127.0.0.1", server.port("pop3"))
    again.user(user)
    again.pass_("x")
    assert again.stat()[0] == 1
    again.quit()
