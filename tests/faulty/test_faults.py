"""Each fault over the fakes: what the client sees, and what was done nevertheless."""

from __future__ import annotations

from typing import Any

import pytest
from fault_world import Client, FaultWorld
from transcripts import result

from mailstack.faults.connection import garbage
from mailstack.ports import AccountName
from mailstack.testing.faults import CannotSetFault

TO_JOE, TO_ANN = "RCPT TO:<joe@example.org>", "RCPT TO:<ann@example.org>"
FULL = "452 4.2.2 Mailbox full\r\n"


@pytest.fixture
def smtp() -> FaultWorld:
    return FaultWorld("smtp")


@pytest.fixture
def imap() -> FaultWorld:
    return FaultWorld("imap")


@pytest.fixture
def pop3() -> FaultWorld:
    return FaultWorld("pop3")


def greeted(world: FaultWorld, host: str = "192.0.2.1", helo: str = "client.example") -> Client:
    client = world.client(host)
    client.say(f"EHLO {helo}")
    return client


def logged_in(world: FaultWorld, user: str = "joe@example.org") -> Client:
    client = world.client()
    said = client.say(f"a LOGIN {user} secret" if world.protocol == "imap" else f"USER {user}\r\nPASS secret")
    assert "OK" in said, said
    client.say("b SELECT INBOX")
    return client


def in_mailbox(world: FaultWorld, user: str = "joe@example.org") -> int:
    status: Any = result(result(world.fakes.store.account(AccountName(user))).status("INBOX"))
    return int(status.messages)


def put(world: FaultWorld, octets: bytes = b"Subject: x\r\n\r\nHello, this is some text\r\n") -> None:
    from transcript_sessions import factory
    from transcripts import FakeWorld

    fake = FakeWorld(world.fakes.script, factory("smtp", {}))
    fake.fakes = world.fakes
    fake.deliver("joe@example.org", octets)


# --- SMTP


def test_a_recipient_is_refused_twice_and_then_taken(smtp: FaultWorld) -> None:
    fault = smtp.faults.smtp("RCPT", 452, times=2)
    client = greeted(smtp)
    client.say("MAIL FROM:<a@example.net>")
    assert [client.say(TO_JOE) for _ in range(3)] == [FULL, FULL, "250 2.1.5 Recipient ok\r\n"]
    assert fault.hits == 2


def test_pipelined_commands_are_answered_in_their_order(smtp: FaultWorld) -> None:
    smtp.faults.smtp("RCPT", "451 4.7.1 Later", recipient="joe@*")
    smtp.faults.smtp("NOOP", "450 4.0.0 Not now")
    client = greeted(smtp)
    said = client.say(f"MAIL FROM:<a@example.net>\r\nNOOP\r\n{TO_JOE}\r\n{TO_ANN}\r\nNOOP\r\nDATA")
    assert [line[:3] for line in said.splitlines()] == ["250", "450", "451", "250", "450", "354"]
    said = client.say("Subject: x\r\n\r\nMAIL\r\nNOOP\r\n..\r\n.\r\nNOOP\r\nRSET")
    assert [line[:3] for line in said.splitlines()] == ["250", "450", "250"], "lines of the message are no commands"
    assert in_mailbox(smtp, "ann@example.org") == 1


def test_the_end_of_the_message_is_refused_and_nothing_is_delivered(smtp: FaultWorld) -> None:
    with smtp.faults.smtp("MESSAGE", "554 5.6.0 Not this one", sender="a@*"):
        assert send(smtp, "joe@example.org").endswith("554 5.6.0 Not this one\r\n")
        assert in_mailbox(smtp) == 0
    assert send(smtp, "joe@example.org").endswith("\r\n") and in_mailbox(smtp) == 1


def send(world: FaultWorld, recipient: str) -> str:
    client = greeted(world)
    for command in ("MAIL FROM:<a@example.net>", f"RCPT TO:<{recipient}>", "DATA"):
        client.say(command)
    return client.say("Subject: x\r\n\r\nx\r\n.")


