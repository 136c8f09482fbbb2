from __future__ import annotations

from mailstack.mail.addresses import ListedAddress
from mailstack.mail.envelope import envelope


def test_absent_fields_default() -> None:
    found = envelope(b"From: A <a@b>\r\nSubject:\r\nTo:\r\nCc: x@y\r\ncc: z@w\r\nSubject: second\r\n\r\n")
    author = [ListedAddress(b"A", None, b"a", b"b")]
    assert found.from_ == found.sender == found.reply_to == author
    assert (found.date, found.subject, found.message_id) == (None, b"", None)
    assert found.to == found.bcc == []
    assert [(entry.mailbox, entry.host) for entry in found.cc] == [(b"x", b"y"), (b"z", b"w")]


def test_an_empty_sender_is_the_author_too() -> None:
    found = envelope(b"From: a@b\r\nSender: \r\nReply-To: c@d\r\n\r\n")
    assert found.sender is found.from_
    assert found.reply_to[0].host == b"d"
