"""What goes wrong in a test with mail."""

from __future__ import annotations


class MailServerError(Exception):
    """The server cannot be started, or has ended; the message has the end of its log."""


class MailAssertionError(AssertionError):
    """The mail is not as it was expected to be; the message shows what there is."""
