"""`dovecot-attributes`: Dovecot's format, limits, and what follows a mailbox that is renamed or deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transcripts import result

from mailstack.errors import Problem, Refused
from mailstack.ports import AccountName
from mailstack.store.api import Store
from mailstack.store.maildir import attributes
from mailstack.store.maildir.attributes import AttributeFile, Entries, made, parse, set_entries
from mailstack.store.workers import InlineWorkers
from mailstack.testing.log import RecordingLog

ID = "a978da1dd01e066b2645000083ecc375"
OF_DOVECOT = b"priv/%s/vendor/x/y\nz\nshared/%s/comment\nhello\x01ttab\n" % (ID.encode(), ID.encode())
"""As Dovecot 2.3.19 wrote it."""


def test_what_dovecot_wrote_is_read_and_written_so() -> None:
    entries = parse(OF_DOVECOT)
    assert attributes.of_mailbox(entries, ID) == {"/private/vendor/x/y": b"z", "/shared/comment": b"hello\ttab"}
    assert made(entries) == OF_DOVECOT


@given(st.dictionaries(st.binary(min_size=1), st.binary(), max_size=5))
def test_any_octets_come_back(entries: dict[bytes, bytes]) -> None:
    assert parse(made(entries)) == entries


def test_half_a_file_is_what_is_whole_of_it() -> None:
    assert parse(b"a\n1\nb") == {b"a": b"1"}
    assert parse(b"a\n1\n\n2\nc\n3\n") == {b"a": b"1", b"c": b"3"}
    assert parse(b"") == {}


def test_a_change_is_all_or_nothing(tmp_path: Path) -> None:
    file = AttributeFile(tmp_path / attributes.FILE)
    file.change(lambda entries: set_entries(entries, ID, {"/private/a": b"1", "/shared/b": b"2"}))
    many: dict[str, bytes | None] = {f"/private/e{n}": b"x" for n in range(attributes.MAX_ENTRIES)}
    with pytest.raises(Refused) as info:
        file.change(lambda entries: set_entries(entries, ID, many))
    assert info.value.problem is Problem.TOO_MANY_ANNOTATIONS
    assert attributes.of_mailbox(file.read(), ID) == {"/private/a": b"1", "/shared/b": b"2"}
    file.change(lambda entries: set_entries(entries, ID, {"/private/a": None}))
    assert AttributeFile(file.path).read() == {b"shared/%s/b" % ID.encode(): b"2"}


def test_an_account_has_room_for_so_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "MAX_FILE", 200)
    file = AttributeFile(tmp_path / attributes.FILE)

    def fill(entries: Entries) -> None:
        entries[b"k"] = b"v" * 200

    with pytest.raises(Refused) as info:
        file.change(fill)
    assert info.value.problem is Problem.TOO_MANY_ANNOTATIONS
    assert not file.path.exists()


def test_what_another_process_wrote_is_seen_and_kept(tmp_path: Path) -> None:
    one, other = AttributeFile(tmp_path / "f"), AttributeFile(tmp_path / "f")
    one.change(lambda entries: entries.update({b"a": b"1"}))
    assert other.read() == {b"a": b"1"}
    other.change(lambda entries: entries.update({b"b": b"2"}))
    one.change(lambda entries: entries.update({b"c": b"3"}))
    assert other.read() == {b"a": b"1", b"b": b"2", b"c": b"3"}


def test_a_deleted_mailbox_leaves_no_annotations(tmp_path: Path) -> None:
    store = Store(tmp_path, InlineWorkers(), RecordingLog())
    account = result(store.account(AccountName("alice@example.org")))
    result(account.create("Work"))
    result(account.annotations.change("Work", {"/shared/comment": b"x"}))
    result(account.annotations.change("INBOX", {"/shared/comment": b"y"}))
    result(account.rename("Work", "Play"))
    assert result(account.annotations.of("Play")) == {"/shared/comment": b"x"}
    file = AttributeFile(account.path / attributes.FILE)
    assert len(file.read()) == 2
    result(account.delete("Play"))
    assert list(file.read().values()) == [b"y"]
    result(store.close())
