"""What stands in a message, taken apart for JSON. Pure; nothing raises, whatever the message."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

from mailstack.mail import header as headers
from mailstack.mail import mime, transfer, words
from mailstack.mail.addresses import address_list
from mailstack.mail.dates import sent_date

MAX_TEXT = 4 * 1024 * 1024
"""Octets of a text part that are shown; the part itself has all."""
MAX_LINKS = 1000
MAX_HEADER_FIELDS = 2000
_TOKEN = re.compile(r"[!#$&^_.+0-9A-Za-z-]+")
_ANGLE = re.compile(rb"<([^<>\r\n]*)>")
# An address that a reader of the text would click on, without the punctuation of the sentence behind it.
_LINK = re.compile(r"https?://[^\s<>\"'`\\^{|}\x00-\x1f]+", re.IGNORECASE)
_HREF = re.compile(r"""\bhref\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_CID = re.compile(r"""(?<![A-Za-z])cid:([^"'\s)>]{1,500})""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Person:
    """A name, or "", and an address."""

    name: str
    address: str

    def document(self) -> dict[str, str]:
        return {"name": self.name, "address": self.address}


@dataclass(frozen=True, slots=True)
class Summary:
    """What the header says. `date` in seconds since the epoch. What our own trace fields say of the envelope is of the
    copy at hand: `envelope_to` is the address that brought it here."""

    subject: str
    sender: tuple[Person, ...]
    to: tuple[Person, ...]
    cc: tuple[Person, ...]
    bcc: tuple[Person, ...]
    reply_to: tuple[Person, ...]
    date: int | None
    message_id: str
    envelope_from: str
    envelope_to: tuple[str, ...]


def summary(octets: headers.Findable) -> Summary:
    """Of a message, or its beginning."""
    found = headers.values(headers.block(octets, 0, headers.body_start(octets, 0, len(octets))))

    def first(name: bytes) -> bytes:
        return headers.unfold(found[name][0]) if name in found else b""

    def people(name: bytes) -> tuple[Person, ...]:
        return tuple([person for value in found.get(name, ()) for person in _people(headers.unfold(value))])

    path = _ANGLE.search(first(b"return-path"))
    return Summary(
        subject=words.decode_words(first(b"subject")),
        sender=people(b"from"),
        to=people(b"to"),
        cc=people(b"cc"),
        bcc=people(b"bcc"),
        reply_to=people(b"reply-to"),
        date=sent_date(first(b"date")),
        message_id=words.guess(first(b"message-id")),
        envelope_from=words.guess(path[1]) if path else "",
        envelope_to=tuple([words.guess(headers.unfold(value)) for value in found.get(b"delivered-to", ())[:1]]),
    )


def _people(value: bytes) -> Iterator[Person]:
    for each in address_list(value):
        if each.host is not None:
            local, host = words.guess(each.mailbox or b""), words.guess(each.host)
            yield Person(words.decode_words(each.name or b""), f"{local}@{host}" if host else local)


@dataclass(slots=True)
class Leaf:
    """A part without parts. `number` as IMAP has it ("1.2"), `name` of the file or ""."""

    number: str
    part: mime.Part
    name: str
    cid: str

    @property
    def type(self) -> str:
        kind, subtype = words.guess(self.part.type), words.guess(self.part.subtype)
        if not _TOKEN.fullmatch(kind) or not _TOKEN.fullmatch(subtype):
            return "application/octet-stream"
        return f"{kind}/{subtype}"

    @property
    def charset(self) -> str:
        found = words.parameter(self.part.params, b"charset")
        return found if _TOKEN.fullmatch(found) else ""

    @property
    def disposition(self) -> str:
        return words.guess(self.part.disposition or b"")

    def decoded(self, octets: bytes) -> bytes:
        """Its octets; as they are if the encoding is unknown."""
        raw = octets[self.part.body_start : self.part.end]
        undone = transfer.decode(raw, self.part.encoding)
        return raw if undone is None else undone

    def text(self, octets: bytes) -> str:
        """Line ends are LF."""
        decoded = self.decoded(octets)[:MAX_TEXT]
        text = words.decode(decoded, words.parameter(self.part.params, b"charset"))
        return text.replace("\r\n", "\n")


@dataclass(slots=True)
class Content:
    """A whole message. `text` and `html` are its first ones that are no attachments."""

    octets: bytes
    leaves: list[Leaf] = field(default_factory=list)
    text: Leaf | None = None
    html: Leaf | None = None

    @classmethod
    def of(cls, octets: bytes) -> Content:
        content = cls(octets)
        content.leaves = [_leaf(number, part) for number, part in _leaves(mime.scan(octets))]
        for leaf in content.leaves:
            if leaf.part.type != b"text" or leaf.disposition == "attachment":
                continue
            if leaf.part.subtype == b"html":
                content.html = content.html or leaf
            elif leaf.part.subtype == b"plain" and not leaf.name:
                content.text = content.text or leaf
        return content

    def texts(self) -> tuple[str, str]:
        """Text and HTML, "" where there is none."""
        return tuple([leaf.text(self.octets) if leaf else "" for leaf in (self.text, self.html)])  # type: ignore[return-value]

    def attachments(self) -> list[Leaf]:
        """All parts that are neither the text nor the HTML."""
        return [leaf for leaf in self.leaves if leaf is not self.text and leaf is not self.html]

    def leaf(self, number: str) -> Leaf | None:
        return next((leaf for leaf in self.leaves if leaf.number == number), None)

    def header_fields(self) -> list[dict[str, str]]:
        """All fields in their order, unfolded, with encoded-words decoded."""
        block = headers.block(self.octets, 0, headers.body_start(self.octets, 0, len(self.octets)))
        found: list[dict[str, str]] = []
        for each in headers.fields(block):
            if len(found) == MAX_HEADER_FIELDS:
                break
            value = words.decode_words(headers.unfold(block[each.value : each.end]))
            found.append({"name": words.guess(each.name), "value": value})
        return found


def _leaves(part: mime.Part, number: str = "") -> Iterator[tuple[str, mime.Part]]:
    if part.children:
        for count, child in enumerate(part.children, 1):
            yield from _leaves(child, f"{number}.{count}" if number else str(count))
    else:
        yield number or "1", part


def _leaf(number: str, part: mime.Part) -> Leaf:
    name = words.parameter(part.disposition_params, b"filename") or words.parameter(part.params, b"name")
    cid = words.guess(part.id or b"").strip().strip("<>")
    return Leaf(number, part, name, cid)


def links(text: str, html: str) -> list[str]:
    """The http and https URLs that a reader could follow, each once, in their order; the text's first."""
    from html import unescape

    found: dict[str, None] = {}
    for match in _LINK.finditer(text):
        found[_trimmed(match[0])] = None
    for match in _HREF.finditer(html):
        url = unescape(match[1] or match[2] or match[3] or "").strip()
        if url.lower().startswith(("http://", "https://")):
            found[url] = None
    return list(found)[:MAX_LINKS]


def _trimmed(url: str) -> str:
    url = url.rstrip(".,;:!?*_")
    for opening, closing in ("()", "[]"):
        while url.endswith(closing) and url.count(closing) > url.count(opening):
            url = url[:-1].rstrip(".,;:!?*_")
    return url


def with_parts(content: Content, base: str) -> str:
    """The HTML with its cid: URLs (RFC 2392) led to parts below `base`; those of no part stay as they are."""
    if content.html is None:
        return ""
    places = {leaf.cid: leaf.number for leaf in content.leaves if leaf.cid}

    def place(match: re.Match[str]) -> str:
        number = places.get(unquote(match[1])) or places.get(match[1])
        return f"{base}/parts/{quote(number)}" if number else match[0]

    return _CID.sub(place, content.html.text(content.octets))


@lru_cache(16_384)
def timestamp(when: float | None) -> str | None:
    """RFC 3339, in UTC."""
    if when is None:
        return None
    try:
        made = datetime.fromtimestamp(when, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return made.isoformat(timespec="milliseconds" if when % 1 else "seconds").replace("+00:00", "Z")


def people(found: tuple[Person, ...]) -> list[dict[str, Any]]:
    """As JSON has them."""
    return [person.document() for person in found]
