"""Sessions over the fakes: what the store and the queue get, and what happens when they refuse."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from mailstack.config.sections import BareNewline, Vrfy
from mailstack.errors import Problem
from mailstack.mail.address import Address
from mailstack.ports import AccountName, Blob, Delivery, TlsInfo
from mailstack.smtp.session import SmtpSession
from mailstack.smtp.settings import Role, SmtpResources, SmtpSettings
from mailstack.testing.accounts import MemoryAccounts, MemoryDirectory
from mailstack.testing.clock import ManualClock
from mailstack.testing.connection import MemoryConnection
from mailstack.testing.counters import MemoryCounters
from mailstack.testing.log import RecordingLog
from mailstack.testing.outbound import MemoryOutbound
from mailstack.testing.spool import octets_of
from mailstack.testing.store import MemorySpool, MemoryStore

USERS = {"joe@example.com": "secret", "ann@example.com": "secret", "bob@example.com": "secret"}
ALIASES = {"both@example.com": ("joe@example.com", "ann@example.com")}
LOG_IN = b"AUTH PLAIN AGpvZUBleGFtcGxlLmNvbQBzZWNyZXQ=\r\n"


class Store(MemoryStore):
    """Keeps what it was asked to deliver; `problems` is the answer for each account."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: dict[str, Problem] = {}
        self.got: list[tuple[Delivery, bytes]] = []
        self.bug: Exception | None = None

    async def deliver(self, blob: Blob, deliveries: Sequence[Delivery]) -> Sequence[Problem | None]:
        if self.bug is not None:
            raise self.bug
        answers = [self.problems.get(delivery.account) for delivery in deliveries]
        self.got += [(d, octets_of(blob)) for d, answer in zip(deliveries, answers, strict=True) if answer is None]
        return answers


