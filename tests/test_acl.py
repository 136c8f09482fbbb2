"""Rights: letters, how entries are combined, and Dovecot's file of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailstack.acl import (
    ALL_RIGHTS,
    AUTHENTICATED,
    Entry,
    changed,
    effective,
    flag_mask,
    normal_identifier,
    parse_rights,
    shown,
)
from mailstack.mailboxes import FIRST_KEYWORD, Flag
from mailstack.store.maildir import acl_file

BOB = "bob@x.org"


@pytest.mark.parametrize(
    ("content", "rights"),
    [  # what Dovecot 2.3.19 said to MYRIGHTS
        ("anyone lr\nuser=bob@x.org s\n", "s"),
        ("anyone lrs\n-user=bob@x.org s\n", "lr"),
        ("authenticated lr\nanyone i\n", "lr"),
        ("user=bob@x.org lrswi\n-user=bob@x.org w\n", "lrsi"),
        ("owner lr\n", ""),
        ("anyone lr\n-anyone r\nuser=bob@x.org ls\n", "ls"),
        ("anyone lrswi\n-authenticated w\n", "lrsi"),
        ("user=bob@x.org :lookup read insert\n", "lri"),
        ("# comment\n\nuser=bob@x.org lr :admin\n", "lra"),
        ("group=x lr\nanonymous l\n", "l"),
        ('user="bob@x.org" lr\n', ""),
        ('"user=bob@x.org" lr\n', "lr"),
    ],
)
def test_rights_are_those_that_dovecot_gives(content: str, rights: str) -> None:
    assert effective(acl_file.parse(content.encode())[0], BOB) == frozenset(rights)


def test_a_file_that_is_changed_keeps_what_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / acl_file.FILE
    path.write_bytes(b'# mine\nowner lrswi\n"user=with space" lr\ngroup=g l\nwhat is this\xff\n')
    acl, others = acl_file.read(tmp_path)
    assert [entry.shown_identifier for entry in acl] == ["with space", "$g"]
    acl_file.write(tmp_path, changed(acl, BOB, frozenset("wl"), negative=True), others)
    wanted = b'"user=with space" lr\ngroup=g l\n-user=bob@x.org lw\n# mine\nowner lrswi\nwhat is this\xff\n'
    assert path.read_bytes() == wanted
    acl_file.write(tmp_path, ())
    assert not path.exists()
    assert acl_file.read(tmp_path) == ((), ())


def test_the_order_of_entries_stays() -> None:
    acl = (Entry("a", frozenset("l")), Entry(AUTHENTICATED, frozenset("l")), Entry("a", frozenset("r"), negative=True))
    assert changed(acl, "a", frozenset("lr"), negative=False)[0] == Entry("a", frozenset("lr"))
    assert changed(acl, "b", frozenset("lr"), negative=False) == (*acl, Entry("b", frozenset("lr")))
    assert changed(acl, "a", None, negative=True) == acl[:2]


@pytest.mark.parametrize(
    ("letters", "told"),
    [("", ""), ("lr", "lr"), ("d", "ted"), ("c", "kxc"), ("ax", "xca"), ("lrswipkxtea", "lrswipkxtecda")],
)
def test_letters_of_old_clients(letters: str, told: str) -> None:
    assert shown(parse_rights(letters)) == told


@pytest.mark.parametrize("letters", ["q", "L", "l r", "0", "é"])
def test_letters_that_are_no_rights(letters: str) -> None:
    with pytest.raises(ValueError, match="."):
        parse_rights(letters)


def test_identifiers_have_one_form() -> None:
    assert normal_identifier("Bob", "x.org") == BOB
    assert normal_identifier("BOB@X.org", "y.org") == BOB
    assert normal_identifier("Anyone", "x.org") == "anyone"
    assert normal_identifier("$Team", "x.org") == "$team"
    assert normal_identifier("bob", "") == "bob"
    for text in ("", "#global", "a\nb", "a/b", "\x00", "x" * 300, '"'):
        with pytest.raises(ValueError, match=r"|."):
            normal_identifier(text, "x.org")


def test_flags_by_rights() -> None:
    assert flag_mask(ALL_RIGHTS) == -1
    assert flag_mask(frozenset("lr")) == 0
    assert flag_mask(frozenset("s")) == Flag.SEEN
    assert flag_mask(frozenset("t")) == Flag.DELETED
    assert not flag_mask(frozenset("w")) & (Flag.SEEN | Flag.DELETED)
    assert flag_mask(frozenset("w")) >> FIRST_KEYWORD & 1