def test_by_chunks_it_is_the_same(smtp: FaultWorld) -> None:
    smtp.faults.smtp("MESSAGE", 554, times=1)
    smtp.faults.smtp("BDAT", delay=1, times=1)
    client = greeted(smtp)
    client.say("MAIL FROM:<a@example.net>")
    client.say(TO_JOE)
    assert client.send(b"BDAT 6 LAST\r\nNOOP\r\nQUIT\r\n") == "", "it is delayed"
    smtp.fakes.clock.advance(1)
    assert [line[:3] for line in client.heard().splitlines()] == ["554", "221"]


def test_the_conditions_all_have_to_be_true(smtp: FaultWorld) -> None:
    smtp.faults.smtp("MAIL", 450, client="198.51.100.0/24", helo="*.example")
    mail = "MAIL FROM:<a@example.net>"
    assert greeted(smtp).say(mail).startswith("250")
    assert greeted(smtp, "198.51.100.7", "client.test").say(mail).startswith("250")
    assert greeted(smtp, "198.51.100.7").say(mail) == "450 4.2.1 Mailbox unavailable\r\n"


def test_two_clients_at_once_have_their_own_faults(smtp: FaultWorld) -> None:
    smtp.faults.smtp("MAIL", delay=5, helo="slow.example")
    smtp.faults.smtp("MAIL", 450, helo="refused.example")
    slow, refused = greeted(smtp, helo="slow.example"), greeted(smtp, helo="refused.example")
    assert slow.say("MAIL FROM:<a@example.net>") == ""
    assert refused.say("MAIL FROM:<a@example.net>").startswith("450")
    smtp.fakes.clock.advance(5)
    assert slow.heard().startswith("250")


def test_greylisting_refuses_each_triplet_once(smtp: FaultWorld) -> None:
    smtp.faults.greylist()
    client = greeted(smtp)
    client.say("MAIL FROM:<a@example.net>")
    assert [client.say(to)[:3] for to in (TO_JOE, TO_ANN, TO_JOE, TO_ANN)] == ["451", "451", "250", "250"]
    client.say("RSET")
    client.say("MAIL FROM:<b@example.net>")
    assert client.say(TO_JOE).startswith("451")


def test_chance_is_the_same_with_the_same_seed(smtp: FaultWorld) -> None:
    runs = []
    for seed in (1, 1, 2):
        with smtp.faults.smtp("NOOP", 450, probability=0.5, seed=seed):
            client = greeted(smtp)
            runs.append([client.say("NOOP")[:3] for _ in range(40)])
    assert runs[0] == runs[1] != runs[2]
    assert 10 < runs[0].count("450") < 30


def test_a_fault_ends_with_its_block(smtp: FaultWorld) -> None:
    client = greeted(smtp)
    with pytest.raises(ZeroDivisionError), smtp.faults.smtp("NOOP", 421):
        raise ZeroDivisionError
    assert client.say("NOOP").startswith("250") and smtp.book.is_empty


def test_a_fault_is_for_connections_that_are_open_already(smtp: FaultWorld) -> None:
    client = greeted(smtp)
    with smtp.faults.smtp("NOOP", 450) as fault:
        assert client.say("NOOP").startswith("450")
    assert client.say("NOOP").startswith("250") and fault.hits == 1


def test_421_closes(smtp: FaultWorld) -> None:
    smtp.faults.smtp("NOOP", 421)
    client = greeted(smtp)
    assert client.say("NOOP\r\nNOOP") == "421 4.3.2 Service not available\r\n" and client.ended


def test_the_greeting_is_refused(smtp: FaultWorld) -> None:
    smtp.faults.smtp("CONNECT", "554 No service")
    client = smtp.client()
    assert client.heard() == "554 No service\r\n" and client.ended


def test_connections_are_dropped_before_and_cut_after(smtp: FaultWorld) -> None:
    with smtp.faults.smtp("MESSAGE", drop=True):
        assert send(smtp, "joe@example.org") == "" and in_mailbox(smtp) == 0
    with smtp.faults.smtp("MESSAGE", cut=0):
        assert send(smtp, "joe@example.org") == "" and in_mailbox(smtp) == 1, "delivered, and nobody knows"
    with smtp.faults.smtp("EHLO", cut="line"):
        client = smtp.client()
        client.heard()
        said = client.say("EHLO x.example")
        assert said.startswith("250-mx.") and "\r\n" not in said and client.ended


