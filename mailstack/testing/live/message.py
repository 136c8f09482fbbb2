"""One message as a test sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from mailstack.testing.live import telling
from mailstack.testing.live.control import ROOT, ApiProblem, Control
from mailstack.testing.live.failures import MailAssertionError
from mailstack.testing.live.page import Page

if TYPE_CHECKING:
    from email.message import EmailMessage

Text = str | re.Pattern[str]
"""What is looked for: a part, in any case, or a pattern that is found somewhere."""


class Address(str):
    """An address, with the name that stood beside it."""

    name: str

    def __new__(cls, address: str, name: str = "") -> Self:
        made = super().__new__(cls, address)
        made.name = name
        return made

    @property
    def shown(self) -> str:
        """As in a header field."""
        return f"{self.name} <{self}>" if self.name else str(self)


class Headers(Mapping[str, str]):
    """Header fields in their order, unfolded and decoded. `[name]` is the first one, in any case."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self.fields = fields

    def __getitem__(self, name: str) -> str:
        for each, value in self.fields:
            if each.lower() == name.lower():
                return value
        raise KeyError(name)

    def all(self, name: str) -> list[str]:
        """Every field of this name."""
        return [value for each, value in self.fields if each.lower() == name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self.fields))

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self.fields})


class Attachment:
    """A part that is neither the text nor the HTML. `size` in octets, decoded; `cid` and `name` are "" without one."""

    def __init__(self, message: Message, document: Mapping[str, Any]) -> None:
        self._message = message
        self.part = str(document["part"])
        self.name = str(document["name"])
        self.type = str(document["type"])
        self.disposition = str(document["disposition"])
        self.cid = str(document["cid"])
        self.size = int(document["size"])

    @cached_property
    def content(self) -> bytes:
        """Decoded."""
        return self._message._octets(f"/parts/{quote(self.part, safe='')}")

    @property
    def text(self) -> str:
        """As UTF-8; what is none becomes U+FFFD."""
        return self.content.decode("utf-8", "replace")

    def __repr__(self) -> str:
        return f"<Attachment {self.name!r} {self.type} of {self.size} octets>"


