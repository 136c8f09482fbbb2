"""URLAUTH: who may use a URL, for how long, and what becomes of it."""

from __future__ import annotations

import re

import pytest
from imap_world import ALICE, Client, World

OCTETS = b"Subject: shared\r\n\r\nbody " + b"x" * 9000 + b"\r\n"
WHERE = b"imap://alice%40example.org@mx.example.org/Drafts/;UID=1"


class Shared(World):
    """Alice has a draft, and there is Bob."""

    def __init__(self) -> None:
        super().__init__()
        self.accounts.users["bob@example.org"] = "secret"
        self.store.put(ALICE, OCTETS, "Drafts")
        self.alice = self.log_in(b"")
        self.bob = self.connect()
        assert self.bob.lines(b"LOGIN bob@example.org secret")[-1].startswith(b"t OK")

    def url(self, rump: bytes) -> bytes:
        """The URL that Alice makes."""
        said, done = self.alice.lines(b'GENURLAUTH "%b" INTERNAL' % rump)
        assert done == b"t OK GENURLAUTH completed"
        found = re.fullmatch(rb'\* GENURLAUTH "?([^ "]+)"?', said)
        assert found is not None
        assert re.fullmatch(re.escape(rump) + rb":internal:[0-9a-f]{64}", found[1])
        return found[1]


def fetched(client: Client, url: bytes) -> bytes | None:
    said = client.say(b't URLFETCH "%b"\r\n' % url)
    assert said.endswith(b"t OK URLFETCH completed\r\n")
    found = re.match(rb'\* URLFETCH "?[^ "]+"? (?:NIL|\{(\d+)\}\r\n)', said)
    assert found is not None
    return None if found[1] is None else said[found.end() :][: int(found[1])]


@pytest.mark.parametrize(
    ("who", "others", "owner"),
    [
        (b"anonymous", True, True),
        (b"authuser", True, True),
        (b"user+bob%40example.org", True, False),
        (b"user+alice%40example.org", False, True),
        (b"submit+bob%40example.org", False, False),
    ],
)
def test_who_may_use_it(who: bytes, others: bool, owner: bool) -> None:
    world = Shared()
    url = world.url(WHERE + b";URLAUTH=" + who)
    assert fetched(world.bob, url) == (OCTETS if others else None)
    assert fetched(world.alice, url) == (OCTETS if owner else None)


@pytest.mark.parametrize(
    ("part", "content"),
    [(b"/;SECTION=HEADER", OCTETS[:19]), (b"/;PARTIAL=2.5", OCTETS[2:7]), (b"/;SECTION=TEXT/;PARTIAL=5", OCTETS[24:])],
)
def test_parts(part: bytes, content: bytes) -> None:
    world = Shared()
    assert fetched(world.bob, world.url(WHERE + part + b";URLAUTH=anonymous")) == content


def test_a_changed_url_is_worth_nothing() -> None:
    world = Shared()
    world.store.put(ALICE, OCTETS, "Drafts")
    url = world.url(WHERE + b"/;SECTION=HEADER;URLAUTH=user+bob%40example.org")
    assert fetched(world.bob, url)
    for before, after in (
        (b"UID=1", b"UID=2"),
        (b"/;SECTION=HEADER", b""),
        (b"user+bob%40example.org", b"anonymous"),
        (b"mx.example", b"my.example"),
        (b"Drafts", b"INBOX"),
        (b":internal:", b":XINTERNAL:"),
        (url[-1:], b""),
    ):
        assert before in url
        assert fetched(world.bob, url.replace(before, after)) is None, after
    assert fetched(world.bob, url.upper().replace(b"INBOX", b"x")) is None


def test_expired() -> None:
    world = Shared()
    soon = world.url(WHERE + b";EXPIRE=1970-01-01T00:00:00Z;URLAUTH=anonymous")
    late = world.url(WHERE + b";EXPIRE=2999-12-31T23:59:59+02:00;URLAUTH=anonymous")
    assert fetched(world.bob, soon) is None
    assert fetched(world.bob, late) == OCTETS
    assert fetched(world.bob, late.replace(b"2999", b"3999")) is None


@pytest.mark.parametrize("command", [b"RESETKEY", b"RESETKEY Drafts", b"RESETKEY drafts", b"RESETKEY INBOX"])
def test_revoked(command: bytes) -> None:
    world = Shared()
    url = world.url(WHERE + b";URLAUTH=anonymous")
    world.alice.lines(command)
    assert (fetched(world.bob, url) is None) == (command in (b"RESETKEY", b"RESETKEY Drafts"))


def test_another_mailbox_of_the_same_name_has_another_key() -> None:
    world = Shared()
    url = world.url(WHERE + b";URLAUTH=anonymous")
    for command in (b"DELETE Drafts", b"CREATE Drafts"):
        assert world.alice.lines(command)[-1].startswith(b"t OK")
    world.store.put(ALICE, OCTETS, "Drafts")
    assert fetched(world.bob, url) is None


def test_asking_makes_no_account_and_changes_no_flag() -> None:
    world = Shared()
    stranger = WHERE.replace(b"alice", b"nobody") + b";URLAUTH=anonymous:internal:" + b"0" * 64
    assert fetched(world.bob, stranger) is None
    assert "nobody@example.org" not in world.store.accounts
    assert fetched(world.bob, world.url(WHERE + b";URLAUTH=anonymous")) == OCTETS
    assert world.store.box(ALICE, "Drafts").flags(1) == 0
    assert world.store.box(ALICE, "Drafts").listeners == []


def test_many_urls() -> None:
    world = Shared()
    url = world.url(WHERE + b"/;PARTIAL=0.2;URLAUTH=anonymous")
    said = world.bob.say(b"t URLFETCH %b\r\n" % b" ".join([b'"%b"' % url] * 100))
    assert said.count(b" {2}\r\nSu\r\n") == 100
    said = world.bob.say(b"t URLFETCH %b\r\n" % b" ".join([b'"%b"' % url] * 101))
    assert said.startswith(b"t BAD expected at most 100 URLs")
