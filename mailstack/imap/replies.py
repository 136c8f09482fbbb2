"""Status responses, and what a Problem is in IMAP's words (RFC 9051 §7.1, RFC 5530)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from mailstack.errors import Problem


@dataclass(frozen=True, slots=True)
class Reply:
    """OK, NO or BAD with its text and response code."""

    status: bytes
    text: str
    code: str = ""

    def line(self, tag: bytes) -> bytes:
        """The response for `tag`, or untagged for b"*"."""
        code = f"[{self.code}] " if self.code else ""
        return b"%s %s %s\r\n" % (tag, self.status, f"{code}{self.text}".encode())


def ok(text: str, code: str = "") -> Reply:
    return Reply(b"OK", text, code)


def no(text: str, code: str = "") -> Reply:
    return Reply(b"NO", text, code)


def bad(text: str, code: str = "") -> Reply:
    return Reply(b"BAD", text, code)


def bye(text: str, code: str = "") -> bytes:
    """Why the connection ends."""
    return Reply(b"BYE", text, code).line(b"*")


class Declined(Exception):
    """A command ends with this reply: for what has a response code of its own."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


SAID = ok("")
"""The command said its tagged response itself."""
UNASKED = bad("a literal of more than 4096 octets has to wait for leave", "TOOBIG")
"""RFC 7888 §5."""
BUG = no("internal error, it has been logged", "SERVERBUG")


def refused(problem: Problem) -> Reply:
    """The one table."""
    match problem:
        case Problem.NO_SUCH_MAILBOX:
            return no("no such mailbox", "NONEXISTENT")
        case Problem.MAILBOX_EXISTS:
            return no("there is a mailbox of that name", "ALREADYEXISTS")
        case Problem.MAILBOX_HAS_CHILDREN:
            return no("the name has inferior names", "HASCHILDREN")
        case Problem.MAILBOX_IN_USE:
            return no("the mailbox is in use", "INUSE")
        case Problem.BAD_MAILBOX_NAME:
            return no("a mailbox cannot have this name", "CANNOT")
        case Problem.BAD_IDENTIFIER:
            return bad("this can be nobody's identifier")
        case Problem.CANNOT:
            return no("this cannot be done", "CANNOT")
        case Problem.NO_SUCH_MESSAGE:
            return no("no such message", "EXPUNGEISSUED")
        case Problem.READ_ONLY:
            return no("the mailbox is read-only", "READ-ONLY")
        case Problem.TOO_MANY_KEYWORDS:
            return no("the mailbox has no room for another keyword", "LIMIT")
        case Problem.TOO_MANY_ANNOTATIONS:
            return no("there is no room for another annotation", "METADATA TOOMANY")
        case Problem.OVER_QUOTA:
            return no("quota exceeded", "OVERQUOTA")
        case Problem.DISK_FULL:
            return no("no space left on the server", "OVERQUOTA")
        case Problem.TOO_BIG:
            return no("the message is too large", "TOOBIG")
        case Problem.STORE_UNAVAILABLE | Problem.QUEUE_UNAVAILABLE | Problem.LOGIN_UNAVAILABLE:
            return no("not possible now, try later", "UNAVAILABLE")
        case Problem.BAD_CREDENTIALS:
            return no("user name or password is wrong", "AUTHENTICATIONFAILED")
        case Problem.TOO_MANY_FAILURES:
            return no("too many failed logins, try later", "UNAVAILABLE")
        case Problem.NOT_PERMITTED | Problem.SENDER_NOT_OWNED | Problem.RELAY_DENIED:
            return no("not permitted", "NOPERM")
        case Problem.NO_SUCH_ACCOUNT:
            return no("no such user", "NONEXISTENT")
        case Problem.NO_SUCH_RECIPIENT | Problem.TOO_MANY_RECIPIENTS | Problem.LIMIT:
            return no("a limit is reached", "LIMIT")
    assert_never(problem)
