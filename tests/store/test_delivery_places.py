"""Where a delivery goes when directories are replaced while the server has them open, and its errors."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from promises import ALICE, Client
from transcripts import result

from mailstack.errors import Problem
from mailstack.ports import Delivery
from mailstack.store.maildir.layout import Folder, make


@pytest.fixture
def client(tmp_path: Path) -> Client:
    made = Client(tmp_path)
    result(made.account.create("There"))
    return made


def test_a_folder_that_another_program_replaced_gets_the_mail(client: Client) -> None:
    place = client.store.path_of(ALICE) / ".There"
    client.deliver("There")
    aside = place.rename(place.with_name(".Moved"))
    make(Folder("There", place))
    client.deliver("There")
    assert len(os.listdir(place / "new")) == len(os.listdir(aside / "new")) == 1


def test_an_account_that_was_restored_gets_the_mail(client: Client) -> None:
    place = client.store.path_of(ALICE)
    client.deliver()
    aside = place.rename(place.with_name("before"))
    make(Folder("INBOX", place))
    client.deliver()
    assert len(os.listdir(place / "new")) == len(os.listdir(aside / "new")) == 1


def test_an_error_after_the_message_was_taken_in_is_that_error(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not mistaken for a mailbox that is missing, which would be a second copy in INBOX."""
    place = client.store.path_of(ALICE)
    real: Any = os.fsync

    def fsync(fd: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}") == str(place / "new"):
            for name in os.listdir(place / "new"):  # somebody looks at the mailbox just now
                os.rename(place / "new" / name, place / "cur" / f"{name}:2,")
            raise OSError(errno.EIO, "the disk fails")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    blob = client.blob(client.message())
    assert result(client.store.deliver(blob, [Delivery(ALICE, "INBOX", b"")])) == [Problem.STORE_UNAVAILABLE]
    assert [line.fields["reason"] for line in client.log.lines] == ["the disk fails"]
    assert len(os.listdir(place / "cur")) == 1
