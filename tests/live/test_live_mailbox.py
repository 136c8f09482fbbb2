"""Mail that is waited for, and what is said when it does not come."""

from __future__ import annotations

import asyncio
import poplib
import re
import sys
import threading
import time

import pytest

from mailstack.testing import MailAssertionError, Mailbox, MailServer


def test_what_is_there_already_counts_and_the_newest_is_given(box: Mailbox) -> None:
    for number in range(3):
        box.send(f"Number {number}")
    assert box.wait_for("number").subject == "Number 2"
    assert [each.subject for each in box.wait_for("number", count=3)] == ["Number 0", "Number 1", "Number 2"]
    assert [each.subject for each in box.messages] == ["Number 0", "Number 1", "Number 2"]
    assert len(box) == 3


@pytest.mark.parametrize(
    "wanted",
    [
        {"subject": "HELLO"},
        {"sender": "anna@x.test"},
        {"sender": "@x.test"},
        {"body": "some text"},
        {"subject": re.compile("^Hello$")},
        {"sender": re.compile("anna@"), "subject": "hello"},
        {"body": re.compile("some (text|html)")},
        {"to": re.compile("^that")},
        {"match": lambda message: "text" in message.text},
    ],
)
def test_each_way_of_saying_what_is_wanted(box: Mailbox, wanted: dict[str, object]) -> None:
    box.send("Other", "else")
    box.send("Hello", "some text", sender="anna@x.test", cc="that@x.test")
    box.send("Third", "else")
    assert box.wait_for(timeout=5, **wanted).subject == "Hello"  # type: ignore[call-overload]


def test_the_delivery_wakes_who_waits(box: Mailbox) -> None:
    """How often the server is asked does not depend on how long it takes."""
    asked = count_requests(box.server)
    timer = threading.Timer(0.2, box.send, ["late"])
    timer.start()
    assert box.wait_for("late").subject == "late"
    timer.join()
    assert asked == ["/api/v1/wait"]


def test_a_pattern_is_asked_again_only_when_something_comes(box: Mailbox) -> None:
    asked = count_requests(box.server)
    box.send("one")
    timer = threading.Timer(0.1, box.send, ["two"])
    timer.start()
    assert box.wait_for(re.compile("two")).subject == "two"
    timer.join()
    assert asked == ["/api/v1/wait"] * 2


def count_requests(server: MailServer) -> list[str]:
    asked: list[str] = []
    ask = server.control.ask

    def counted(method: str, path: str, *rest: object, **more: object) -> object:
        asked.append(path)
        return ask(method, path, *rest, **more)  # type: ignore[arg-type]

    server.control.ask = counted  # type: ignore[method-assign, assignment]
    return asked


@pytest.fixture(autouse=True)
def _uncounted(live: MailServer) -> object:
    yield
    live.control.__dict__.pop("ask", None)


def test_many_messages_that_a_pattern_does_not_want(box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailstack.testing.live.mailbox.MOST_AT_ONCE", 3)
    for number in range(8):
        box.send(f"n{number}")
    timer = threading.Timer(0.05, box.send, ["last"])
    timer.start()
    assert box.wait_for(re.compile("last")).subject == "last"
    timer.join()


def test_a_timeout_tells_what_came_and_what_is_nearest(live: MailServer, box: Mailbox) -> None:
    box.send("Order 7")
    box.send("Reset your pasword", "Hello", sender="shop@x.test")
    other = live.mailbox("somebody")
    other.send("Reset your password", "Hello", sender="shop@x.test")
    with pytest.raises(MailAssertionError) as failure:
        box.wait_for("Reset your password", sender="shop@x.test", timeout=0.01)
    text = str(failure.value)
    assert text.startswith(
        f"no message with subject 'Reset your password' and sender 'shop@x.test' came to {box.address} within 0.01 s\n"
        "it has 2 messages:\n  1  "
    )
    assert "the nearest is " in text
    assert "  subject: expected 'Reset your password'\n  - Reset your password\n" in text
    assert "  sender: expected" not in text
    assert "    C: data\n" in text
    assert "but there is elsewhere:\n" in text
    assert f"to {other.address}" in text.partition("elsewhere")[2]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({}, "no message came to "),
        ({"count": 3}, "no 3 messages came to "),
        ({"subject": re.compile("x+")}, r"subject: pattern 'x\+' is not found in 'Hello'"),
        ({"body": "Good bye"}, "body: 'Good bye' is not in it, but this is:\n  - Good bye\n"),
        ({"match": bool, "subject": "no"}, "what 'bool' wants"),
        ({"match": lambda message: False}, "'<lambda>' does not want it"),
    ],
)
def test_timeouts_of_each_kind(box: Mailbox, wanted: dict[str, object], says: str) -> None:
    if wanted:
        box.send("Hello", "Good by")
    with pytest.raises(MailAssertionError, match=says):
        box.wait_for(timeout=0, **wanted)  # type: ignore[call-overload]


