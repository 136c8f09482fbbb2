"""Which messages are meant."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from mailstack.auth.anyone import account_of
from mailstack.errors import Refused
from mailstack.ports import AccountName
from mailstack.store.account_directory import directory_of
from mailstack.store.maildir.layout import INBOX
from mailstack.store.maildir.listing import Listed
from mailstack.store.maildir.names import arrival
from mailstack.web.content import Person, Summary
from mailstack.web.rows import Parameter
from mailstack.web.values import HttpProblem

TEXT = {"type": "string"}
FILTERS = (
    Parameter("account", "Whose mail: an address, or a name without domain.", TEXT),
    Parameter("mailbox", "In which of the account's mailboxes, as INBOX or Archive/2026.", TEXT),
    Parameter(
        "to",
        "In To, Cc, or the envelope's recipients: an address, or a part of an address or name (then without @, or "
        "beginning with it).",
        TEXT,
    ),
    Parameter("from", "In From or the envelope's sender, as for `to`.", TEXT),
    Parameter("subject", "A part of the subject, in any case.", TEXT),
    Parameter("body", "A part of its text or HTML, in any case.", TEXT),
    Parameter("message_id", "The whole Message-ID, with or without angle brackets.", TEXT),
    Parameter(
        "since", "Came at this time or later: seconds since the epoch, or RFC 3339 (2026-11-25T12:00:00Z).", TEXT
    ),
    Parameter("after", "Came after the message with this id, which need not be there any more.", TEXT),
    Parameter("before", "Came before the message with this id.", TEXT),
    Parameter("unread", "Only those that are not seen (`true`), or that are (`false`).", {"enum": ["true", "false"]}),
)
"""Of every resource that is about some messages; all that are given have to be true of a message."""


@dataclass(frozen=True, slots=True)
class Filter:
    """All of it in lower case where case does not matter; "" and None do not ask."""

    account: AccountName | None = None
    mailbox: str = ""
    to: str = ""
    sender: str = ""
    subject: str = ""
    body: str = ""
    message_id: str = ""
    since: float = 0.0
    after: tuple[int, int, str] | None = None
    before: tuple[int, int, str] | None = None
    unread: bool | None = None
    said: str = ""
    """The same in words."""

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Filter:
        """Raises: HttpProblem."""
        account = named("account", query["account"]) if "account" in query else None
        mailbox = query.get("mailbox", "")
        asked = {parameter.name for parameter in FILTERS}
        return cls(
            account=account,
            mailbox=INBOX if mailbox.upper() == INBOX else mailbox,
            to=query.get("to", "").lower(),
            sender=query.get("from", "").lower(),
            subject=query.get("subject", "").lower(),
            body=query.get("body", "").lower(),
            message_id=query.get("message_id", "").strip("<>"),
            since=moment("since", query["since"]) if "since" in query else 0.0,
            after=arrival(query["after"]) if "after" in query else None,
            before=arrival(query["before"]) if "before" in query else None,
            unread=query["unread"] == "true" if "unread" in query else None,
            said=", ".join(f"{name} {value!r}" for name, value in query.items() if name in asked),
        )

    @property
    def reads(self) -> bool:
        """Whether the message itself has to be looked at."""
        return bool(self.to or self.sender or self.subject or self.body or self.message_id)

    def may_be(self, account: AccountName, message: Listed) -> bool:
        """Whether it can be this one, as far as the directory tells."""
        return (
            (self.account is None or self.account == account)
            and (not self.mailbox or self.mailbox == message.mailbox)
            and (self.after is None or message.order > self.after)
            and (self.before is None or message.order < self.before)
            and (not self.since or message.at >= self.since)
            and (self.unread is None or self.unread is not bool(message.flags & 1))
        )

    def matches(self, summary: Summary, texts: Callable[[], tuple[str, str]]) -> bool:
        """Whether it is this one, which `may_be`. `texts` gives its text and its HTML."""
        if self.subject and self.subject not in summary.subject.lower():
            return False
        if self.message_id and self.message_id != summary.message_id.strip("<>"):
            return False
        if self.to and not _among(self.to, (*summary.to, *summary.cc), summary.envelope_to):
            return False
        if self.sender and not _among(self.sender, summary.sender, (summary.envelope_from,)):
            return False
        return not self.body or any(self.body in text.lower() for text in texts())


def named(what: str, text: str) -> AccountName:
    """The account of a name that somebody gave. Raises: HttpProblem."""
    account = account_of(text) if text.strip() else None
    try:
        if account is not None:
            directory_of(account)
            return account
    except Refused:
        pass
    raise HttpProblem(400, "bad-parameter", f"{what}: {text[:100]!r} is no name of an account")


def _among(wanted: str, people: tuple[Person, ...], envelope: tuple[str, ...]) -> bool:
    addresses = [person.address.lower() for person in people] + [address.lower() for address in envelope]
    if wanted[:1] == "@":
        return any(address.endswith(wanted) for address in addresses)
    if "@" in wanted:
        return wanted in addresses
    return any(wanted in address for address in addresses) or any(wanted in each.name.lower() for each in people)


def moment(name: str, text: str) -> float:
    """Seconds since the epoch. Raises: HttpProblem."""
    try:
        found = float(text)
        if math.isfinite(found):
            return found
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise HttpProblem(
            400, "bad-parameter", f"{name}: expected seconds since the epoch or a time as 2026-11-25T12:00:00Z"
        ) from None


def number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A whole number from 1 on. Raises: HttpProblem."""
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most):
        raise HttpProblem(400, "bad-parameter", f"{name}: expected a number from 1 to {most}, not {text!r}")
    return int(text)


def seconds(query: Mapping[str, str], name: str, default: float, most: float) -> float:
    """Raises: HttpProblem."""
    try:
        found = float(query.get(name, default))
    except ValueError:
        found = math.nan
    if not 0 <= found <= most:
        raise HttpProblem(400, "bad-parameter", f"{name}: expected seconds from 0 to {most:g}, not {query[name]!r}")
    return found
