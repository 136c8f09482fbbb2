"""The HTTP API of a real development server; each answer is held against its OpenAPI document."""

from __future__ import annotations

import base64
import imaplib
import json
import os
import poplib
import socket
import time
from pathlib import Path

import pytest
from api_client import ApiClient
from server_process import Server, send_message

pytestmark = pytest.mark.processes

MESSAGE = (
    b"From: =?utf-8?q?J=C3=BCrgen?= <juergen@b.test>\r\nTo: Alice <alice@a.test>, bob@a.test\r\nCc: carol@a.test\r\n"
    b"Reply-To: answers@b.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Tue, 24 Nov 2026 10:00:00 +0100\r\n"
    b"Message-ID: <one@b.test>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n"
    b"--m\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n"
    b"--a\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nPlain caf\xe9, see (https://b.test/x?y=1).\r\n"
    b"--a\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"<script>no()</script><img src=3D\"cid:pic@b\"><a href=3D'https://b.test/?a=3D1&amp;b=3D2'>go</a>\r\n"
    b"--a--\r\n"
    b"--m\r\nContent-Type: image/png; name=p.png\r\nContent-ID: <pic@b>\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"aGFsbG8=\r\n"
    b"--m\r\nContent-Type: text/html\r\nContent-Disposition: attachment; filename*=utf-8''%E4%BD%A0.html\r\n\r\n"
    b"<script>bad()</script>\r\n--m--\r\n"
)


def sent(api: ApiClient, to: str = "alice@a.test", subject: str = "one", **more: object) -> str:
    """The id of a message that was sent by the API."""
    document = {"from": "sender@b.test", "to": to, "subject": subject, "text": f"text of {subject}"} | more
    (found,) = api.post("messages", document)["messages"]
    return str(found)


def test_it_is_ready_and_says_where_everything_is(api: ApiClient, running: Server) -> None:
    document = api.get("ready")
    assert document.pop("ready") is True
    del document["version"]
    assert document == json.loads(running.ready_file.read_text())


def test_a_message_is_taken_apart(api: ApiClient, running: Server) -> None:
    send_message(running, "alice@a.test", MESSAGE)
    (listed,) = api.get("messages")["messages"]
    message = api.get(f"messages/{listed['id']}")
    assert listed.items() <= message.items()
    assert message["subject"] == "Grüße"
    assert message["from"] == {"name": "Jürgen", "address": "juergen@b.test"}
    assert message["to"] == [{"name": "Alice", "address": "alice@a.test"}, {"name": "", "address": "bob@a.test"}]
    assert [each["address"] for each in message["cc"] + message["reply_to"]] == ["carol@a.test", "answers@b.test"]
    assert message["date"] == "2026-11-24T09:00:00Z"
    assert message["text"] == "Plain café, see (https://b.test/x?y=1)."
    assert "<script>no()</script>" in message["html"]
    assert message["links"] == ["https://b.test/x?y=1", "https://b.test/?a=1&b=2"]
    assert [(each["part"], each["name"], each["type"], each["size"]) for each in message["attachments"]] == [
        ("2", "p.png", "image/png", 5),
        ("3", "你.html", "text/html", 22),
    ]
    assert {"name": "Message-ID", "value": "<one@b.test>"} in message["headers"]
    assert (message["account"], message["mailbox"], message["unread"]) == ("alice@a.test", "INBOX", True)
    assert message["envelope"] == {"from": "sender@example.net", "to": ["alice@a.test"]}
    assert message["delivered_to"] == "alice@a.test"
    assert message["smtp"]["helo"] == "client.example"
    assert message["smtp"]["protocol"] == "ESMTP"
    said = message["smtp"]["dialogue"]
    assert said[0].startswith("S: 220 ")
    assert f"C: ({len(MESSAGE)} octets of mail data)" in said
    assert "S: 221 2.0.0 Bye" in said


def test_its_octets_its_parts_and_its_page(api: ApiClient, running: Server) -> None:
    send_message(running, "alice@a.test", MESSAGE)
    place = f"/api/v1/messages/{api.get('messages')['messages'][0]['id']}"
    raw = api.ask("GET", place + "/raw")
    assert raw.content.endswith(MESSAGE)
    assert raw.content.startswith(b"Return-Path: <sender@example.net>\r\nDelivered-To: alice@a.test\r\n")
    picture = api.ask("GET", place + "/parts/2")
    assert (picture.content, picture.headers["content-type"]) == (b"hallo", "image/png")
    attached = api.ask("GET", place + "/parts/3")
    assert attached.headers["content-disposition"] == "attachment; filename*=UTF-8''%E4%BD%A0.html"
    assert "sandbox" in attached.headers["content-security-policy"]
    page = api.ask("GET", place + "/html")
    assert f'<img src="{place}/parts/2">' in page.content.decode()
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "allow-scripts" not in policy
    head = api.ask("HEAD", place + "/raw")
    assert (head.content, head.headers["content-length"]) == (b"", str(len(raw.content)))
    api.problem("GET", place + "/parts/9", 404, "no-such-part")


