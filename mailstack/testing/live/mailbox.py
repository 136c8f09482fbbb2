"""A user's mailbox as a test sees it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from mailstack.testing.live import telling
from mailstack.testing.live.control import ROOT, ApiProblem
from mailstack.testing.live.failures import MailAssertionError
from mailstack.testing.live.message import Message, Text
from mailstack.testing.live.places import django_settings, environment
from mailstack.testing.live.sending import Attached, letter, submit
from mailstack.testing.live.threads import in_thread
from mailstack.testing.live.wanted import Match, Wanted

if TYPE_CHECKING:
    from email.message import EmailMessage

    from mailstack.testing.live.server import MailServer

MOST = 1000
"""Messages of a list."""
MOST_AT_ONCE = 100
"""Messages that the server waits for."""
SHOWN = 5
"""Messages with all of them, and their dialogues, in the report of a failed test."""
LOOK_AGAIN = 0.01
"""Seconds between two looks whether a mailbox is empty; that mail comes is never asked for so."""


class Mailbox:
    """An address, and the mail that came to it. `folder` gives its other mailboxes: Sent, Archive, …"""

    def __init__(self, server: MailServer, address: str, password: str, name: str = "INBOX") -> None:
        self.server = server
        self.address = address
        """Also the user name."""
        self.password = password
        self.name = name
        self._log_position = server.log_position()

    def __repr__(self) -> str:
        return f"<Mailbox {self.name} of {self.address}>"

    def folder(self, name: str) -> Mailbox:
        """Another mailbox of the same user, which need not exist."""
        return Mailbox(self.server, self.address, self.password, name)

    # --- reading

    @property
    def messages(self) -> list[Message]:
        """What is there now, in the order in which it came; the newest 1000."""
        return self._list(self._scope)

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)

    def __len__(self) -> int:
        return len(self.messages)

    def __bool__(self) -> bool:
        return True  # also an empty one is one

    @overload
    def wait_for(
        self, subject: Text | None = None, *, sender: Text | None = None, to: Text | None = None,
        body: Text | None = None, match: Match | None = None, count: None = None, timeout: float | None = None,
    ) -> Message: ...  # fmt: skip

    @overload
    def wait_for(
        self, subject: Text | None = None, *, sender: Text | None = None, to: Text | None = None,
        body: Text | None = None, match: Match | None = None, count: int, timeout: float | None = None,
    ) -> list[Message]: ...  # fmt: skip

    def wait_for(
        self, subject: Text | None = None, *, sender: Text | None = None, to: Text | None = None,
        body: Text | None = None, match: Match | None = None, count: int | None = None, timeout: float | None = None,
    ) -> Message | list[Message]:  # fmt: skip
        """The newest message that is so, as soon as there is one; what is there already counts. With `count`, so many
        of them, in the order in which they came.

        A text is a part in any case; a pattern is searched. `sender` and `to`, if they have an @, are whole addresses,
        of the header or the envelope; `body` is in the text or in the HTML's source; `match` is asked about a message.
        `timeout` in seconds. Raises: MailAssertionError, which shows what did come."""
        __tracebackhide__ = True
        wanted = Wanted(subject, sender, to, body, match)
        seconds = self.server.settings.timeout if timeout is None else timeout
        end = time.monotonic() + seconds
        found = self._await(wanted, count or 1, end)
        if found is None:
            raise MailAssertionError(self._what_came(wanted, count or 1, seconds))
        return found if count is not None else found[-1]

    async def wait_for_async(self, subject: Text | None = None, **wanted: Any) -> Any:
        """The same for coroutines of asyncio, trio and Twisted, whose loops go on meanwhile."""
        return await in_thread(lambda: self.wait_for(subject, **wanted))

    def wait_empty(self, timeout: float | None = None) -> None:
        """Until everything has been taken away, as by a program that fetches mail. Raises: MailAssertionError."""
        __tracebackhide__ = True
        seconds = self.server.settings.timeout if timeout is None else timeout
        end = time.monotonic() + seconds
        while left := self.messages:
            if time.monotonic() > end:
                raise MailAssertionError(
                    f"{self._title()} is not empty after {seconds:g} s:\n{telling.listed(left)}"
                )  # fmt: skip
            time.sleep(LOOK_AGAIN)

    def assert_none(
        self, subject: Text | None = None, *, sender: Text | None = None, to: Text | None = None,
        body: Text | None = None, match: Match | None = None, within: float = 0.0,
    ) -> None:  # fmt: skip
        """No such message is there, nor comes `within` so many seconds. Raises: MailAssertionError."""
        __tracebackhide__ = True
        wanted = Wanted(subject, sender, to, body, match)
        found = self._await(wanted, 1, time.monotonic() + within)
        if found is not None:
            raise MailAssertionError(
                f"{self._title()} has a message{wanted.said()}:\n{telling.line(found[-1])}\n{telling.whole(found[-1])}"
            )

    def clear(self) -> None:
        """Remove all messages of this mailbox; those of `folder` stay."""
        self.server.control.ask("DELETE", f"{ROOT}/messages", self._scope)

    # --- sending

    def send(
        self, subject: str = "", text: str = "", *, to: str | Iterable[str] | None = None, sender: str | None = None,
        cc: str | Iterable[str] = (), bcc: str | Iterable[str] = (), html: str | None = None,
        attachments: Sequence[Attached] = (), headers: Mapping[str, str] | None = None,
        message: EmailMessage | bytes | None = None,
    ) -> None:  # fmt: skip
        """Without `to`: a message comes to this mailbox, as from a stranger (`sender`). With `to`: this user logs in
        and sends one. Returns when it is in the mailboxes. `attachments` are paths, or (name, octets) or
        (name, octets, type); `message` goes as it is. Raises: smtplib.SMTPException."""
        from_here = to is not None
        recipients = _addresses(to) if to is not None else [self.address]
        by = sender if sender is not None else self.address if from_here else STRANGER
        copies, hidden = _addresses(cc), _addresses(bcc)
        made = message
        if made is None:
            made = letter(by, recipients, copies, subject, text, html, attachments, headers or {})
        place, login = (
            (self.server.submission, (self.address, self.password)) if from_here else (self.server.smtp, None)
        )
        submit(place, login, by, [*recipients, *copies, *hidden], made)

    # --- for programs

    def env(self) -> dict[str, str]:
        """Environment variables by which a program sends and reads as this user."""
        return environment(self.server._places, self.server.ca, self.address, self.password)

    def django(self) -> dict[str, Any]:
        """Django's EMAIL_* settings to send as this user."""
        return django_settings(self.server._places, self.address, self.password)

    # --- for reports

    def report(self) -> str:
        """What is there, how it came, and what the server's log says since the mailbox was asked for."""
        messages = self._list({"account": self.address})
        parts = [_counted(len(messages)) if messages else "no message", telling.listed(messages)]
        parts += [f"{telling.line(each)}\n{telling.whole(each)}" for each in messages[-SHOWN:]]
        log = self.server.log(self._log_position)[-telling.DIALOGUE_LINES :]
        parts += ["the server's log since this mailbox was made:", *(f"  {line}" for line in log)] if log else []
        return "\n".join(part for part in parts if part)

    # --- within

    @property
    def _scope(self) -> dict[str, str]:
        return {"account": self.address, "mailbox": self.name}

    def _title(self) -> str:
        return self.address if self.name == "INBOX" else f"{self.name} of {self.address}"

    def _list(self, query: Mapping[str, object], limit: int = MOST) -> list[Message]:
        document = self.server.control.ask("GET", f"{ROOT}/messages", {**query, "limit": limit})
        return [self._message(each) for each in reversed(document["messages"])]

    def _message(self, document: Mapping[str, Any]) -> Message:
        return Message(self.server.control, document)

    def _await(self, wanted: Wanted, count: int, end: float) -> list[Message] | None:
        """So many, the last ones that came; None if there are not enough in time."""
        query = {**self._scope, **wanted.query()}
        if not wanted.decides_here:
            return self._wait(query, count, end)
        seen: dict[str, tuple[Message, bool]] = {}
        while True:
            # one more than there are of those that are in question; the oldest are left behind if they are many
            fresh = len(seen) if len(seen) < MOST_AT_ONCE else 0
            if not fresh and seen:
                query["after"] = list(seen)[-1]
            came = self._wait(query, fresh + 1, end)
            if came is None:
                return None
            for message in came:
                if message.id not in seen:
                    seen[message.id] = (message, wanted.fits(message))
            fitting = [message for message, fits in seen.values() if fits]
            if len(fitting) >= count:
                return fitting[-count:]

    def _wait(self, query: Mapping[str, object], count: int, end: float) -> list[Message] | None:
        seconds = end - time.monotonic()
        if seconds <= 0:
            there = self._list(query, count)
            return there if len(there) >= count else None
        try:
            document = self.server.control.ask(
                "GET", f"{ROOT}/wait", {**query, "count": count, "timeout": f"{seconds:.3f}"}, waiting=seconds
            )
        except ApiProblem as problem:
            if problem.status == 408:
                return None
            raise
        return [self._message(each) for each in reversed(document["messages"])]

    def _what_came(self, wanted: Wanted, count: int, seconds: float) -> str:
        there = self.messages
        number = f"{count} messages" if count > 1 else "a message"
        parts = [f"no {number.removeprefix('a ')}{wanted.said()} came to {self._title()} within {seconds:g} s"]
        if there:
            parts.append(f"it has {_counted(len(there))}:\n{telling.listed(there)}")
            near = wanted.nearest(there)
            if near is not None:
                parts += [f"the nearest is {telling.line(near)}", wanted.difference(near), telling.whole(near)]
        else:
            parts.append("it has no message at all")
        elsewhere = self._elsewhere(wanted, there)
        if elsewhere:
            parts.append(f"but there is elsewhere:\n{telling.listed(elsewhere)}")
        return "\n".join(part for part in parts if part)

    def _elsewhere(self, wanted: Wanted, there: Sequence[Message]) -> list[Message]:
        """Such messages of other users, or in other mailboxes."""
        query = wanted.query()
        if not query:
            return []
        known = {each.id for each in there}
        return [each for each in self._list(query, telling.LIST) if each.id not in known and wanted.fits(each)]


STRANGER = "sender@example.org"


def _addresses(given: str | Iterable[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _counted(number: int) -> str:
    return "1 message" if number == 1 else f"{number} messages"