def test_a_connection_is_reset(smtp: FaultWorld) -> None:
    smtp.faults.smtp("DATA", drop="reset")
    client = greeted(smtp)
    client.say(f"MAIL FROM:<a@example.net>\r\n{TO_JOE}")
    assert client.say("DATA") == "" and client.was_reset and client.ended


def test_addresses_name_their_fault(smtp: FaultWorld) -> None:
    client = greeted(smtp)
    assert client.say("MAIL FROM:<a+fault-mail-451@example.net>").startswith("451 4.3.0")
    client.say("MAIL FROM:<a@example.net>")
    assert client.say("RCPT TO:<joe+fault-452@example.org>") == FULL
    assert client.say("RCPT TO:<joe@rcpt-450-x1.fault.test>").startswith("450")
    assert client.say("RCPT TO:<joe@rcpt-450-x1.fault.test>").startswith("550"), "only the first time"
    assert client.say("RCPT TO:<joe+fault-nonsense@example.org>").startswith("501 5.1.3 Cannot read the fault")
    assert client.say("RCPT TO:<default@example.org>").startswith("550 5.1.1")
    assert client.say(TO_JOE).startswith("250")
    address = "joe+fault-message-cut-0@example.org"
    assert send(smtp, address) == "" and in_mailbox(smtp, address) == 1


def test_a_throttled_reply_comes_bit_by_bit(smtp: FaultWorld) -> None:
    smtp.faults.smtp("EHLO", throttle=20)
    client = smtp.client()
    client.heard()
    assert client.say("EHLO x.example") == "2"
    for octets in (1, 2):
        smtp.fakes.clock.advance(0.05 * octets)
        assert len(client.heard()) == octets
    smtp.fakes.clock.advance(60)
    assert "PIPELINING\r\n" in client.heard()


# --- IMAP


def test_a_command_of_imap_is_refused(imap: FaultWorld) -> None:
    client = logged_in(imap)
    imap.faults.imap("STATUS", "NO [UNAVAILABLE] Later", times=1)
    imap.faults.imap("UID SEARCH", "BAD")
    assert client.say("c STATUS INBOX (MESSAGES)") == "c NO [UNAVAILABLE] Later\r\n"
    assert client.say("d STATUS INBOX (MESSAGES)").endswith("d OK STATUS completed\r\n")
    assert client.say("e UID SEARCH ALL") == "e BAD Fault on demand\r\n"
    assert client.say("f SEARCH ALL").endswith("f OK SEARCH completed\r\n")


def test_literals_are_swallowed_with_their_command(imap: FaultWorld) -> None:
    client = logged_in(imap)
    with imap.faults.mailbox_full(protocol="imap", login="joe@*"):
        said = client.say("c APPEND INBOX (\\Seen) {18+}\r\nx FETCH 1 FLAGS\r\nx\r\nd NOOP")
        assert said.startswith("c NO [OVERQUOTA] Mailbox full\r\nd OK"), said
        assert client.say("e APPEND INBOX {5}") == "e NO [OVERQUOTA] Mailbox full\r\n"
        assert client.say("f NOOP").startswith("f OK")
    assert client.say("g APPEND INBOX {18}").startswith("+")
    imap.faults.imap("FETCH", "NO never")
    assert "g OK" in client.say("x FETCH 1 FLAGS\r\nx"), "an octet of a literal is no command"
    assert in_mailbox(imap) == 1


def test_a_literal_is_cut_in_the_middle(imap: FaultWorld) -> None:
    put(imap)
    client = logged_in(imap)
    imap.faults.imap("FETCH", cut="literal")
    said = client.say("c UID FETCH 1 (FLAGS BODY.PEEK[])")
    head, literal = said.split("}\r\n")
    octets = int(head.split("{")[1])
    assert len(literal) == octets // 2 and client.ended


