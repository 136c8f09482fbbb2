"""What a test sees of a message."""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Callable

import pytest

from mailstack.testing import MailAssertionError, Mailbox, MailServer, Message


def raw(box: Mailbox, octets: bytes, *, wait: bool = True) -> Message:
    box.send(message=octets)
    return box.wait_for()


def test_the_header(box: Mailbox) -> None:
    message = raw(
        box,
        b"From: =?utf-8?q?J=C3=BCrgen?= <j@Example.org>\r\nTo: a@x.test, \"B, C\" <b@x.test>\r\nCc: c@x.test\r\n"
        b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Tue, 24 Nov 2026 10:00:00 +0100\r\nX-Tag: one\r\nX-Tag: two\r\n"
        b"Message-ID: <1@x.test>\r\n\r\nHello\r\n",
    )  # fmt: skip
    assert (message.subject, message.sender, message.sender.name) == ("Grüße", "j@Example.org", "Jürgen")
    assert message.to == ["a@x.test", "b@x.test"]
    assert message.to[1].name == "B, C"
    assert message.cc == ["c@x.test"]
    assert message.date is not None
    assert message.date.isoformat() == "2026-11-24T09:00:00+00:00"
    assert message.headers["x-tag"] == "one"
    assert message.headers.all("X-Tag") == ["one", "two"]
    assert "X-Tag" in message.headers
    assert message.message_id == "<1@x.test>"
    assert message.raw.endswith(b"\r\n\r\nHello\r\n")
    assert message.message["Subject"] == "Grüße"
    assert message.size == len(message.raw)


def test_how_it_came(live: MailServer, box: Mailbox) -> None:
    with smtplib.SMTP(*live.submission, local_hostname="client.test") as client:
        client.starttls(context=ssl.create_default_context(cafile=live.ca))
        client.login("anna@example.test", "any")
        client.sendmail("anna@example.test", [box.address, "hidden@example.test"], b"Subject: secret\r\n\r\n")
    message = box.wait_for("secret")
    assert message.envelope_from == "anna@example.test"
    assert message.envelope_to == [box.address, "hidden@example.test"]
    assert message.tls.startswith("TLSv1")
    assert message.auth_user == "anna@example.test"
    message.assert_tls().assert_auth_user("anna@example.test").assert_recipients("HIDDEN@example.test", box.address)
    assert any(line.startswith("C: rcpt TO:<hidden@example.test>") for line in message.dialogue)
    assert message.unread
    assert message.mailbox == "INBOX"


def test_attachments(box: Mailbox) -> None:
    box.send("files", "text", html="<p>html</p>", attachments=[("a.bin", b"\x00\xff"), ("b.csv", b"1;2", "text/csv")])
    message = box.wait_for("files")
    assert [(each.name, each.type, each.size) for each in message.attachments] == [
        ("a.bin", "application/octet-stream", 2), ("b.csv", "text/csv", 3),
    ]  # fmt: skip
    assert message.attachment("a.bin").content == b"\x00\xff"
    assert message.attachment("csv").text == "1;2"
    with pytest.raises(MailAssertionError, match=r"no attachment with 'c\.pdf'[^|]*'b\.csv' text/csv of 3 octets"):
        message.attachment("c.pdf")


def test_links(box: Mailbox) -> None:
    box.send(
        "links", "Go to https://x.test/text.",
        html="<style>a{}</style><a href='https://x.test/a?b=1&amp;c=2'>Confirm <b>now</b></a><a href='https://x.test/z'>z</a>",
    )  # fmt: skip
    message = box.wait_for("links")
    assert message.links == ["https://x.test/text", "https://x.test/a?b=1&c=2", "https://x.test/z"]
    assert message.link() == "https://x.test/text"
    assert message.link("confirm now") == "https://x.test/a?b=1&c=2"
    assert message.link(re.compile(r"/z$")) == "https://x.test/z"
    assert message.page.text == "Confirm nowz"
    with pytest.raises(MailAssertionError, match="no link with 'cancel'; the message has\n  https://x.test/text\n"):
        message.link("cancel")


