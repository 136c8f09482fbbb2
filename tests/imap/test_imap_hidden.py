"""Capabilities that some are not told of."""

from __future__ import annotations

import pytest
from imap_world import ALICE, World

from mailstack.imap.hidden import Hidden, shown

MOVE = frozenset({"MOVE"})
ID_OUTLOOK = b'ID ("name" "Outlook" "version" "16.1")'


def announced(lines: list[bytes]) -> bool:
    (line,) = (line for line in lines if b"CAPABILITY IMAP4rev1" in line)
    return b" MOVE" in line.partition(b"]")[0] + b" "


def test_from_everybody_and_the_command_stays() -> None:
    client = World(hidden=(Hidden(frozenset({"MOVE", "APPENDLIMIT"})),)).connect()
    assert b" MOVE" not in client.greeting
    assert b"APPENDLIMIT" not in client.greeting
    login = client.lines(b"LOGIN %s secret" % ALICE.encode())
    assert not announced(login)
    assert client.lines(b"CREATE a")[-1].startswith(b"t OK")
    assert client.lines(b"SELECT INBOX")[-1].startswith(b"t OK")
    assert not announced(client.lines(b"CAPABILITY"))
    assert client.lines(b"UID MOVE 1:* a")[-1].startswith(b"t OK")


@pytest.mark.parametrize(("pattern", "hidden"), [("*@example.org", True), ("ALICE@*", True), ("bob@*", False)])
def test_from_some_accounts(pattern: str, hidden: bool) -> None:
    client = World(hidden=(Hidden(MOVE, account=pattern),)).connect()
    assert announced(client.lines(b"CAPABILITY")), "nobody knows who it will be"
    assert announced(client.lines(b"LOGIN %s secret" % ALICE.encode())) is not hidden
    client.lines(b"UNAUTHENTICATE")
    assert announced(client.lines(b"CAPABILITY"))


@pytest.mark.parametrize(
    ("pattern", "hidden"),
    [("outlook*", True), ("Outlook 16.*", True), ("Outlook", False), ("*.1", True), ("O.tlook*", False)],
)
def test_from_some_clients(pattern: str, hidden: bool) -> None:
    client = World(hidden=(Hidden(MOVE, client=pattern),)).connect()
    assert announced(client.lines(b"CAPABILITY")), "it has not said its name"
    client.lines(ID_OUTLOOK)
    assert announced(client.lines(b"CAPABILITY")) is not hidden
    assert announced(client.lines(b"LOGIN %s secret" % ALICE.encode())) is not hidden


def test_both_patterns_must_fit() -> None:
    rule = Hidden(MOVE, account="alice@*", client="Outlook*")
    assert shown(["MOVE"], [rule], "alice@example.org", "Outlook 16") == []
    assert shown(["MOVE"], [rule], "alice@example.org", "") == ["MOVE"]
    assert shown(["MOVE"], [rule], "bob@example.org", "Outlook 16") == ["MOVE"]


def test_a_name_hides_all_its_values() -> None:
    words = ["STATUS=SIZE", "THREAD=REFERENCES", "THREAD=ORDEREDSUBJECT", "SORT"]
    assert shown(words, [Hidden(frozenset({"THREAD", "STATUS=SIZE"}))], "", "") == ["SORT"]
    assert shown(words, [Hidden(frozenset({"THREAD=REFERENCES"}))], "", "") == [
        "STATUS=SIZE",
        "THREAD=ORDEREDSUBJECT",
        "SORT",
    ]