def test_bye_ends_it(imap: FaultWorld) -> None:
    imap.faults.imap("NOOP", "BYE [UNAVAILABLE] Going away")
    client = logged_in(imap)
    assert client.say("c NOOP") == "* BYE [UNAVAILABLE] Going away\r\n" and client.ended


def test_a_greeting_is_a_bye(imap: FaultWorld) -> None:
    imap.faults.imap("CONNECT", "NO [UNAVAILABLE] Maintenance")
    client = imap.client()
    assert client.heard() == "* BYE [UNAVAILABLE] Maintenance\r\n" and client.ended


def test_a_slow_login_waits_in_each_way(imap: FaultWorld) -> None:
    imap.faults.slow_login(3)
    for command in ("a LOGIN joe@example.org secret", "a AUTHENTICATE PLAIN AGpvZUBleGFtcGxlLm9yZwBzZWNyZXQ="):
        client = imap.client()
        client.heard()
        assert client.say(command) == ""
        imap.fakes.clock.advance(3)
        assert "a OK" in client.heard()


def test_the_login_is_known_by_all_its_forms(imap: FaultWorld) -> None:
    imap.faults.imap("NOOP", "NO joe", login="joe@example.org")
    first = imap.client()
    first.say('a LOGIN "joe@example.org" secret')
    second = imap.client()
    second.say("a AUTHENTICATE PLAIN")
    second.say("AGpvZUBleGFtcGxlLm9yZwBzZWNyZXQ=")
    assert [each.say("b NOOP") for each in (first, second)] == ["b NO joe\r\n"] * 2
    assert logged_in(imap, "ann@example.org").say("b NOOP").startswith("b OK")


def test_idle_goes_on_with_faults_set(imap: FaultWorld) -> None:
    client = logged_in(imap)
    imap.faults.imap("*", "NO nothing")
    imap.faults.clear()
    imap.faults.imap("FETCH", "NO nothing")
    assert client.say("c IDLE").startswith("+")
    put(imap)
    assert "* 1 EXISTS" in client.heard()
    assert client.say("DONE").startswith("c OK")
    assert client.say("d FETCH 1 FLAGS") == "d NO nothing\r\n"


def test_who_hangs_says_nothing_more(imap: FaultWorld) -> None:
    client = logged_in(imap)
    imap.faults.imap("FETCH", hang=True)
    assert client.say("c NOOP\r\nd FETCH 1 FLAGS\r\ne NOOP").startswith("c OK")
    assert client.say("f NOOP") == "" and not client.is_read and not client.ended
    client.connection.time_out()
    assert client.ended and client.heard() == "", "not even that it is over"


def test_garbage_comes_instead_of_a_reply(imap: FaultWorld) -> None:
    client = logged_in(imap)
    imap.faults.imap("NOOP", garbage=32, times=1)
    assert client.say("c NOOP") == garbage(32).decode("latin-1") + "\r\n"
    assert client.say("d NOOP").startswith("d OK")


def test_compression_begins_where_it_should(imap: FaultWorld) -> None:
    from mailstack.net.deflate import Deflate

    client = logged_in(imap)
    imap.faults.imap("STATUS", "NO squeezed")
    theirs = Deflate()
    said = client.send(b"c COMPRESS DEFLATE\r\n" + theirs.compress(b"d STATUS INBOX (MESSAGES)\r\n"))
    octets = said.encode("latin-1")
    theirs.feed(octets.partition(b"\r\n")[2])
    assert theirs.take() == b"d NO squeezed\r\n"


# --- POP3


def test_pop3_refuses_and_cuts_a_message(pop3: FaultWorld) -> None:
    put(pop3)
    client = logged_in(pop3)
    pop3.faults.pop3("STAT", "-ERR [SYS/TEMP] Later", times=1)
    pop3.faults.pop3("RETR", cut="literal")
    assert client.say("STAT") == "-ERR [SYS/TEMP] Later\r\n"
    assert client.say("STAT").startswith("+OK 1 ")
    said = client.say("RETR 1")
    head, _, text = said.partition("\r\n")
    assert len(text) == int(head.split()[1]) // 2 and client.ended


