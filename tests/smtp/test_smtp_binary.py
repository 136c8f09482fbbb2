"""Messages that come in pieces which are no lines: BINARYMIME by BDAT, and BURL."""

from __future__ import annotations

import base64
from email import message_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_smtp_session import LOG_IN, World

from mailstack.imap.url_content import token
from mailstack.ports import AccountName
from mailstack.smtp.settings import Role
from mailstack.smtp.wire.framing import NewlineRepair

CONTENT = bytes(range(256)) * 8 + b"\r\n.\r\nQUIT\r\n\n.\n\r.\r"
HEAD = (
    b'Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
    b"--b\r\n\r\nhello\r\n--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n"
)
BINARY = HEAD + CONTENT + b"\r\n--b--\r\n"


def last(answer: bytes) -> bytes:
    return answer.split(b"\r\n")[-2]


def began(mail: bytes = b" BODY=BINARYMIME") -> World:
    world = World()
    world.say(b"EHLO c\r\nMAIL FROM:<a@b.example>%s\r\nRCPT TO:<joe@example.com>\r\n" % mail)
    return world


def chunks(octets: bytes, size: int) -> bytes:
    pieces = [octets[at : at + size] for at in range(0, len(octets), size)]
    return b"".join(b"BDAT %d\r\n%b" % (len(piece), piece) for piece in pieces) + b"BDAT 0 LAST\r\n"


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_a_binary_part_comes_back_as_it_was(size: int) -> None:
    world = began()
    assert last(world.say(chunks(BINARY, size))).startswith(b"250 2.0.0 Ok c1.1")
    [(_, octets)] = world.store.got
    first, second = message_from_bytes(octets).get_payload()  # type: ignore[misc]
    assert first.get_payload() == "hello"  # type: ignore[union-attr]
    assert second["Content-Transfer-Encoding"] == "base64"  # type: ignore[index,call-overload]
    assert second.get_payload(decode=True) == CONTENT  # type: ignore[union-attr]
    assert octets.replace(b"\r\n", b"").count(b"\r") == octets.replace(b"\r\n", b"").count(b"\n") == 0
    assert all(len(line) <= 76 for line in octets.split(b"\r\n\r\n")[-1].split(b"\r\n"))


def test_lines_outside_of_binary_parts_are_lines() -> None:
    world = began()
    world.say(chunks(b"Subject: x\nX: y\r\n\r\na\rb\nc\r", 5))
    assert world.store.got[0][1] == b"Subject: x\r\nX: y\r\n\r\na\r\nb\r\nc\r\n"


def test_binary_needs_bdat() -> None:
    world = began()
    assert world.say(b"DATA\r\n") == b"503 5.5.1 A message in BINARYMIME needs BDAT\r\n"
    assert last(world.say(chunks(BINARY, 99))).startswith(b"250 ")
    world.say(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<joe@example.com>\r\n")
    assert world.say(b"DATA\r\n").startswith(b"354 ")


def test_without_binarymime_the_octets_of_a_chunk_are_lines() -> None:
    world = began(b" BODY=8BITMIME")
    assert last(world.say(chunks(BINARY, 99))).startswith(b"550 5.6.11 ")


def test_a_binary_message_that_is_queued_is_one_of_lines() -> None:
    world = World(tls=True, role=Role.SUBMISSION)
    world.say(b"EHLO c\r\n" + LOG_IN + b"MAIL FROM:<joe@example.com> BODY=BINARYMIME\r\nRCPT TO:<x@else.example>\r\n")
    world.say(chunks(b"Bcc: x\r\n" + BINARY, 4096))
    [item] = world.outbound.items
    assert item.envelope.body_8bit and b"Bcc" not in item.message and CONTENT[:64] not in item.message
    assert base64.b64encode(CONTENT)[:76] in item.message


@given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=5))
def test_newlines_are_repaired_however_they_come(octets: bytes, cuts: list[int]) -> None:
    octets = octets.replace(b"\0", b"\r").replace(b"\1", b"\n")
    borders = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
    repair = NewlineRepair()
    got = b"".join([repair.feed(octets[a:b]) for a, b in zip(borders, borders[1:], strict=False)]) + repair.finish()
    assert got == octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


# --- BURL

JOE = AccountName("joe@example.com")
DRAFT = b"Subject: draft\r\n\r\nb\xc3\xb6dy\r\n"
RUMP = "imap://joe%40example.com@mx.example/Drafts/;UID=1"


