"""What the server says: reply codes (RFC 5321 §4.2.3) with enhanced status codes (RFC 3463, RFC 5248)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from mailstack.errors import Problem


class Reply:
    """One reply. `enhanced` is an enhanced status code, or "" where RFC 2034 §4 allows none: in the
    greeting, after HELO and EHLO, and in 3xx. `lines` is the text, one item a line."""

    __slots__ = ("code", "enhanced", "lines", "octets")

    def __init__(self, code: int, enhanced: str, *lines: str, utf8: bool = False) -> None:
        self.code = code
        self.enhanced = enhanced
        self.lines = lines
        self.octets = _encode(code, enhanced, lines).encode("utf-8" if utf8 else "ascii", "replace")
        """What goes on the wire."""

    def __repr__(self) -> str:
        return f"Reply({self})"

    def __str__(self) -> str:
        return " / ".join(f"{self.code} {self.enhanced} {line}".replace("  ", " ") for line in self.lines)

    @property
    def is_positive(self) -> bool:
        return self.code < 400


def _encode(code: int, enhanced: str, lines: tuple[str, ...]) -> str:
    # Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
    # ; RFC 5321 §4.2; the enhanced code begins each line (RFC 2034 §4)
    word = enhanced + " " if enhanced else ""
    last = len(lines) - 1
    return "".join(f"{code}{'-' if i < last else ' '}{word}{line}\r\n" for i, line in enumerate(lines))


OK = Reply(250, "2.0.0", "Ok")
SENDER_OK = Reply(250, "2.1.0", "Sender ok")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient ok")
CHUNK_OK = Reply(250, "2.0.0", "Chunk ok")
RESET = Reply(250, "2.0.0", "Reset")
BYE = Reply(221, "2.0.0", "Bye")
GO_AHEAD = Reply(354, "", "Send the message, end it with a line of one dot")
START_TLS = Reply(220, "2.0.0", "Ready to start TLS")
LOGGED_IN = Reply(235, "2.7.0", "Authentication successful")
CANNOT_SAY_UTF8 = Reply(252, "2.6.8", "The mailbox cannot be shown without the SMTPUTF8 parameter")
CANNOT_VRFY = Reply(252, "2.5.2", "Cannot VRFY; send some mail and find out")

UNKNOWN_COMMAND = Reply(500, "5.5.1", "Command unrecognized")
LINE_TOO_LONG = Reply(500, "5.5.2", "Line too long")

NOT_SMTP = Reply(500, "5.5.1", "This is a mail server; closing connection")

NOT_IMPLEMENTED = Reply(502, "5.5.1", "Command not implemented")
SAY_EHLO = Reply(503, "5.5.1", "Send EHLO first")
SAY_LHLO = Reply(503, "5.5.1", "Send LHLO first")
NEED_MAIL = Reply(503, "5.5.1", "Need MAIL first")
NEED_RCPT = Reply(503, "5.5.1", "Need RCPT first")
NO_VALID_RECIPIENTS = Reply(554, "5.5.1", "No valid recipients")
NESTED_MAIL = Reply(503, "5.5.1", "A mail transaction is open already; RSET ends it")
BINARY_NEEDS_BDAT = Reply(503, "5.5.1", "A message in BINARYMIME needs BDAT")
BDAT_OPEN = Reply(503, "5.5.1", "A message in BDAT chunks is open; send the last chunk or RSET")
IN_TRANSACTION = Reply(503, "5.5.1", "Not during a mail transaction")
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "Parameter not recognized or not implemented")
BAD_ADDRESS_UTF8 = Reply(553, "5.6.7", "Non-ASCII addresses need the SMTPUTF8 parameter")

BAD_URL = Reply(554, "5.6.6", "The URL cannot be resolved")
NOT_TRUSTED = Reply(550, "5.7.0", "Not from this address")
REQUIRETLS_NEEDS_TLS = Reply(530, "5.7.10", "REQUIRETLS needs a connection with TLS")
HOLD_TOO_LONG = Reply(501, "5.5.4", "The message would be held longer than FUTURERELEASE says")

TLS_ACTIVE = Reply(503, "5.5.1", "TLS is active already")
NO_TLS = Reply(454, "4.7.0", "TLS not available")
TLS_FIRST = Reply(530, "5.7.0", "Must issue a STARTTLS command first")
AUTH_FIRST = Reply(530, "5.7.0", "Authentication required")
AUTH_NEEDS_TLS = Reply(538, "5.7.11", "Encryption required for authentication")
NO_AUTH = Reply(503, "5.5.1", "Authentication is not offered here")
ALREADY_LOGGED_IN = Reply(503, "5.5.1", "Already authenticated")
UNKNOWN_MECHANISM = Reply(504, "5.5.4", "Authentication mechanism not supported")
AUTH_CANCELLED = Reply(501, "5.0.0", "Authentication cancelled")
AUTH_BAD_RESPONSE = Reply(501, "5.5.2", "Cannot decode the authentication response")
AUTH_TOO_LONG = Reply(500, "5.5.6", "Authentication exchange line is too long")
AUTH_FAILED = Reply(535, "5.7.8", "Authentication credentials invalid")
AUTH_AS_ANOTHER = Reply(535, "5.7.8", "Acting as another user is not permitted")

OVERRUN = Reply(552, "5.3.4", "Message size exceeds the limit by far; closing connection")
TOO_BIG = Reply(552, "5.3.4", "Message size exceeds the limit")
ROUTING_LOOP = Reply(554, "5.4.6", "Routing loop detected: too many Received fields")
DELIVERED_ALREADY = Reply(554, "5.4.6", "Routing loop detected: the message was delivered to this address before")
BARE_NEWLINE = Reply(550, "5.6.11", "Mail data has a bare CR or LF; lines must end with CRLF")
RELAY_DENIED = Reply(550, "5.7.1", "Relaying denied")
NOT_YOUR_ADDRESS = Reply(550, "5.7.1", "The sender address does not belong to the login")
NO_SUCH_USER = Reply(550, "5.1.1", "No such user here")
MAILBOX_FULL = Reply(452, "4.2.2", "Mailbox full")
MAILBOX_FULL_FOR_GOOD = Reply(552, "5.2.2", "Mailbox full")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients")

TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors; closing connection")
TOO_MANY_FAILURES = Reply(421, "4.7.0", "Too many failed logins; closing connection")
SHUTTING_DOWN = Reply(421, "4.3.2", "Service shutting down; closing connection")
TIMEOUT = Reply(421, "4.4.2", "Timeout; closing connection")
SERVER_BUG = Reply(451, "4.3.0", "Internal error; try again later")


def help_(verbs: Sequence[str]) -> Reply:
    """214: the commands."""
    return Reply(214, "2.0.0", f"Commands: {' '.join(verbs)}", "See RFC 5321 and RFC 6409")


def mailboxes(addresses: Sequence[str]) -> Reply:
    """250 to VRFY and EXPN (RFC 5321 §3.5.2), which may be in UTF-8 (RFC 6531 §3.7.4.2)."""
    return Reply(250, "2.1.5", *(f"<{address}>" for address in addresses), utf8=True)


def node_hastened(node: str, waiting: int) -> Reply:
    """251 or 253 to ETRN (RFC 1985 §5.1)."""
    if not waiting:
        return Reply(251, "2.0.0", f"OK, no messages waiting for node {node}")
    return Reply(253, "2.0.0", f"OK, {waiting} pending messages for node {node} started")


def node_unavailable(node: str) -> Reply:
    """458 to ETRN."""
    return Reply(458, "4.3.0", f"Unable to queue messages for node {node}")


def node_not_allowed(node: str, why: str) -> Reply:
    """459 to ETRN."""
    return Reply(459, "4.7.1", f"Node {node} not allowed: {why}")


def bad_syntax(expected: str) -> Reply:
    """501 for an argument that does not parse; `expected` in the grammar's words."""
    return Reply(501, "5.5.4", f"Syntax error: expected {expected}")