def test_an_error_of_the_callers_match_is_his(box: Mailbox) -> None:
    box.send("hello")
    with pytest.raises(ZeroDivisionError):
        box.wait_for(match=lambda message: 1 // 0 == 1)


def test_nothing_came(box: Mailbox) -> None:
    box.assert_none()
    box.send("hello")
    box.assert_none("bye", within=0.01)
    with pytest.raises(MailAssertionError, match=r"has a message with subject 'hello':\n.*\n  \| From"):
        box.assert_none("hello")


def test_a_program_takes_mail_away(live: MailServer, box: Mailbox) -> None:
    box.send("hello")
    with pytest.raises(MailAssertionError, match="is not empty after 0 s:\n  1  .*'hello'"):
        box.wait_empty(timeout=0)

    def fetch() -> None:
        client = poplib.POP3(*live.pop3)
        client.user(box.address)
        client.pass_(box.password)
        client.dele(1)
        client.quit()

    thread = threading.Thread(target=fetch)
    thread.start()
    box.wait_empty(timeout=10)
    thread.join()


def test_other_mailboxes_and_clear(live: MailServer, box: Mailbox) -> None:
    import imaplib

    with imaplib.IMAP4(*live.imap) as client:
        client.login(box.address, box.password)
        client.create("Sent")
        client.append("Sent", "", "", b"Subject: copy\r\n\r\n")
    box.send("hello")
    sent = box.folder("Sent")
    message = sent.wait_for("copy")
    assert (message.mailbox, message.dialogue, message.envelope_to) == ("Sent", [], [])
    assert [each.subject for each in box.messages] == ["hello"]
    box.clear()
    assert (len(box), len(sent)) == (0, 1)
    assert "no SMTP dialogue is known of it" in box.report()


def test_addresses_are_ones_own(live: MailServer) -> None:
    made = [live.mailbox("Test[Grüße, x]").address for _ in range(2)]
    assert made[0] != made[1]
    assert re.fullmatch(r"test-gr-e-x\.[0-9a-f]{6}\d+@example\.test", made[0])
    assert len(live.mailbox("x" * 300).address.partition("@")[0]) <= 64
    assert live.mailbox("me@shop.test").address == "me@shop.test"


def test_the_user_sends(live: MailServer, box: Mailbox) -> None:
    to, copy, hidden = (live.mailbox(name) for name in ("to", "copy", "hidden"))
    box.send("from me", to=to.address, cc=[copy.address], bcc=hidden.address)
    for each in (to, copy, hidden):
        message = each.wait_for("from me")
        assert (message.auth_user, message.sender, message.bcc) == (box.address, box.address, [])


def test_coroutines_wait_without_blocking_their_loop(box: Mailbox) -> None:
    async def both() -> str:
        waiting = asyncio.create_task(box.wait_for_async("later"))
        await asyncio.sleep(0)
        await asyncio.to_thread(box.send, "later")
        return str((await waiting).subject)

    assert asyncio.run(both()) == "later"


def test_a_coroutine_without_a_loop_is_told(box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "twisted.internet.reactor", raising=False)
    with pytest.raises(RuntimeError, match="call wait_for"):
        box.wait_for_async("x").send(None)


def test_threads_wait_side_by_side(box: Mailbox) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda number=number: found.append(box.wait_for(f"for {number}.").subject))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for number in range(4):
        box.send(f"for {number}.")
    for thread in threads:
        thread.join(10)
    assert sorted(found) == [f"for {number}." for number in range(4)]


def test_a_new_mailbox_asks_the_server_nothing(live: MailServer) -> None:
    asked = count_requests(live)
    begun = time.thread_time()
    for _ in range(100):
        live.mailbox("quick")
    assert time.thread_time() - begun < 0.1  # a hundredth of what a fixture may take, each
    assert asked == []