@pytest.mark.parametrize(
    ("query", "subjects"),
    [
        ({}, ["three", "two", "One more"]),
        ({"limit": 2}, ["three", "two"]),
        ({"subject": "ONE"}, ["One more"]),
        ({"account": "bob@a.test"}, ["two"]),
        ({"account": "nobody@a.test"}, []),
        ({"to": "alice@a.test"}, ["three", "One more"]),
        ({"to": "lice@a.test"}, []),
        ({"to": "@a.test"}, ["three", "two", "One more"]),
        ({"to": "ali"}, ["three", "One more"]),
        ({"to": "hidden@a.test"}, []),
        ({"from_": "sender@b.test", "body": "OF TWO"}, ["two"]),
        ({"from_": "other"}, []),
        ({"unread": "false"}, []),
        ({"mailbox": "inbox", "unread": "true", "limit": 1}, ["three"]),
        ({"mailbox": "Archive"}, []),
        ({"since": "2999-01-01T00:00:00Z"}, []),
        ({"since": 1}, ["three", "two", "One more"]),
        ({"message_id": "nothing@b.test"}, []),
    ],
)
def test_what_is_looked_for_is_found(api: ApiClient, query: dict[str, object], subjects: list[str]) -> None:
    sent(api, subject="One more")
    sent(api, "bob@a.test", "two")
    sent(api, subject="three")
    found = api.get("messages", **query)
    assert [message["subject"] for message in found["messages"]] == subjects
    assert found["more"] is ("limit" in query)


def test_before_and_after_a_message(api: ApiClient) -> None:
    ids = [sent(api, subject=f"number {number}") for number in range(4)]
    assert [each["id"] for each in api.get("messages", before=ids[2])["messages"]] == ids[1::-1]
    assert [each["id"] for each in api.get("messages", after=ids[1])["messages"]] == [ids[3], ids[2]]
    api.delete(f"messages/{ids[1]}")
    assert [each["id"] for each in api.get("messages", after=ids[1])["messages"]] == [ids[3], ids[2]]


def test_who_is_in_bcc_finds_the_copy_and_nobody_sees_him(api: ApiClient) -> None:
    api.post("messages", {"from": "a@b.test", "to": "alice@a.test", "bcc": ["hidden@a.test"], "text": "x"})
    (copy,) = api.get("messages", to="hidden@a.test")["messages"]
    message = api.get(f"messages/{copy['id']}")
    assert (copy["account"], message["delivered_to"]) == ("hidden@a.test", "hidden@a.test")
    assert message["envelope"]["to"] == ["alice@a.test", "hidden@a.test"]
    assert b"Bcc" not in api.ask("GET", f"/api/v1/messages/{copy['id']}/raw").content


def test_who_waits_is_answered_by_the_delivery(api: ApiClient, running: Server) -> None:
    send_message(running, "alice@a.test", b"Subject: other\r\n\r\n")
    with running.connect("http", greeting=False) as waiting, running.connect("http", greeting=False) as later:
        ask = b"GET /api/v1/wait?subject=wanted&timeout=15&count=%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
        waiting.send(ask % 1)
        later.send(ask % 2)
        for _ in range(2):
            assert later.silent(0.02)  # both have been heard by then, or hear of it all the same
            send_message(running, "alice@a.test", b"Subject: it is wanted\r\n\r\nhello\r\n")
        for dialogue, count in ((waiting, 1), (later, 2)):
            assert dialogue.line() == b"HTTP/1.1 200 OK"
            length = int(dialogue.until(b"Content-Length")[-1].split()[1])
            while dialogue.line():
                pass
            messages = json.loads(dialogue.exactly(length))["messages"]
            assert [message["text"] for message in messages] == ["hello\n"] * count


def test_what_is_there_already_counts(api: ApiClient) -> None:
    first = sent(api, subject="early")
    (found,) = api.get("wait", subject="early", timeout=15)["messages"]
    assert (found["id"], found["text"]) == (first, "text of early\n")
    reply = api.problem("GET", "/api/v1/wait", 408, "timeout", subject="early", after=first, timeout=0.01)
    assert reply.json["messages"] == reply.json["others"] == []


