"""Messages as JSON."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from mailstack.arrivals import Arrival
from mailstack.ports import Flag
from mailstack.web.content import Leaf, Summary, links, people, timestamp
from mailstack.web.library import Found, Read

ROOT = "/api/v1"
_FLAGS = (
    (Flag.SEEN, "\\Seen"), (Flag.ANSWERED, "\\Answered"), (Flag.FLAGGED, "\\Flagged"), (Flag.DELETED, "\\Deleted"),
    (Flag.DRAFT, "\\Draft"),
)  # fmt: skip


def place_of(message_id: str) -> str:
    """The path of a message."""
    return f"{ROOT}/messages/{quote(message_id, safe='')}"


def summary_document(found: Found) -> dict[str, Any]:
    """One of a list."""
    listed, said = found.listed, found.summary
    return {
        "id": listed.id,
        "account": found.account,
        "mailbox": listed.mailbox,
        "received": timestamp(listed.at or None),
        "size": listed.octets if listed.octets >= 0 else None,
        "flags": [name for flag, name in _FLAGS if listed.flags & flag],
        "unread": not listed.flags & Flag.SEEN,
        "subject": said.subject,
        "from": said.sender[0].document() if said.sender else None,
        "to": people(said.to),
        "cc": people(said.cc),
        "date": timestamp(said.date),
        "message_id": said.message_id,
    }


def message_document(read: Read, arrival: Arrival | None) -> dict[str, Any]:
    """All of one."""
    found, content = read.found, read.content
    text, html = content.texts()
    said, place = found.summary, place_of(found.listed.id)
    return summary_document(found) | {
        "size": len(content.octets),
        "bcc": people(said.bcc),
        "reply_to": people(said.reply_to),
        "text": text,
        "html": html,
        "links": links(text, html),
        "headers": content.header_fields(),
        "attachments": [_attachment(leaf, content.octets, place) for leaf in content.attachments()],
        **_journey_document(said, arrival),
        "raw_url": f"{place}/raw",
        "html_url": f"{place}/html" if content.html else None,
    }


def _attachment(leaf: Leaf, octets: bytes, place: str) -> dict[str, Any]:
    return {
        "part": leaf.number,
        "name": leaf.name,
        "type": leaf.type,
        "disposition": leaf.disposition,
        "cid": leaf.cid,
        "size": len(leaf.decoded(octets)),
        "url": f"{place}/parts/{leaf.number}",
    }


def _journey_document(said: Summary, arrival: Arrival | None) -> dict[str, Any]:
    """How it came: as it was seen, or as far as its trace fields tell."""
    if arrival is None:
        return {
            "envelope": {"from": said.envelope_from, "to": list(said.envelope_to)},
            "delivered_to": said.envelope_to[0] if said.envelope_to else None,
            "tls": None,
            "auth_user": None,
            "smtp": None,
        }
    return {
        "envelope": {"from": arrival.sender, "to": list(arrival.recipients)},
        "delivered_to": said.envelope_to[0] if said.envelope_to else None,
        "tls": {"version": arrival.tls.version, "cipher": arrival.tls.cipher} if arrival.tls else None,
        "auth_user": arrival.login,
        "smtp": {
            "transaction": arrival.id,
            "protocol": arrival.protocol,
            "helo": arrival.helo,
            "peer": {"host": arrival.peer.host, "port": arrival.peer.port},
            "at": timestamp(arrival.at),
            "dialogue": list(arrival.dialogue),
        },
    }
