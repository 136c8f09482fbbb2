"""Data items of FETCH that are small, and the same for as long as the message lives: what is made of a message
is kept, under a name that says how it was made (`ports.Mailbox.derive`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import NamedTuple

from mailstack.imap.wire import encode
from mailstack.imap.wire.values import BodySection, ContentItem, FetchAtt, FetchItem, Partial, Section, SectionText
from mailstack.mail import mime
from mailstack.mail.header import common_values, subset, whole_header
from mailstack.ports import Octets

VERSION = 2
"""Part of the names: to be raised when the form of what is kept changes."""
HEADER_SUBSETS = (SectionText.HEADER_FIELDS, SectionText.HEADER_FIELDS_NOT)


class Kept(NamedTuple):
    """One item: the name of what is kept, and the pure function that makes it of a message, label and all."""

    name: str
    make: Callable[[Octets], bytes]


def kept(items: Sequence[FetchItem], *, utf8: bool) -> tuple[Kept, ...]:
    """How these items are made and kept, in their order; empty if one of them is large, or a part of something."""
    found: list[Kept] = []
    for item in items:
        one = _kept(item, utf8)
        if one is None:
            return ()
        found.append(one._replace(name=f"{one.name}/utf8") if utf8 else one)
    return tuple(found)


def _kept(item: FetchItem, utf8: bool) -> Kept | None:
    match item:
        case FetchAtt.ENVELOPE:
            return Kept(f"{item.value} {VERSION}", partial(_envelope, utf8))
        case FetchAtt.BODY | FetchAtt.BODYSTRUCTURE:
            extended = item is FetchAtt.BODYSTRUCTURE
            return Kept(f"{item.value} {VERSION}", partial(_structure, item.value.encode(), extended, utf8))
        case ContentItem(name, render, kept) if kept:
            return Kept(kept, partial(_extension, name.encode(), render, utf8))
        case BodySection(section, None) if section.text in HEADER_SUBSETS and not section.part:
            label = b"BODY[%b]" % section_label(section)
            return Kept(f"{label.decode('latin-1')} {VERSION}", partial(_header_subset, label, *_wanted(section)))
    return None


def _envelope(utf8: bool, octets: Octets) -> bytes:
    return b"ENVELOPE " + encode.envelope_of_values(common_values(octets), utf8=utf8)


def _structure(label: bytes, extended: bool, utf8: bool, octets: Octets) -> bytes:
    return b"%b %b" % (label, encode.body(octets, mime.scan(octets), extended=extended, utf8=utf8))


def _extension(label: bytes, render: Callable[[Octets, bool], bytes], utf8: bool, octets: Octets) -> bytes:
    return b"%b %b" % (label, render(octets, utf8))


def _header_subset(label: bytes, names: Collection[bytes], exclude: bool, octets: Octets) -> bytes:
    return b"%b %b" % (label, _string(subset(whole_header(octets), names, exclude=exclude)))


def _wanted(section: Section) -> tuple[Collection[bytes], bool]:
    """The names of a section's fields in lower case, and whether it is all but those."""
    names = frozenset(name.lower() for name in section.fields)
    return names, section.text is SectionText.HEADER_FIELDS_NOT


def header_subset(header: bytes, section: Section, partial: Partial | None) -> bytes:
    """The fields of a header that a section names, or the part of them that is wanted, as a string."""
    names, exclude = _wanted(section)
    found = subset(header, names, exclude=exclude)
    return _string(found if partial is None else found[partial.offset : partial.offset + partial.length])


def _string(found: bytes) -> bytes:
    return encode.literal(found) if found else b'""'


def part_label(numbers: Sequence[int]) -> bytes:
    return b".".join([b"%d" % number for number in numbers])


def section_label(section: Section) -> bytes:
    # section-spec = section-msgtext / (section-part ["." section-text])   ; RFC 9051 §9
    text = section.text.value.encode()
    if section.text in HEADER_SUBSETS:
        text += b" (%b)" % b" ".join([encode.astring(name) for name in section.fields])
    if not section.part:
        return text
    return b"%b.%b" % (part_label(section.part), text) if text else part_label(section.part)