def test_who_waits_in_vain_is_told_what_came(api: ApiClient) -> None:
    right, wrong = sent(api, subject="right"), sent(api, subject="wrong")
    reply = api.problem("GET", "/api/v1/wait", 408, "timeout", subject="right", count=2, timeout=0.01)
    assert [each["id"] for each in reply.json["messages"]] == [right]
    assert [each["id"] for each in reply.json["others"]] == [wrong]
    assert reply.json["detail"] == "1 of 2 messages with subject 'right' came within 0.01 s"


def test_who_waits_hears_of_append_and_copy(api: ApiClient, running: Server) -> None:
    with imaplib.IMAP4(running.host("imap"), running.port("imap")) as imap:
        imap.login("alice@a.test", "right")
        with running.connect("http", greeting=False) as waiting:
            waiting.send(b"GET /api/v1/wait?mailbox=Sent&subject=draft HTTP/1.1\r\nHost: localhost\r\n\r\n")
            imap.append("Drafts", r"(\Seen)", "", b"Subject: a draft\r\n\r\n")
            imap.select("Drafts")
            assert waiting.silent()
            imap.copy("1", "Sent")
            assert waiting.line() == b"HTTP/1.1 200 OK"
    copied, appended = api.get("messages", account="alice@a.test")["messages"]
    assert (copied["mailbox"], appended["mailbox"], appended["flags"]) == ("Sent", "Drafts", ["\\Seen"])
    message = api.get(f"messages/{copied['id']}")
    assert message["smtp"] is None
    assert message["envelope"] == {"from": "", "to": []}


def test_a_thousand_wait_and_go_away(api: ApiClient, running: Server) -> None:
    ask = b"GET /api/v1/wait?account=crowd@a.test&timeout=60 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    crowd = [socket.create_connection((running.host("http"), running.port("http"))) for _ in range(1000)]
    for one in crowd:
        one.sendall(ask)
    for one in crowd[:500]:
        one.close()
    sent(api, "crowd@a.test", "for all")
    for one in crowd[500:]:
        one.settimeout(20)
        assert one.recv(15) == b"HTTP/1.1 200 OK"
        one.close()
    assert "Traceback" not in running.log.read_text()


def test_an_id_stays_when_flags_change_and_is_gone_with_the_message(api: ApiClient, running: Server) -> None:
    known = sent(api)
    with imaplib.IMAP4(running.host("imap"), running.port("imap")) as imap:
        imap.login("alice@a.test", "right")
        imap.select()
        imap.store("1", "+FLAGS", r"(\Seen \Flagged)")
        message = api.get(f"messages/{known}")
        assert (message["flags"], message["unread"]) == (["\\Seen", "\\Flagged"], False)
        assert message["smtp"] is not None
    pop = poplib.POP3(running.host("pop3"), running.port("pop3"))
    pop.user("alice@a.test")
    pop.pass_("right")
    pop.dele(1)
    pop.quit()
    api.problem("GET", f"/api/v1/messages/{known}", 404, "no-such-message")
    api.problem("DELETE", f"/api/v1/messages/{known}", 404, "no-such-message")


def test_files_that_others_put_there(api: ApiClient, running: Server) -> None:
    sent(api)
    new = Path(running.data) / "mail" / "alice@a.test" / "new"
    (new / ".hidden").write_bytes(b"x")
    (new / "1000000000.strange name").write_bytes(b"Return-Path: <x@y.test>\nSubject: unix\n\nline\n")
    _, message = api.get("wait", account="alice@a.test", count=2)["messages"]
    assert (message["id"], message["subject"], message["text"]) == ("1000000000.strange name", "unix", "line\n")
    assert message["envelope"]["from"] == "x@y.test"
    place = "/api/v1/messages/1000000000.strange%20name"
    assert api.ask("GET", place + "/raw").content.endswith(b"unix\r\n\r\nline\r\n")
    assert api.delete("messages/1000000000.strange%20name") == {"deleted": 1}