class World:
    """One session and everything around it."""

    def __init__(self, *, tls: bool = False, **changes: object) -> None:
        self.store, self.spool, self.outbound = Store(), MemorySpool(), MemoryOutbound()
        self.log, self.counters, self.clock = RecordingLog(), MemoryCounters(), ManualClock()
        self.directory = MemoryDirectory(USERS, ALIASES)
        self.accounts = MemoryAccounts(USERS)
        self.connection = MemoryConnection(tls=TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384") if tls else None)
        resources = SmtpResources(
            self.directory, self.accounts, self.store, self.outbound, self.spool, self.log, self.counters, self.clock
        )
        chosen = SmtpSettings(hostname="mx.example", **changes)  # type: ignore[arg-type]
        self.session = SmtpSession(self.connection, resources, chosen)
        self.over: list[object] = []
        Deferred.fromCoroutine(self.session.run()).addBoth(self.over.append)
        self.connection.take()

    def say(self, octets: bytes) -> bytes:
        self.connection.feed(octets)
        return self.connection.take()

    def send(
        self, *recipients: bytes, sender: bytes = b"a@example.org", body: bytes = b"Subject: x\r\n\r\nx\r\n"
    ) -> bytes:
        """EHLO if need be, and a message; the last line of the answer."""
        to = b"".join(b"RCPT TO:<%s>\r\n" % recipient for recipient in recipients)
        self.say(b"EHLO client.example\r\n")
        return self.say(b"MAIL FROM:<%s>\r\n%sDATA\r\n%s.\r\n" % (sender, to, body)).split(b"\r\n")[-2]


def test_what_a_mailbox_gets() -> None:
    world = World()
    assert world.send(b"Joe@example.com", body=b"Subject: x\r\n\r\n..dot\r\n") == b"250 2.0.0 Ok c1.1"
    [(delivery, octets)] = world.store.got
    assert delivery.account == "joe@example.com" and delivery.mailbox == "INBOX"
    assert delivery.prefix == (
        b"Return-Path: <a@example.org>\r\n"
        b"Delivered-To: Joe@example.com\r\n"
        b"Received: from client.example ([127.0.0.1])\r\n"
        b"\tby mx.example with ESMTP id c1.1\r\n"
        b"\tfor <Joe@example.com>;\r\n"
        b"\tTue, 14 Nov 2023 22:13:20 +0000\r\n"
    )
    assert octets == b"Subject: x\r\n\r\n.dot\r\n"
    assert world.spool.leaks == 0


@pytest.mark.parametrize(
    ("helo", "mail", "shown"),
    [
        ("b\u00fccher.example", b"", "xn--bcher-kva.example"),
        ("b\u00fccher.example", b" SMTPUTF8", "b\u00fccher.example"),
        ("\u00e4" * 80 + ".example", b"", "unknown"),
    ],
)
def test_a_trace_field_is_in_utf_8_only_if_the_message_is(helo: str, mail: bytes, shown: str) -> None:
    world = World()
    assert world.say(b"EHLO %b\r\n" % helo.encode()).isascii()
    world.say(b"MAIL FROM:<>%b\r\nRCPT TO:<joe@example.com>\r\nDATA\r\n.\r\n" % mail)
    assert f"Received: from {shown} (".encode() in world.store.got[0][0].prefix


def test_with_several_recipients_none_is_named_to_the_others() -> None:
    world = World()
    world.send(b"joe@example.com", b"ann@example.com", sender=b"")
    assert [d.account for d, _ in world.store.got] == ["joe@example.com", "ann@example.com"]
    for delivery, _ in world.store.got:
        assert b"for <" not in delivery.prefix and delivery.prefix.startswith(b"Return-Path: <>\r\n")


def test_each_account_gets_one_copy() -> None:
    world = World()
    assert world.send(b"joe@example.com", b"joe+list@example.com", b"both@example.com", b"JOE@example.com").startswith(
        b"250"
    )
    assert sorted(d.account for d, _ in world.store.got) == ["ann@example.com", "joe@example.com"]


@pytest.mark.parametrize(
    ("tls", "greeting", "login", "word"),
    [(False, b"HELO c", False, b"SMTP"), (True, b"EHLO c", False, b"ESMTPS"), (True, b"EHLO c", True, b"ESMTPSA")],
)
def test_with_protocol(tls: bool, greeting: bytes, login: bool, word: bytes) -> None:
    world = World(tls=tls, accept_any=True)
    world.say(greeting + b"\r\n" + (LOG_IN if login else b""))
    world.say(b"MAIL FROM:<joe@example.com>\r\nRCPT TO:<joe@example.com>\r\nDATA\r\n.\r\n")
    [(delivery, _)] = world.store.got
    assert b" with " + word + b" id " in delivery.prefix
    assert (b"(using TLSv1.3 TLS_AES_256_GCM_SHA384)" in delivery.prefix) is tls


@pytest.mark.parametrize(
    ("body", "added"),
    [
        (b"Subject: x\r\n\r\nDate: y\r\n", [b"Date: ", b"Message-ID: <1700000000.c1.1@mx.example>"]),
        (b"DATE: y\r\n\r\n", [b"Message-ID: "]),
        (b"Message-Id: <y@z>\r\nSubject: x\r\n\r\n", [b"Date: "]),
        (b"Date: y\r\nmessage-id: <y@z>\r\n", []),
        (b"", [b"Date: ", b"Message-ID: "]),
    ],
)
def test_a_submission_gets_what_it_lacks(body: bytes, added: list[bytes]) -> None:
    world = World(tls=True, role=Role.SUBMISSION)
    world.say(b"EHLO c\r\n" + LOG_IN)
    assert world.send(b"ann@example.com", sender=b"joe@example.com", body=body).startswith(b"250 ")
    [(delivery, octets)] = world.store.got
    assert octets == body
    lines = delivery.prefix.split(b"\r\n")
    for name in (b"Date: ", b"Message-ID: "):
        assert any(line.startswith(name) for line in lines) is any(a.startswith(name) for a in added)
    assert all(any(line.startswith(a) for line in lines) for a in added)


def test_nothing_is_added_to_what_strangers_send() -> None:
    world = World()
    world.send(b"joe@example.com")
    assert b"\r\nDate:" not in world.store.got[0][0].prefix and b"Message-ID" not in world.store.got[0][0].prefix


def submission() -> World:
    world = World(tls=True, role=Role.SUBMISSION)
    assert world.say(b"EHLO c\r\n" + LOG_IN).endswith(b"235 2.7.0 Authentication successful\r\n")
    return world


def test_remote_recipients_go_to_the_queue() -> None:
    world = submission()
    assert world.send(b"x@else.example", b"ann@example.com", b"x@else.example", sender=b"joe@example.com").startswith(
        b"250 "
    )
    [item] = world.outbound.items
    assert item.envelope.sender == Address("joe", "example.com")
    assert item.envelope.recipients == (Address("x", "else.example"),)
    assert item.envelope.account == "joe@example.com"
    assert item.message.startswith(b"Received: ") and item.message.endswith(b"\r\n\r\nx\r\n")
    assert len(world.store.got) == 1 and world.spool.leaks == 0


def test_a_queue_that_refuses_leaves_nothing_behind() -> None:
    world = submission()
    world.outbound.problem = Problem.QUEUE_UNAVAILABLE
    assert world.send(b"x@else.example", b"ann@example.com", sender=b"joe@example.com").startswith(b"451 4.3.0")
    assert not world.store.got and world.spool.leaks == 0


def test_a_mailbox_that_cannot_take_it_now_gets_it_later() -> None:
    world = World()
    world.store.problems["ann@example.com"] = Problem.STORE_UNAVAILABLE
    assert world.send(b"joe@example.com", b"ann@example.com").startswith(b"250 ")
    [item] = world.outbound.items
    assert item.envelope.recipients == (Address("ann", "example.com"),)
    assert b"Return-Path" not in item.message and [d.account for d, _ in world.store.got] == ["joe@example.com"]
    assert "delivery deferred" in world.log.whats("warning")


def test_of_an_alias_only_the_one_that_failed_gets_it_later() -> None:
    world = World()
    world.store.problems["ann@example.com"] = Problem.OVER_QUOTA
    assert world.send(b"both@example.com").startswith(b"250 ")
    assert world.outbound.items[0].envelope.recipients == (Address("ann", "example.com"),)


@pytest.mark.parametrize(
    ("problem", "reply"),
    [
        (Problem.OVER_QUOTA, b"452 4.2.2 "),
        (Problem.DISK_FULL, b"452 4.3.1 "),
        (Problem.STORE_UNAVAILABLE, b"451 4.3.0 "),
    ],
)
def test_when_nobody_can_have_it_nothing_is_kept(problem: Problem, reply: bytes) -> None:
    world = World()
    world.store.problems = dict.fromkeys(USERS, problem)
    assert world.send(b"joe@example.com", b"ann@example.com").startswith(reply)
    assert not world.outbound.items and not world.store.got and world.spool.leaks == 0
    assert world.counters.totals["smtp_messages", "refused"] == 1


def test_when_the_queue_refuses_the_rest_the_sender_has_to_try_again() -> None:
    world = World()
    world.store.problems["ann@example.com"] = Problem.STORE_UNAVAILABLE
    world.outbound.problem = Problem.DISK_FULL
    assert world.send(b"joe@example.com", b"ann@example.com").startswith(b"452 4.3.1")
    [line] = [line for line in world.log.lines if line.what == "refused"]
    assert "1 recipients have it" in str(line.fields["detail"])


@pytest.mark.parametrize("chunked", [False, True])
def test_a_full_disk_swallows_the_message(chunked: bool) -> None:
    world = World()
    world.spool.problem = Problem.DISK_FULL
    body = b"RSET\r\nQUIT\r\n"
    if chunked:
        world.say(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<joe@example.com>\r\n")
        assert world.say(b"BDAT 12 LAST\r\n" + body + b"NOOP\r\n").split(b"\r\n")[:-1] == [
            b"452 4.3.1 Insufficient system storage",
            b"250 2.0.0 Ok",
        ]
    else:
        assert world.send(b"joe@example.com", body=body).startswith(b"452 4.3.1")
    assert world.say(b"NOOP\r\n") == b"250 2.0.0 Ok\r\n"
    assert world.spool.leaks == 0


def test_a_large_message_is_swallowed_without_being_kept() -> None:
    world = World(max_size=100_000)
    world.say(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<joe@example.com>\r\nDATA\r\n")
    for _ in range(50):
        assert world.say(b"x" * 50_000) == b""
    assert not world.spool.open_sinks
    assert world.say(b"\r\n.\r\n") == b"552 5.3.4 Message size exceeds the limit\r\n"
    assert not world.over


def test_a_bug_is_451_and_the_session_goes_on() -> None:
    world = World()
    world.store.bug = ZeroDivisionError("a bug")
    assert world.send(b"joe@example.com") == b"451 4.3.0 Internal error; try again later"
    assert [type(line.error) for line in world.log.failures] == [ZeroDivisionError]
    assert world.counters.totals["internal_errors", "smtp"] == 1
    world.store.bug = None
    assert world.send(b"joe@example.com").startswith(b"250 ")
    assert world.spool.leaks == 0


def test_a_bug_in_the_spool_does_not_turn_mail_data_into_commands() -> None:
    world = World()

    def broken() -> None:
        raise ZeroDivisionError

    world.spool.sink = broken  # type: ignore[method-assign,assignment]
    assert world.send(b"joe@example.com", body=b"QUIT\r\n").startswith(b"451 4.3.0")
    assert not world.over


def test_a_directory_that_is_down_is_a_passing_trouble() -> None:
    world = World()
    world.directory.problem = Problem.STORE_UNAVAILABLE
    world.say(b"EHLO c\r\nMAIL FROM:<>\r\n")
    assert world.say(b"RCPT TO:<joe@example.com>\r\n").startswith(b"451 4.3.0")


@pytest.mark.parametrize(
    ("problem", "reply"),
    [(Problem.LOGIN_UNAVAILABLE, b"454 4.7.0 "), (Problem.TOO_MANY_FAILURES, b"454 4.7.0 ")],
)
def test_logins_that_cannot_be_checked(problem: Problem, reply: bytes) -> None:
    world = World(tls=True, role=Role.SUBMISSION)
    world.accounts.problem = problem
    world.say(b"EHLO c\r\n")
    for _ in range(5):
        assert world.say(LOG_IN).startswith(reply)


def test_no_secret_in_the_log() -> None:
    world = World(tls=True, role=Role.SUBMISSION, max_login_failures=9)
    world.say(b"EHLO c\r\nAUTH PLAIN AGpvZUBleGFtcGxlLmNvbQBodW50ZXIy\r\nAUTH LOGIN am9l\r\naHVudGVyMg==\r\n" + LOG_IN)
    assert world.log.whats() == ["login failed", "login failed", "login"]
    for word in ("hunter2", "secret", "aHVudGVyMg", "AGpvZU"):
        assert word not in repr(world.log.lines)


def test_one_line_of_log_for_a_message() -> None:
    world = World()
    world.send(b"joe@example.com", b"ann@example.com")
    [line] = world.log.lines
    assert line.what == "mail accepted"
    assert line.fields == {
        "conn": "c1",
        "id": "c1.1",
        "sender": "a@example.org",
        "to": "joe@example.com,ann@example.com",
        "size": 17,
        "peer": "127.0.0.1",
        "login": None,
        "reply": None,
    }
    assert world.counters.totals["smtp_messages", "accepted"] == 1
    assert world.counters.totals["smtp_recipients", "accepted"] == 2


def test_pipelined_commands_cost_one_write() -> None:
    world = World()
    world.say(b"EHLO c\r\n")
    before = world.connection.writes
    world.say(b"MAIL FROM:<>\r\nRCPT TO:<joe@example.com>\r\nDATA\r\nx\r\n.\r\nNOOP\r\n" + b"NOOP\r\n" * 50)
    assert world.connection.writes == before + 1


def test_a_client_that_does_not_read_is_waited_for() -> None:
    world = World()
    stalled: Deferred[None] = Deferred()
    world.connection.stalled = stalled
    world.connection.feed(b"NOOP\r\n" * 10_000)
    assert not world.connection.waiting
    world.connection.feed(b"NOOP\r\n")
    world.connection.stalled = None
    stalled.callback(None)
    assert world.connection.waiting and world.connection.take() == b"250 2.0.0 Ok\r\n" * 10_001


def test_timeouts_are_those_of_the_rfc() -> None:
    world = World()
    assert world.connection.timeout == 300
    world.say(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<joe@example.com>\r\nDATA\r\n")
    assert world.connection.timeout == 180
    world.say(b".\r\n")
    assert world.connection.timeout == 300


DIALOGUE = (
    b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<joe@example.com>\r\nDATA\r\nA: b\r\n\r\n..\r\n.\nx\r\n.\r\n"
    b"MAIL FROM:<>\r\nRCPT TO:<no@example.com>\r\nRCPT TO:<ann@example.com>\r\n"
    b"BDAT 7\r\nA: b\r\n\rBDAT 3 LAST\r\n\nx\nNOOP\r\n"
    b"BDAT 2\r\n\r\nWHAT\r\nQUIT\r\n"
)


def played(parts: list[bytes]) -> tuple[bytes, list[tuple[Delivery, bytes]]]:
    world = World(bare_newline=BareNewline.REPAIR)
    answer = b"".join(world.say(part) for part in parts)
    assert world.over == [None] and world.spool.leaks == 0
    return answer, world.store.got


WHOLE = played([DIALOGUE])


def test_the_dialogue_is_what_it_should_be() -> None:
    assert [octets for _, octets in WHOLE[1]] == [b"A: b\r\n\r\n.\r\n\r\nx\r\n", b"A: b\r\n\r\nx\r\n"]
    assert WHOLE[0].endswith(
        b"250 2.0.0 Ok\r\n503 5.5.1 Need MAIL first\r\n500 5.5.1 Command unrecognized\r\n221 2.0.0 Bye\r\n"
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(DIALOGUE)), max_size=8))
def test_cut_anywhere_the_session_says_the_same(cuts: list[int]) -> None:
    borders = [0, *sorted(cuts), len(DIALOGUE)]
    assert played([DIALOGUE[a:b] for a, b in zip(borders, borders[1:], strict=False)]) == WHOLE


def test_octet_by_octet_the_session_says_the_same() -> None:
    assert played([DIALOGUE[i : i + 1] for i in range(len(DIALOGUE))]) == WHOLE


COMMANDS = """EHLO c|MAIL FROM:<>|RCPT TO:<joe@example.com>|DATA|.|BDAT 2|BDAT 0 LAST|RSET|AUTH LOGIN|*|STARTTLS
NOOP|x|VRFY a|HELO c|AUTH PLAIN =|MAIL FROM:<a@b> SIZE=99999999
MAIL FROM:<joe@example.com> BODY=BINARYMIME MT-PRIORITY=3|RCPT TO:<joe@example.com> NOTIFY=SUCCESS
XCLIENT ADDR=192.0.2.1|XFORWARD ADDR=192.0.2.1|ETRN x.example|EXPN joe@example.com
BURL imap://x/y/;UID=1;URLAUTH=anonymous LAST|BDAT 0""".replace("\n", "|").split("|")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(COMMANDS).map(lambda line: line.encode() + b"\r\n"), max_size=30),
    st.sampled_from([Role.RECEIVE, Role.SUBMISSION]),
)
def test_any_order_of_commands_is_answered_without_a_bug(lines: list[bytes], role: Role) -> None:
    world = World(
        accept_any=True, tls_available=True, allow_plaintext_auth=True, max_errors=1000, vrfy=Vrfy.EVERYBODY, role=role,
        xclient_trusted=(ip_network("127.0.0.0/8"),), etrn_allowed=(ip_network("192.0.2.0/24"),), auth_required=False,
    )  # fmt: skip
    for line in lines:
        world.say(line)
    assert not world.log.failures
    if not world.over:
        world.connection.close()
    assert world.over == [None] and world.spool.leaks == 0


def test_account_names_without_a_domain_can_be_queued() -> None:
    from mailstack.smtp.delivery import _address_of

    assert _address_of(AccountName("joe")) == Address("joe", "")
