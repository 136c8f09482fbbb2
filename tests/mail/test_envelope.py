from __future__ import annotations

from mailstack.mail.envelope import envelope


def test_absent_fields() -> None:
    found = envelope(b"From: A <a@b>\r\nSubject:\r\nTo:\r\nSubject: second\r\n\r\n")
    assert (found.date, found.subject, found.message_id) == (None, b"", None)
    assert (found.from_, found.sender, found.reply_to, found.to, found.bcc) == (b"A <a@b>", b"", b"", b"", b"")


def test_fields_are_unfolded_and_lists_joined() -> None:
    found = envelope(b"Cc: x@y,\r\n z@w\r\ncc: u@v\r\nDate: Mon,\r\n\t1 Jan 2024\r\n\r\n")
    assert found.cc == b"x@y, z@w, u@v"
    assert found.date == b"Mon,\t1 Jan 2024"
