"""A message that cannot be read is one message that cannot be read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from test_reopen import ALICE, Life
from transcripts import result

from mailstack.errors import Problem, Refused
from mailstack.store import octets as octets_module
from mailstack.store.index import FILE as INDEX


def replaced_by_a_link(folder: Path, number: int) -> None:
    """The file of one message becomes a symbolic link, which is not followed."""
    name = sorted(os.listdir(folder / "cur"))[number]
    (folder / "cur" / name).rename(folder / "tmp" / "away")
    (folder / "cur" / name).symlink_to("../tmp/away")


def test_the_others_are_read(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.deliver(5)
    inbox = life.inbox()
    replaced_by_a_link(life.path, 2)
    found = result(inbox.examine(inbox.uids, len))
    assert [size is None for size in found] == [False, False, True, False, False]
    assert result(inbox.read(3, 0, 10)) is None
    assert result(inbox.read(4, 0, 10)) == b"Subject: 3"
    result(inbox.measure(inbox.uids))
    assert inbox.size(3) == inbox.size(4)  # the name says it
    assert "message cannot be read" in life.log.whats()
    life.end()


def test_a_shortage_of_the_system_is_not_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life(tmp_path)
    life.deliver(1)
    inbox = life.inbox()

    def none_left(*arguments: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(octets_module.os, "open", none_left)
    with pytest.raises(Refused) as refused:
        result(inbox.read(1, 0, 10))
    monkeypatch.undo()
    assert refused.value.problem is Problem.STORE_UNAVAILABLE
    assert result(inbox.read(1, 0, 10)) == b"Subject: 0"
    life.end()


def test_what_was_made_of_expunged_messages_is_forgotten(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.deliver(110)
    inbox = life.inbox()
    assert len(result(inbox.derive(inbox.uids, "size 1", lambda octets: b"%d" % len(octets)))) == 110
    result(inbox.expunge(range(1, 51), None))
    guid, validity = inbox.mailbox_id, inbox.uid_validity
    life.end()
    assert (tmp_path / "mail" / ALICE / INDEX).exists()
    life = Life(tmp_path)
    life.inbox()
    index = life.store.indexes.get(life.path)
    assert sorted(index.derived(guid, validity, "size 1", range(1, 111))) == list(range(51, 111))
    life.end()
