"""What SEARCH has to know of a message's texts for BODY and TEXT: all of them, folded, for an account that keeps them.

Texts are kept one after the other with FF between them, which is in no UTF-8: finding the octets of a folded text
is finding the text in one of them. Messages above MEMORY_LIMIT are read as they are instead."""

from __future__ import annotations

from mailstack.imap.search_content import Content, one_blank
from mailstack.imap.search_keys import Source
from mailstack.imap.summary import folded
from mailstack.imap.wire.values import BodyHas, SearchKey, TextHas
from mailstack.ports import TEXT_ITEM, Octets, Wanted

BODY_ITEM = TEXT_ITEM + "body/1"
HEADER_ITEM = TEXT_ITEM + "headers/1"
"""Names under which they are kept; others whenever what is made changes."""


def body(octets: Octets) -> bytes:
    """Pure; for Mailbox.derive."""
    return b"\xff".join([_octets(text) for text in Content(octets).body_texts()])


def header(octets: Octets) -> bytes:
    """Pure; for Mailbox.derive."""
    content = Content(octets)
    return b"\xff".join([_octets(text) for text in (content.header_text(), *content.part_header_texts())])


def texts_of(value: bytes) -> list[str]:
    """The texts that are kept in a value of either kind."""
    return [text.decode("utf-8", "surrogatepass") for text in value.split(b"\xff")]


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def sources(key: SearchKey) -> tuple[Source, ...]:
    """Where a key finds what it looks for; it matches if it does so in one. Empty for another key."""
    match key:
        case BodyHas(text):
            return ((BODY_ITEM, body, Wanted(folded(text))),)
        case TextHas(text):
            return (HEADER_ITEM, header, Wanted(folded(one_blank(text)))), (BODY_ITEM, body, Wanted(folded(text)))
    return ()