class Message:
    """One message in a mailbox. What it says is read when it is asked for; the message must still be there then."""

    def __init__(self, control: Control, document: Mapping[str, Any]) -> None:
        self._control = control
        self._document = document
        self.id = str(document["id"])
        """Of the HTTP API."""

    def _octets(self, part: str) -> bytes:
        try:
            return self._control.octets(f"{ROOT}/messages/{quote(self.id, safe='')}{part}")
        except ApiProblem as problem:
            raise MailAssertionError(f"the message cannot be read, {problem}: {self!r}") from None

    @cached_property
    def _whole(self) -> Mapping[str, Any]:
        if "text" in self._document:
            return self._document
        try:
            return self._control.ask("GET", f"{ROOT}/messages/{quote(self.id, safe='')}")
        except ApiProblem as problem:
            raise MailAssertionError(f"the message cannot be read, {problem}: {self!r}") from None

    # --- the header

    @property
    def subject(self) -> str:
        return str(self._document["subject"])

    @property
    def sender(self) -> Address:
        """Of From; "" if there is none."""
        found = self._document["from"]
        return _address(found) if found else Address("")

    @property
    def to(self) -> list[Address]:
        return [_address(each) for each in self._document["to"]]

    @property
    def cc(self) -> list[Address]:
        return [_address(each) for each in self._document["cc"]]

    @property
    def bcc(self) -> list[Address]:
        """What a program left in the message for all to see."""
        return [_address(each) for each in self._whole["bcc"]]

    @property
    def reply_to(self) -> list[Address]:
        return [_address(each) for each in self._whole["reply_to"]]

    @property
    def date(self) -> datetime | None:
        """Of Date, in UTC."""
        return _moment(self._document["date"])

    @property
    def message_id(self) -> str:
        return str(self._document["message_id"])

    @cached_property
    def headers(self) -> Headers:
        return Headers([(str(each["name"]), str(each["value"])) for each in self._whole["headers"]])

    # --- what it says

    @property
    def text(self) -> str:
        """Its plain text, with LF; "" if it has none."""
        return str(self._whole["text"])

    @property
    def html(self) -> str:
        return str(self._whole["html"])

    @cached_property
    def page(self) -> Page:
        """What a reader of the HTML sees."""
        return Page.of(self.html)

    @property
    def attachments(self) -> list[Attachment]:
        return [Attachment(self, each) for each in self._whole["attachments"]]

    @property
    def links(self) -> list[str]:
        """The http and https URLs of text and HTML, each once."""
        return [str(each) for each in self._whole["links"]]

    @cached_property
    def raw(self) -> bytes:
        """Its octets, with the server's trace fields at the top."""
        return self._octets("/raw")

    @cached_property
    def message(self) -> EmailMessage:
        """The same, parsed by Python's own package."""
        from email import message_from_bytes, policy

        return message_from_bytes(self.raw, policy=policy.default)

    # --- how it came

    @property
    def mailbox(self) -> str:
        """In which one it is: INBOX, Sent, …"""
        return str(self._document["mailbox"])

    @property
    def received(self) -> datetime | None:
        """When it came, in UTC."""
        return _moment(self._document["received"])

    @property
    def size(self) -> int:
        """Octets."""
        return int(self._document["size"] or self._whole["size"])

    @property
    def unread(self) -> bool:
        """Whether nobody had looked at it by IMAP or POP3."""
        return bool(self._document["unread"])

    @property
    def envelope_from(self) -> str:
        """The reverse-path; "" for reports of failure."""
        return str(self._whole["envelope"]["from"])

    @property
    def envelope_to(self) -> list[str]:
        """All recipients of the transaction; Bcc's are here, too."""
        return [str(each) for each in self._whole["envelope"]["to"]]

    @property
    def tls(self) -> str:
        """The version of TLS by which it came, as "TLSv1.3"; "" for none."""
        found = self._whole["tls"]
        return str(found["version"]) if found else ""

    @property
    def auth_user(self) -> str:
        """Who had logged in to send it; "" for nobody."""
        return str(self._whole["auth_user"] or "")

    @property
    def dialogue(self) -> list[str]:
        """The SMTP dialogue, lines "C: …" and "S: …"; empty if it came by IMAP, or is not remembered any more."""
        found = self._whole["smtp"]
        return [str(line) for line in found["dialogue"]] if found else []

    # --- what tests look for

    def link(self, wanted: Text | None = None) -> str:
        """The first link whose URL, or whose text in the HTML, has `wanted`. Raises: MailAssertionError."""
        __tracebackhide__ = True
        named = self.page.links if self.html else []
        for url in self.links:
            if wanted is None or has(wanted, url) or any(has(wanted, text) for each, text in named if each == url):
                return url
        shown = "".join(f"\n  {url}" for url in self.links) or " none"
        asked = "" if wanted is None else f" with {said(wanted)}"
        raise MailAssertionError(f"no link{asked}; the message has{shown}\n{telling.whole(self)}")

    def code(self, digits: int = 6, pattern: Text | None = None) -> str:
        """The first number of so many digits that is no part of a longer one or of a link; `123 456` and `123-456` are
        found if there is none in one piece. With a `pattern`: its first group, or all it matches. In the text, then in
        the HTML. Raises: MailAssertionError."""
        __tracebackhide__ = True
        texts = [_URL.sub(" ", text) for text in (self.text, self.page.text)]
        half = digits // 2
        tried = (
            [re.compile(pattern)] if pattern is not None
            else [re.compile(rf"(?<![\w.-])\d{{{digits}}}(?![\w-])"),
                  re.compile(rf"(?<![\w.-])\d{{{half}}}[ -]\d{{{digits - half}}}(?![\w-])")]
        )  # fmt: skip
        for each in tried:
            for text in texts:
                if match := each.search(text):
                    found = match[1] if match.re.groups else match[0]
                    return found if pattern is not None else found.replace(" ", "").replace("-", "")
        wanted = f"that matches {said(pattern)}" if pattern is not None else f"of {digits} digits"
        raise MailAssertionError(f"no code {wanted} in the message\n{telling.whole(self)}")

    def attachment(self, name: Text | None = None) -> Attachment:
        """The first whose name, or type, has `name`. Raises: MailAssertionError."""
        __tracebackhide__ = True
        found = self.attachments
        for each in found:
            if name is None or has(name, each.name) or has(name, each.type):
                return each
        asked = "" if name is None else f" with {said(name)}"
        shown = "".join(f"\n  {each.name!r} {each.type} of {each.size} octets" for each in found) or " none"
        raise MailAssertionError(f"no attachment{asked}; the message has{shown}\n{telling.whole(self)}")

    def assert_subject(self, wanted: Text) -> Self:
        """Equal, or found by a pattern. Raises: MailAssertionError, as all of these; each returns the message."""
        __tracebackhide__ = True
        return self._expect("subject", self.subject, wanted)

    def assert_sender(self, wanted: Text) -> Self:
        """Equal to From's address, in any case."""
        __tracebackhide__ = True
        return self._expect("sender", self.sender.lower(), wanted.lower() if isinstance(wanted, str) else wanted)

    def assert_to(self, *wanted: str) -> Self:
        """To's addresses are these, in any order."""
        __tracebackhide__ = True
        return self._expect_addresses("to", self.to, wanted)

    def assert_cc(self, *wanted: str) -> Self:
        """Cc's addresses are these, in any order."""
        __tracebackhide__ = True
        return self._expect_addresses("cc", self.cc, wanted)

    def assert_recipients(self, *wanted: str) -> Self:
        """The envelope's recipients are these, in any order."""
        __tracebackhide__ = True
        return self._expect_addresses("recipients", self.envelope_to, wanted)

    def assert_text(self, wanted: Text) -> Self:
        """In the plain text, as it stands there."""
        __tracebackhide__ = True
        return self._expect_within("text", self.text, wanted)

    def assert_html(self, wanted: Text) -> Self:
        """In the HTML's source, or in what a reader sees of it."""
        __tracebackhide__ = True
        return self if found(wanted, self.html) else self._expect_within("html", self.page.text, wanted)

    def assert_header(self, name: str, wanted: Text | None = None) -> Self:
        """There is such a field; with this value, or one that the pattern finds."""
        __tracebackhide__ = True
        values = self.headers.all(name)
        if not values:
            names = ", ".join(self.headers)
            raise MailAssertionError(f"no header field {name}; the message has {names}\n{telling.whole(self)}")
        if wanted is None or any(equal(wanted, value) for value in values):
            return self
        return self._expect(f"header field {name}", values[0], wanted)

    def assert_tls(self) -> Self:
        """It came by TLS."""
        __tracebackhide__ = True
        if not self.tls:
            raise MailAssertionError(f"it came without TLS\n{telling.whole(self)}")
        return self

    def assert_auth_user(self, wanted: str) -> Self:
        """Who had logged in."""
        __tracebackhide__ = True
        return self._expect("auth_user", self.auth_user, wanted)

    def _expect(self, what: str, value: str, wanted: Text) -> Self:
        __tracebackhide__ = True
        if equal(wanted, value):
            return self
        shown = telling.difference(wanted, value) if isinstance(wanted, str) else f"  {value!r}"
        raise MailAssertionError(f"{what}: expected {said(wanted)}, but it is\n{shown}\n{telling.whole(self)}")

    def _expect_within(self, what: str, value: str, wanted: Text) -> Self:
        __tracebackhide__ = True
        if found(wanted, value):
            return self
        near = telling.nearest_line(wanted, value) if isinstance(wanted, str) else ""
        raise MailAssertionError(f"{what}: {said(wanted)} is not in it{near}\n{telling.whole(self)}")

    def _expect_addresses(self, what: str, value: list[Any], wanted: tuple[str, ...]) -> Self:
        __tracebackhide__ = True
        have, want = sorted(each.lower() for each in value), sorted(each.lower() for each in wanted)
        if have == want:
            return self
        missing = [each for each in want if each not in have]
        more = [each for each in have if each not in want]
        told = "; ".join(
            f"{word} {', '.join(each)}" for word, each in (("missing", missing), ("too many", more)) if each
        )
        raise MailAssertionError(f"{what}: {told or f'expected {want}, but it is {have}'}\n{telling.whole(self)}")

    def __repr__(self) -> str:
        return f"<Message {self.subject!r} from {self.sender or 'nobody'} to {', '.join(self.to) or 'nobody'}>"


_URL = re.compile(r"https?://\S+")


def has(wanted: Text, value: str) -> bool:
    """A part in any case, or a pattern that is found."""
    return wanted.lower() in value.lower() if isinstance(wanted, str) else wanted.search(value) is not None


def found(wanted: Text, value: str) -> bool:
    """A part as it is, or a pattern that is found."""
    return wanted in value if isinstance(wanted, str) else wanted.search(value) is not None


def equal(wanted: Text, value: str) -> bool:
    """The whole, or a pattern that is found."""
    return wanted == value if isinstance(wanted, str) else wanted.search(value) is not None


def said(wanted: Text) -> str:
    """In a failure's words."""
    return repr(wanted) if isinstance(wanted, str) else f"pattern {wanted.pattern!r}"


def _address(document: Mapping[str, Any]) -> Address:
    return Address(str(document["address"]), str(document["name"]))


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
