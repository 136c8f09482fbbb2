"""The beginning of what a message says, for lists of messages (RFC 8970): of its text/plain or text/html."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

from mailstack.mail import mime, transfer, words
from mailstack.mail.header import Findable

MAX_CHARACTERS = 200
"""RFC 8970 §3.3 recommends 200, and forbids more than 256."""
MAX_OCTETS = 64 * 1024
"""Octets of one part, still encoded, that are looked at; ours."""
MAX_PARTS = 10
"""Parts that are looked at until one says something; ours."""
_ENOUGH = 4 * MAX_CHARACTERS

_SPACE = re.compile(r"\s+")
# Characters that take no place: soft hyphen, combining grapheme joiner, zero widths, directions, BOM. Senders of
# advertisements fill the list with them.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff"
    "\x00-\x08\x0e-\x1f\x7f]+"
)
_QUOTED = re.compile(r"[ \t]*>")
_RULE = re.compile(r"[-=_*#~+. ]{3,}")


def preview(octets: Findable) -> str:
    """At most MAX_CHARACTERS of text without line ends; "" if the message has no text. Pure, and nothing raises."""
    for count, part in enumerate(_texts(mime.scan(octets))):
        if count == MAX_PARTS:
            break
        if text := _of_part(octets, part):
            return text
    return ""


def _texts(part: mime.Part) -> Iterator[mime.Part]:
    """Text parts in the order in which they should be tried."""
    waiting = [part]
    while waiting:
        part = waiting.pop()
        if part.children:
            # Of alternatives the plainest is the first (RFC 2046 §5.1.4), and the text before what is attached to it.
            waiting += reversed(part.children)
        elif part.message is not None:
            waiting.append(part.message)
        elif part.type == b"text" and part.subtype in (b"plain", b"html") and part.disposition != b"attachment":
            yield part


def _of_part(octets: Findable, part: mime.Part) -> str:
    undone = transfer.decoder(part.encoding)
    if undone is None:
        return ""
    end = min(part.end, part.body_start + MAX_OCTETS)
    data = undone.feed(octets[part.body_start : end])
    if end == part.end:
        data += undone.finish()
    text = words.decode(data, words.parameter(part.params, b"charset"))
    return plain(text) if part.subtype == b"plain" else _short(of_html(text))


def _short(text: str) -> str:
    """One line that is short enough."""
    return _SPACE.sub(" ", _UNSEEN.sub("", text)).strip()[:MAX_CHARACTERS].rstrip()


# --- text/plain -----------------------------------------------------------------------------


def plain(text: str) -> str:
    """Of a text, what its writer says: without quotations, the line that introduces one, rules and the signature.
    Where nothing is left of it, all of it."""
    said: list[str] = []
    length = 0
    for line in text.split("\n"):
        if line.rstrip("\r") == "-- " or length > _ENOUGH:
            break
        if _QUOTED.match(line):
            if said and said[-1].rstrip().endswith(":"):
                length -= len(said.pop())  # "On Monday she wrote:"
        elif line.strip() and not _RULE.fullmatch(line.strip()):
            said.append(line)
            length += len(line)
    return _short("\n".join(said)) or _short(text[: 4 * _ENOUGH])


# --- text/html ------------------------------------------------------------------------------

# tag = "<" ["/"] name attributes ">" ; an attribute's value may have ">" in it
_TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]*+)(?:[^<>\"']|\"[^\"<]*+\"|'[^'<]*+')*+>")
_OPEN = re.compile(r"<(?=[a-zA-Z/!?])")
_SILENT = frozenset({"head", "style", "script", "title", "template", "noscript", "svg", "object"})
_INLINE = frozenset({"a", "abbr", "b", "em", "font", "i", "s", "small", "span", "strong", "sub", "sup", "u", "wbr"})


def of_html(html: str) -> str:
    """The text of a document's beginning, with a space where a block begins or ends."""
    lower = html.lower() if len(html.lower()) == len(html) else html
    pieces: list[str] = []
    length = at = 0
    while at < len(html) and length < _ENOUGH:
        opened = _OPEN.search(html, at)
        text = unescape(html[at : opened.start() if opened else len(html)][: 2 * _ENOUGH])
        if text and not text.isspace():
            length += len(_short(text))
        pieces.append(text)
        if opened is None:
            break
        at, space = _behind(html, lower, opened.start())
        pieces.append(space)
    return "".join(pieces)


def _behind(html: str, lower: str, at: int) -> tuple[int, str]:
    """Where the markup that begins at `at` ends, and what stands in its place."""
    if html.startswith("<!--", at):
        return _after(html, "-->", at + 4), ""
    tag = _TAG.match(html, at)
    if tag is None:
        return _after(html, ">", at + 1), " "
    name = tag[1].lower()
    if name in _SILENT and html[at + 1] != "/":
        end = lower.find(f"</{name}", tag.end())
        return (_after(html, ">", end) if end >= 0 else len(html)), " "
    return tag.end(), "" if name in _INLINE else " "


def _after(html: str, what: str, at: int) -> int:
    end = html.find(what, at)
    return len(html) if end < 0 else end + len(what)