def test_pop3_refuses_tls_and_the_password(pop3: FaultWorld) -> None:
    pop3.faults.refuse_tls("pop3")
    client = pop3.client()
    client.heard()
    assert client.say("STLS") == "-ERR [SYS/TEMP] TLS not available\r\n"
    client.say("USER joe+fault-login-err@example.org")
    pop3.faults.pop3("PASS", "-ERR", login="joe+*")
    assert client.say("PASS secret") == "-ERR Fault on demand\r\n"


# --- what cannot be


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"protocol": "nntp"}, "protocol: expected smtp"),
        ({"protocol": "smtp", "at": "RCTP", "reply": 452}, "expected a stage of smtp"),
        ({"protocol": "smtp", "reply": 452}, "at: expected where"),
        ({"protocol": "smtp", "at": "RCPT"}, "expected one of reply"),
        ({"protocol": "smtp", "at": "RCPT", "reply": 452, "drop": True}, "there are 2"),
        ({"protocol": "smtp", "at": "RCPT", "reply": 250}, "a code from 400 to 599"),
        ({"protocol": "imap", "at": "NOOP", "reply": "OK"}, "expected NO, BAD or BYE"),
        ({"protocol": "pop3", "at": "NOOP", "reply": "NO"}, "expected -ERR"),
        ({"protocol": "smtp", "at": "RCPT", "reply": "452 a\r\n250 b"}, "one line of ASCII"),
        ({"protocol": "smtp", "at": "RCPT", "delay": -1}, "delay: expected a number"),
        ({"protocol": "smtp", "at": "RCPT", "delay": True}, "delay: expected a number"),
        ({"protocol": "smtp", "at": "RCPT", "throttle": 0}, "throttle: expected a number"),
        ({"protocol": "smtp", "at": "MESSAGE", "garbage": 9}, "at MESSAGE there is none"),
        ({"protocol": "smtp", "at": "TLS", "drop": True}, "a certificate can be bad"),
        ({"protocol": "smtp", "certificate": "old"}, "certificate: expected expired"),
        ({"protocol": "pop3", "preset": "mailbox-full"}, "nothing is put"),
        ({"protocol": "imap", "preset": "greylist"}, "preset: expected"),
        ({"protocol": "smtp", "at": "RCPT", "reply": 452, "time": 2}, "unknown: time"),
        ({"protocol": "smtp", "at": "RCPT", "reply": 452, "times": 0}, "times: expected 1"),
        ({"protocol": "smtp", "at": "RCPT", "reply": 452, "probability": 0}, "probability: expected"),
        ({"protocol": "smtp", "at": "RCPT", "reply": 452, "recipient": 5}, "recipient: expected a text"),
    ],
)
def test_what_cannot_be_is_said(smtp: FaultWorld, document: dict[str, Any], why: str) -> None:
    with pytest.raises(CannotSetFault, match=why):
        smtp.faults.set(**document)
    assert smtp.book.is_empty


def test_a_list_says_what_is_set(smtp: FaultWorld) -> None:
    smtp.faults.smtp("helo", 421, times=2, helo="*.example")
    smtp.faults.certificate("expired", "imap")
    greeted(smtp)
    assert smtp.faults.listed() == [
        {"id": "f1", "protocol": "smtp", "at": "EHLO", "reply": "421 4.3.2 Service not available",
         "helo": "*.example", "times": 2, "hits": 1, "left": 1},
        {"id": "f2", "protocol": "imap", "at": "TLS", "certificate": "expired", "hits": 0, "left": None},
    ]  # fmt: skip


def test_without_faults_octets_go_through_as_they_come(imap: FaultWorld) -> None:
    plain, wrapped = Client(imap, "127.0.0.1", wrapped=False), imap.client()
    batch = b"a LOGIN joe@example.org secret\r\nb SELECT INBOX\r\nc NO"
    assert plain.send(batch).replace("c1", "") == wrapped.send(batch).replace("c1", "")
    assert plain.connection.writes == wrapped.connection.writes