def framing_lost(why: str) -> Reply:
    """500, after which the connection is closed."""
    return Reply(500, "5.5.2", f"Cannot tell where the next command begins: {why}; closing connection")


def greeting(hostname: str, *, lmtp: bool = False) -> Reply:
    """The first words of the server (RFC 5321 §4.2)."""
    return Reply(220, "", f"{hostname} {'LMTP' if lmtp else 'ESMTP'} mailstack")


def mailbox_full(*, for_good: bool) -> Reply:
    """For a recipient without room, as the settings want it: the sender's server tries again for days, or its
    user hears at once (RFC 5321 §4.2.5, RFC 3463 §3.3)."""
    return MAILBOX_FULL_FOR_GOOD if for_good else MAILBOX_FULL


def priority_changed(priority: int) -> Reply:
    """250 to MAIL: the message has another priority than was asked for (RFC 6710 §4.1)."""
    return Reply(250, "2.3.6", f"{priority} is the priority of the message; sender ok")


def accepted(transaction_id: str) -> Reply:
    """250 at the end of mail data: the message is ours now."""
    return Reply(250, "2.0.0", f"Ok {transaction_id}")


def for_problem(problem: Problem) -> Reply:
    """The reply to what a resource refuses. There is one for each Problem, also those that no
    resource of this protocol has cause to say."""
    match problem:
        case Problem.NO_SUCH_RECIPIENT | Problem.NO_SUCH_MAILBOX | Problem.NO_SUCH_ACCOUNT:
            return NO_SUCH_USER
        case Problem.RELAY_DENIED:
            return RELAY_DENIED
        case Problem.SENDER_NOT_OWNED:
            return NOT_YOUR_ADDRESS
        case Problem.TOO_MANY_RECIPIENTS:
            return TOO_MANY_RECIPIENTS
        case Problem.TOO_BIG:
            return TOO_BIG
        case Problem.OVER_QUOTA:
            return MAILBOX_FULL
        case Problem.DISK_FULL:
            return _DISK_FULL
        case Problem.STORE_UNAVAILABLE | Problem.QUEUE_UNAVAILABLE | Problem.LIMIT | Problem.MAILBOX_IN_USE:
            return _UNAVAILABLE
        case Problem.BAD_CREDENTIALS:
            return AUTH_FAILED
        case Problem.TOO_MANY_FAILURES | Problem.LOGIN_UNAVAILABLE:
            return _LOGIN_UNAVAILABLE
        case Problem.NOT_PERMITTED:
            return _NOT_PERMITTED
        case (
            Problem.TOO_MANY_ANNOTATIONS
            | Problem.MAILBOX_EXISTS
            | Problem.MAILBOX_HAS_CHILDREN
            | Problem.BAD_MAILBOX_NAME
            | Problem.CANNOT
            | Problem.BAD_IDENTIFIER
            | Problem.NO_SUCH_MESSAGE
            | Problem.READ_ONLY
            | Problem.TOO_MANY_KEYWORDS
        ):
            return _FAILED
        case _:
            assert_never(problem)


_DISK_FULL = Reply(452, "4.3.1", "Insufficient system storage")
_UNAVAILABLE = Reply(451, "4.3.0", "Temporarily unavailable; try again later")
_LOGIN_UNAVAILABLE = Reply(454, "4.7.0", "Temporary authentication failure; try again later")
_NOT_PERMITTED = Reply(550, "5.7.1", "Not permitted")
_FAILED = Reply(554, "5.3.0", "Cannot be done")