def test_sessions_of_imap_hear_of_what_is_deleted(api: ApiClient, running: Server) -> None:
    ids = [sent(api, subject=subject) for subject in ("keep one", "drop", "keep two", "drop")]
    sent(api, "bob@a.test", "drop")
    with running.connect("imap") as imap:
        imap.send(b"a LOGIN alice@a.test right\r\nb SELECT INBOX\r\nc NOOP\r\n")
        imap.until(b"c OK")
        assert api.delete("messages", account="alice@a.test", subject="drop") == {"deleted": 2}
        imap.send(b"d NOOP\r\n")
        assert imap.until(b"d OK")[:-1] == [b"* 4 EXPUNGE", b"* 2 EXPUNGE"]
        assert api.delete(f"messages/{ids[0]}") == {"deleted": 1}
        imap.send(b"e NOOP\r\n")
        assert imap.until(b"e OK")[:-1] == [b"* 1 EXPUNGE"]
        imap.send(b"f IDLE\r\n")
        imap.until(b"+ ")
        assert api.post("reset", status=200) == {"deleted": 2}
        assert imap.line() == b"* 1 EXPUNGE"
        imap.send(b"DONE\r\n")
        imap.until(b"f OK")
    assert api.get("messages") == {"messages": [], "more": False}
    assert all(not row["messages"] for row in api.get("mailboxes")["mailboxes"])


def test_a_message_with_everything(api: ApiClient) -> None:
    picture = bytes(range(256)) * 40
    document = {
        "from": {"name": "Größe, Anna", "address": "anna@b.test"},
        "to": ["Bob B <bob@a.test>", {"address": "alice@a.test"}], "cc": "carol@a.test, dave@a.test",
        "reply_to": "answers@b.test", "subject": "Grüße ☂", "text": "Liebe Grüße\n.\n",
        "html": "<p>Liebe Grüße</p>", "headers": {"X-Test": "yes", "Date": "Mon, 23 Nov 2026 00:00:00 +0000"},
        "attachments": [{"name": "ä.bin", "type": "application/x-test", "content": base64.b64encode(picture).decode()}],
        "envelope_from": "",
    }  # fmt: skip
    answered = api.post("messages", document)
    assert answered["accepted"] == ["bob@a.test", "alice@a.test", "carol@a.test", "dave@a.test"]
    (found,) = api.get("wait", account="carol@a.test")["messages"]
    assert found["id"] in answered["messages"]
    assert found["from"] == {"name": "Größe, Anna", "address": "anna@b.test"}
    assert [each["name"] for each in found["to"]] == ["Bob B", ""]
    assert (found["text"], found["html"]) == ("Liebe Grüße\n.\n", "<p>Liebe Grüße</p>\n")
    assert found["date"] == "2026-11-23T00:00:00Z"
    assert {"name": "X-Test", "value": "yes"} in found["headers"]
    assert found["envelope"]["from"] == ""
    (attachment,) = found["attachments"]
    assert api.ask("GET", attachment["url"]).content == picture


def test_a_large_message(api: ApiClient) -> None:
    picture = os.urandom(1_000_000)
    attachment = {"name": "large.bin", "content": base64.b64encode(picture).decode()}
    known = sent(api, text="small\n", html="<p>", attachments=[attachment])
    (waited,) = api.get("wait", subject="one", body="small")["messages"]
    assert waited == api.get(f"messages/{known}")
    assert waited["size"] == len(api.ask("GET", waited["raw_url"]).content) > len(picture)
    (shown,) = waited["attachments"]
    assert (shown["size"], shown["type"]) == (len(picture), "application/octet-stream")
    assert api.ask("GET", shown["url"]).content == picture
    assert api.ask("GET", waited["html_url"]).content == b"<p>\n"


def test_addresses_outside_ascii(api: ApiClient) -> None:
    (known,) = api.post("messages", {"from": "jürgen@b.test", "to": "用户@a.test", "text": "x"})["messages"]
    message = api.get(f"messages/{known}")
    assert (message["account"], message["from"]["address"]) == ("用户@a.test", "jürgen@b.test")
    assert message["smtp"]["protocol"] == "UTF8SMTP"


@pytest.mark.parametrize(
    ("document", "status", "kind", "detail"),
    [
        ([], 400, "bad-json", "the body has to be a JSON object"),
        ({"to": "a@b.test", "too": "x"}, 400, "bad-message", "'too' is not known here"),
        ({"from": "a@b.test", "text": "x"}, 400, "bad-message", "nobody to send it to"),
        ({"to": 5}, 400, "bad-message", "to: expected an address"),
        ({"to": ["a b@c.test"]}, 400, "bad-message", "is no address"),
        ({"to": "a@b.test", "envelope_to": "a@b.test>\r\nRCPT TO:<c@d.test"}, 400, "bad-message", "nobody"),
        ({"to": "a@b.test", "envelope_from": "a\r\n@b"}, 400, "bad-message", "is no address"),
        ({"to": "a@b.test", "subject": "x\r\nBcc: c@d.test"}, 400, "bad-message", "no message can be made"),
        ({"to": "a@b.test", "headers": {"X Y": "z"}}, 400, "bad-message", "'X Y' is no name of a field"),
        ({"to": "a@b.test", "headers": []}, 400, "bad-message", "headers: expected"),
        ({"to": "a@b.test", "attachments": [{"content": "%"}]}, 400, "bad-message", "base64"),
        ({"to": "a@b.test", "attachments": [{"type": "x", "content": ""}]}, 400, "bad-message", "image/png"),
        ({"to": "a@-.test"}, 422, "refused", "501 5.5.4"),
    ],
)
def test_what_no_message_can_be_made_of(api: ApiClient, document: object, status: int, kind: str, detail: str) -> None:
    json_ = {"Content-Type": "application/json"}
    reply = api.problem("POST", "/api/v1/messages", status, kind, content=json.dumps(document).encode(), headers=json_)
    assert detail in reply.json["detail"]
    assert api.get("messages")["messages"] == []


