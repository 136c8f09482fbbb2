"""What may go wrong, in the words of the domain.

A resource refuses with `Refused(Problem.X, detail)`; each protocol looks X up in one table of
its own (`smtp/replies.py`, `imap/replies.py`, `pop3/replies.py`). The detail goes to the log only.

    Exception
     ├─ BadSyntax            the wire: a command that does not parse
     ├─ FramingLost          the wire: where the next command begins is no longer known
     ├─ Refused              a resource: see Problem
     └─ SessionEnded         the connection, seen from a session that waits for input
         ├─ ConnectionClosed     the peer is gone
         ├─ IdleTimeout          it was silent for too long
         └─ ShuttingDown         we are stopping
"""

from __future__ import annotations

from enum import Enum


class Problem(Enum):
    """Every reason for which a resource may refuse what a session asks of it."""

    NO_SUCH_MAILBOX = "no such mailbox"
    MAILBOX_EXISTS = "mailbox exists already"
    MAILBOX_HAS_CHILDREN = "mailbox has children"
    MAILBOX_IN_USE = "mailbox is in use"
    BAD_MAILBOX_NAME = "not a valid mailbox name"
    BAD_IDENTIFIER = "not an identifier that access can be given to"
    CANNOT = "this can never be done"
    NO_SUCH_MESSAGE = "no such message"
    READ_ONLY = "mailbox is read-only"
    TOO_MANY_KEYWORDS = "mailbox has no room for another keyword"
    TOO_MANY_ANNOTATIONS = "no room for another annotation"
    OVER_QUOTA = "quota exceeded"
    DISK_FULL = "no space left in the store"
    TOO_BIG = "message is too large"
    STORE_UNAVAILABLE = "the store cannot do this now"
    BAD_CREDENTIALS = "credentials are wrong"
    TOO_MANY_FAILURES = "too many failed logins; try later"
    NOT_PERMITTED = "not permitted"
    LOGIN_UNAVAILABLE = "logins cannot be checked now"
    NO_SUCH_ACCOUNT = "no such account"
    NO_SUCH_RECIPIENT = "no such recipient"
    RELAY_DENIED = "relaying denied"
    SENDER_NOT_OWNED = "sender address does not belong to the login"
    TOO_MANY_RECIPIENTS = "too many recipients"
    QUEUE_UNAVAILABLE = "the queue cannot take this now"
    LIMIT = "a limit is reached"


class Refused(Exception):
    """A resource will not do what was asked. `detail` is for the log, never for the peer."""

    def __init__(self, problem: Problem, detail: str = "") -> None:
        super().__init__(f"{problem.value}: {detail}" if detail else problem.value)
        self.problem = problem
        self.detail = detail


class BadSyntax(Exception):
    """A command does not parse. `column` counts octets from 0, or is None if it says nothing."""

    def __init__(self, expected: str, column: int | None = None) -> None:
        super().__init__(expected if column is None else f"{expected} at column {column}")
        self.expected = expected
        self.column = column


class FramingLost(Exception):
    """Where the next command begins is not known any more; one reply, then close. `code` is IMAP's response code that
    says why, if there is one."""

    code = ""


class SessionEnded(Exception):
    """The session waits for input that will not come."""


class ConnectionClosed(SessionEnded):
    """The peer closed the connection, or it broke."""


class IdleTimeout(SessionEnded):
    """The peer said nothing for `Connection.timeout` seconds."""


class Silence(Exception):
    """The peer said nothing for as long as the session wanted to wait; the connection lives on."""


class ShuttingDown(SessionEnded):
    """The server stops; say so to the peer and return."""