@pytest.mark.parametrize(
    ("text", "html", "code"),
    [
        ("It is 123456.", None, "123456"),
        ("Order 12345678 has the code 654321", None, "654321"),
        ("https://x.test/999999 or 654321", None, "654321"),
        ("Type 123 456", None, "123456"),
        ("Type 123-456 for +1-555-123456", None, "123456"),
        ("Call 123-456 or type 111222", None, "111222"),
        ("See the HTML", "<p style='color:#123456'>Code: <b>77</b>1122</p>", "771122"),
    ],
)
def test_codes(box: Mailbox, text: str, html: str | None, code: str) -> None:
    box.send("code", text, html=html)
    assert box.wait_for("code").code() == code


def test_codes_of_another_kind(box: Mailbox) -> None:
    box.send("code", "Your key: AB-12, pin 1234")
    message = box.wait_for("code")
    assert message.code(4) == "1234"
    assert message.code(pattern=r"key: (\S+),") == "AB-12"
    with pytest.raises(MailAssertionError, match="no code of 6 digits in the message\n"):
        message.code()


@pytest.mark.parametrize(
    ("assertion", "says"),
    [
        (lambda m: m.assert_subject("Welcom"), r"subject: expected 'Welcom', but it is\n  - Welcom\n"),
        (lambda m: m.assert_subject(re.compile("^x")), r"subject: expected pattern '\^x', but it is\n  'Welcome'"),
        (lambda m: m.assert_sender("a@x.test"), "sender: expected 'a@x.test'"),
        (lambda m: m.assert_to("a@x.test"), "to: missing a@x.test; too many "),
        (lambda m: m.assert_cc("a@x.test"), "cc: missing a@x.test"),
        (lambda m: m.assert_recipients(), "recipients: too many "),
        (lambda m: m.assert_text("Hallo Anna"), r"'Hallo Anna' is not in it, but this is:\n  - Hallo Anna\n"),
        (lambda m: m.assert_html("<b>"), "html: '<b>' is not in it"),
        (lambda m: m.assert_header("X-Tag"), "no header field X-Tag; the message has .*Subject"),
        (lambda m: m.assert_header("Subject", "no"), "header field Subject: expected 'no'"),
        (lambda m: m.assert_tls(), "it came without TLS"),
        (lambda m: m.assert_auth_user("anna"), "auth_user: expected 'anna'"),
    ],
)
def test_assertions_show_the_message_and_its_dialogue(
    box: Mailbox, assertion: Callable[[Message], object], says: str
) -> None:
    box.send("Welcome", "Hello\nHello Anna")
    with pytest.raises(MailAssertionError, match=says) as failure:
        assertion(box.wait_for())
    assert "  | Subject: Welcome\n" in str(failure.value)
    assert "  | Hello Anna\n" in str(failure.value)
    assert "    C: data\n    S: 354" in str(failure.value)


def test_assertions_that_hold_return_the_message(box: Mailbox) -> None:
    box.send("Welcome", "Hello", html="<p>Hello &amp; welcome</p>", cc="c@x.test", headers={"X-Tag": "one"})
    message = box.wait_for()
    assert (
        message.assert_subject("Welcome").assert_sender("SENDER@example.org").assert_to(box.address)
        .assert_cc("c@x.test").assert_text("Hello").assert_html("Hello & welcome").assert_html("<p>")
        .assert_header("X-Tag", "one").assert_recipients("c@x.test", box.address)
    ) is message  # fmt: skip


@pytest.mark.parametrize(
    "octets",
    [
        b"", b"no header at all\r\n", b"Subject: =?x?q?=ff?=\r\nFrom: <<>>\r\nDate: never\r\n\r\n\xff\xfe\r\n",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n<a href='http://[x'>\x00",
    ],
    ids=["nothing", "no header", "bad words", "bad parts"],
)  # fmt: skip
def test_odd_messages_can_be_read(box: Mailbox, octets: bytes) -> None:
    box.send(message=octets)
    message = box.wait_for()
    for name in ("subject", "sender", "to", "cc", "date", "text", "html", "headers", "links", "attachments", "raw"):
        getattr(message, name)
    assert "Envelope: from <sender@example.org>" in box.report()


def test_a_message_that_is_gone_says_so(box: Mailbox) -> None:
    box.send("gone")
    message = box.messages[0]
    box.clear()
    with pytest.raises(MailAssertionError, match="the message cannot be read, 404: .*<Message 'gone'"):
        _ = message.text