def test_users_with_passwords_of_their_own(api: ApiClient, running: Server) -> None:
    assert api.post("users", {"name": "Own@a.test", "password": "mine"}) == {"name": "own@a.test", "own_password": True}
    assert {"name": "own@a.test", "own_password": True} in api.get("users")["users"]
    with running.connect("imap") as imap:
        imap.send(b"a LOGIN own@a.test right\r\nb LOGIN other@a.test mine\r\nc LOGIN own@a.test mine\r\n")
        assert [imap.until(b"%c " % tag)[-1][:4] for tag in b"abc"] == [b"a NO", b"b NO", b"c OK"]
        imap.send(b"d SELECT INBOX\r\n")
        imap.until(b"d OK")
        sent(api, "own@a.test")
        assert api.delete("users/own@a.test") == {"removed": "own@a.test"}
        imap.send(b"e NOOP\r\n")
        assert imap.until(b"e ")[0].startswith(b"* OK [CLOSED]")
    assert not (running.data / "mail" / "own@a.test").exists()
    api.problem("DELETE", "/api/v1/users/own@a.test", 404, "no-such-account")
    sent(api, "own@a.test", "anew")
    assert [each["subject"] for each in api.get("messages", account="own@a.test")["messages"]] == ["anew"]
    with running.connect("imap") as imap:
        imap.send(b"a LOGIN own@a.test right\r\n")
        assert imap.until(b"a ")[-1].startswith(b"a OK")


def test_the_dialogue_has_no_password(api: ApiClient, running: Server) -> None:
    secret = base64.b64encode(b"\0alice@a.test\0right")
    with running.connect("submission") as client:
        client.smtp(b"EHLO one.test", b"250")
        client.smtp(b"STARTTLS", b"220")
        client.start_tls()
        client.smtp(b"EHLO two.test", b"250")
        client.smtp(b"AUTH PLAIN " + secret, b"235")
        for number in (1, 2):
            client.smtp(b"MAIL FROM:<alice@a.test>", b"250")
            client.smtp(b"RCPT TO:<bob@a.test>", b"250")
            client.smtp(b"DATA", b"354")
            client.smtp(b"Subject: number %d\r\n\r\n." % number, b"250")
    second, first = (api.get(f"messages/{each['id']}") for each in api.get("messages")["messages"])
    assert (first["auth_user"], second["auth_user"]) == ("alice@a.test", "alice@a.test")
    assert first["tls"]["version"].startswith("TLS")
    assert first["smtp"]["protocol"] == "ESMTPSA"
    for message in (first, second):
        said = "\n".join(message["smtp"]["dialogue"])
        assert "C: AUTH PLAIN ***" in said
        assert secret.decode() not in said
        assert said.count("C: MAIL FROM") == 1


def test_journeys(api: ApiClient) -> None:
    known = sent(api, headers={"Message-ID": "<journey@b.test>"})
    for asked in ("%3Cjourney@b.test%3E", "journey@b.test", known, api.get(f"messages/{known}")["smtp"]["transaction"]):
        (event,) = api.get(f"journeys/{asked}")["events"]
        assert (event["step"], event["recipient"], event["where"]) == (
            "delivered",
            "alice@a.test",
            "INBOX of alice@a.test",
        )
    api.problem("GET", "/api/v1/journeys/unknown", 404, "no-such-journey")


def test_reset_costs_little_and_reading_too(api: ApiClient, running: Server) -> None:
    known = sent(api)
    ticks = os.sysconf("SC_CLK_TCK")

    def spent() -> float:
        fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / ticks

    api.get(f"messages/{known}")
    begun, began = spent(), time.monotonic()
    for _ in range(200):
        api.connection.request("GET", f"/api/v1/messages/{known}")
        api.connection.getresponse().read()
    assert spent() - begun < 200 * 0.005, f"{time.monotonic() - began:.1f} s"  # ten times what it takes