class Submission(World):
    """Joe has logged in, begun a message, and has a draft."""

    def __init__(self) -> None:
        super().__init__(tls=True, role=Role.SUBMISSION)
        self.store.put(JOE, DRAFT, "Drafts")
        self.say(b"EHLO c\r\n" + LOG_IN)
        self.begin()

    def begin(self) -> None:
        self.say(b"MAIL FROM:<joe@example.com>\r\nRCPT TO:<x@else.example>\r\n")

    def url(self, rump: str) -> bytes:
        """What GENURLAUTH would make of it."""
        store = self.store.accounts[JOE]
        key = store.access_keys.setdefault("Drafts", b"a key")
        return f"{rump}:internal:".encode() + token(key, store.find("Drafts").mailbox_id, rump.encode())

    @property
    def sent(self) -> bytes:
        """What was queued, without what was put above it."""
        return self.outbound.items[-1].message.partition(b"@mx.example>\r\n")[2]


@pytest.mark.parametrize("who", ["submit+joe%40example.com", "user+joe%40example.com", "authuser", "anonymous"])
def test_a_draft_is_sent_from_where_it_is(who: str) -> None:
    world = Submission()
    answer = world.say(b"BURL %b LAST\r\n" % world.url(f"{RUMP};URLAUTH={who}"))
    assert answer == b"250 2.0.0 Ok c1.1\r\n"
    assert world.sent == DRAFT and world.outbound.items[0].envelope.body_8bit and world.spool.leaks == 0


def test_burl_and_bdat_take_turns() -> None:
    world = Submission()
    text = world.url(f"{RUMP}/;SECTION=TEXT;URLAUTH=submit+joe%40example.com")
    said = world.say(
        b"BDAT 13\r\nSubject: x\r\n\rBURL %b\r\nBDAT 5\r\nmore\rBURL %b\r\nBDAT 0\r\nBDAT 3 LAST\r\nend" % (text, text)
    )
    assert said.split(b"\r\n")[:-1] == [b"250 2.0.0 Chunk ok"] * 5 + [b"250 2.0.0 Ok c1.1"]
    assert world.sent == b"Subject: x\r\n\r\nb\xc3\xb6dy\r\nmore\r\nb\xc3\xb6dy\r\nend"


@pytest.mark.parametrize(
    "rump",
    [
        f"{RUMP};URLAUTH=submit+ann%40example.com",
        f"{RUMP};EXPIRE=2020-01-01T00:00:00Z;URLAUTH=submit+joe%40example.com",
        "imap://joe%40example.com@mx.example/Drafts/;UID=9;URLAUTH=anonymous",
        "imap://ann%40example.com@mx.example/Drafts/;UID=1;URLAUTH=anonymous",
        RUMP,
    ],
)
def test_a_url_that_is_not_good_ends_the_transaction(rump: str) -> None:
    world = Submission()
    assert world.say(b"BURL %b LAST\r\n" % world.url(rump)) == b"554 5.6.6 The URL cannot be resolved\r\n"
    assert world.say(b"BDAT 0 LAST\r\n") == b"503 5.5.1 Need MAIL first\r\n"
    assert not world.outbound.items and world.spool.leaks == 0
    forged = world.url(f"{RUMP};URLAUTH=anonymous")[:-1] + b"g"
    world.begin()
    assert world.say(b"BURL %b\r\n" % forged).startswith(b"554 5.6.6 ")


def test_burl_where_and_when() -> None:
    received, submitted = World(), World(tls=True, role=Role.SUBMISSION)
    assert b"BURL" not in received.say(b"EHLO c\r\n")
    assert received.say(b"BURL imap:x LAST\r\n").startswith(b"500 5.5.1 ")
    assert b"250-BURL\r\n" in submitted.say(b"EHLO c\r\n")
    submitted.say(LOG_IN)
    assert b"250-BURL imap\r\n" in submitted.say(b"EHLO c\r\n")
    assert submitted.say(b"BURL imap:x LAST\r\n").startswith(b"503 5.5.1 Need MAIL")
    submitted.say(b"MAIL FROM:<joe@example.com>\r\n")
    assert submitted.say(b"BURL imap:x LAST\r\n").startswith(b"503 5.5.1 Need RCPT")
    submitted.say(b"RCPT TO:<ann@example.com>\r\n")
    for wrong in (b"BURL", b"BURL x", b"BURL imap:x FIRST", b"BURL imap:x LAST LAST"):
        assert submitted.say(wrong + b"\r\n") == b"501 5.5.4 Syntax error: expected BURL url [LAST]\r\n"
