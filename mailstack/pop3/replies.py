"""Status lines: what a Problem is in POP3's words (RFC 1939 §3, RFC 2449 §8, RFC 3206, RFC 6856 §5)."""

from __future__ import annotations

from typing import assert_never

from mailstack.errors import Problem


def ok(text: str) -> bytes:
    """A positive status indicator."""
    return b"+OK %s\r\n" % text.encode() if text else b"+OK\r\n"


def err(text: str, code: str = "") -> bytes:
    """A negative status indicator, with an extended response code."""
    return b"-ERR %s\r\n" % (f"[{code}] {text}" if code else text).encode()


def multi_line(text: str, lines: str) -> bytes:
    """A multi-line response (RFC 1939 §3) of lines that have their CRLF and begin with no dot."""
    return b"+OK %s\r\n%s.\r\n" % (text.encode(), lines.encode())


def octets(size: int) -> bytes:
    """The status indicator before a message."""
    return b"+OK %d octets\r\n" % size


NEEDS_UTF8 = err("the header of this message has UTF-8: say UTF8 before the login", "UTF8")
TOO_SOON = err("the last login was just now, try later", "LOGIN-DELAY")
BUG = err("internal error, it has been logged", "SYS/TEMP")


def refused(problem: Problem) -> bytes:
    """The one table."""
    match problem:
        case Problem.BAD_CREDENTIALS:
            return err("user name or password is wrong", "AUTH")
        case Problem.TOO_MANY_FAILURES:
            return err("too many failed logins, try later", "SYS/TEMP")
        case Problem.LOGIN_UNAVAILABLE | Problem.STORE_UNAVAILABLE | Problem.QUEUE_UNAVAILABLE:
            return err("not possible now, try later", "SYS/TEMP")
        case Problem.DISK_FULL | Problem.OVER_QUOTA:
            return err("no space left", "SYS/TEMP")
        case Problem.MAILBOX_IN_USE:
            return err("the maildrop is in use", "IN-USE")
        case Problem.NO_SUCH_MESSAGE:
            return err("no such message")
        case Problem.NOT_PERMITTED | Problem.READ_ONLY | Problem.CANNOT | Problem.SENDER_NOT_OWNED:
            return err("not permitted", "SYS/PERM")
        case Problem.NO_SUCH_MAILBOX | Problem.MAILBOX_EXISTS | Problem.MAILBOX_HAS_CHILDREN | Problem.BAD_MAILBOX_NAME:
            return err("the maildrop cannot be opened", "SYS/PERM")
        case (
            Problem.TOO_MANY_KEYWORDS | Problem.TOO_BIG | Problem.NO_SUCH_RECIPIENT | Problem.RELAY_DENIED
            | Problem.TOO_MANY_RECIPIENTS | Problem.LIMIT | Problem.NO_SUCH_ACCOUNT
            | Problem.TOO_MANY_ANNOTATIONS | Problem.BAD_IDENTIFIER
        ):  # fmt: skip
            return err("refused", "SYS/PERM")
    assert_never(problem)
