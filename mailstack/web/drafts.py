"""A message to be sent, as JSON describes it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any

from mailstack.mail.lines import with_crlf
from mailstack.web.content import Person, summary
from mailstack.web.schemas import SCHEMAS
from mailstack.web.values import HttpProblem

MAX_RECIPIENTS = 1000
_MEMBERS = frozenset(SCHEMAS["Draft"]["properties"])
_TYPE = re.compile(r"([!#$&^_.+0-9A-Za-z-]+)/([!#$&^_.+0-9A-Za-z-]+)")
# field-name = 1*ftext   ; RFC 5322 §3.6.8
_FIELD_NAME = re.compile(r"[!-9;-~]{1,76}")
_ADDRESS = re.compile(r"[^<>\x00-\x20\x7f]+")


@dataclass(frozen=True, slots=True)
class Draft:
    """What goes to SMTP. `sender` "" is the null reverse-path."""

    sender: str
    recipients: tuple[str, ...]
    octets: bytes


def from_octets(octets: bytes, sender: str | None, to: str | None) -> Draft:
    """A whole message; what is not said of its envelope is taken from its header. Raises: HttpProblem."""
    octets = with_crlf(octets)
    said = summary(octets)
    people = (*said.to, *said.cc, *said.bcc)
    recipients = [each.strip() for each in to.split(",")] if to is not None else [each.address for each in people]
    author = said.sender[0].address if said.sender else ""
    return _checked(author if sender is None else sender, recipients, octets)


def from_json(document: Mapping[str, Any]) -> Draft:
    """Raises: HttpProblem."""
    unknown = [name for name in document if name not in _MEMBERS]
    if unknown:
        raise _bad(f"{unknown[0]!r} is not known here; expected {', '.join(sorted(_MEMBERS))}")
    author = _people(document, "from")
    people = {name: _people(document, name) for name in ("to", "cc", "bcc", "reply_to")}
    wide = not all(each.address.isascii() for found in (author, *people.values()) for each in found)
    message = EmailMessage(policy.SMTP.clone(utf8=wide))
    try:
        _head(message, document, author, people)
        _body(message, document)
        octets = with_crlf(message.as_bytes())
    except HttpProblem:
        raise
    except (ValueError, TypeError, IndexError, LookupError, AttributeError) as error:
        raise _bad(f"no message can be made of it: {error}") from None
    recipients = [each.address for name in ("to", "cc", "bcc") for each in people[name]]
    if "envelope_to" in document:
        recipients = [each.address for each in _people(document, "envelope_to")]
    sender = _text(document, "envelope_from") if "envelope_from" in document else author[0].address if author else ""
    return _checked(sender, recipients, octets)


def _checked(sender: str, recipients: list[str], octets: bytes) -> Draft:
    recipients = list(dict.fromkeys(recipients))
    if not recipients:
        raise _bad("nobody to send it to: expected to, cc or bcc, or envelope_to")
    if len(recipients) > MAX_RECIPIENTS:
        raise _bad(f"at most {MAX_RECIPIENTS} recipients")
    for address in (*recipients, *([sender] if sender else [])):
        if len(address) > 1000 or not _ADDRESS.fullmatch(address):
            raise _bad(f"{address[:100]!r} is no address")
    return Draft(sender, tuple(recipients), octets)


def _head(
    message: EmailMessage, document: Mapping[str, Any], author: list[Person], people: Mapping[str, list[Person]]
) -> None:
    for name, found in (("From", author), ("To", people["to"]), ("Cc", people["cc"]), ("Reply-To", people["reply_to"])):
        if found:
            message[name] = [_written(each) for each in found]
    message["Subject"] = _text(document, "subject")
    message["Date"] = formatdate()
    headers = document.get("headers", {})
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise _bad("headers: expected an object of strings")
    for name, value in headers.items():
        if not _FIELD_NAME.fullmatch(name):
            raise _bad(f"headers: {name[:100]!r} is no name of a field")
        if name in message:
            message.replace_header(name, value)
        else:
            message[name] = value


def _written(person: Person) -> Address:
    local, _, domain = person.address.rpartition("@")
    return Address(person.name, local or domain, domain if local else "")


def _body(message: EmailMessage, document: Mapping[str, Any]) -> None:
    text, html = _text(document, "text"), _text(document, "html")
    if text or not html:
        message.set_content(text)
        if html:
            message.add_alternative(html, subtype="html")
    else:
        message.set_content(html, subtype="html")
    attachments = document.get("attachments", [])
    if not isinstance(attachments, list):
        raise _bad("attachments: expected a list")
    for each in attachments:
        _attach(message, each)


def _attach(message: EmailMessage, each: object) -> None:
    if not isinstance(each, dict):
        raise _bad("attachments: expected objects")
    kind = _TYPE.fullmatch(_text(each, "type") or "application/octet-stream")
    if kind is None:
        raise _bad("attachments: expected a type as image/png")
    try:
        content = base64.b64decode(_text(each, "content"), validate=True)
    except (binascii.Error, ValueError):
        raise _bad("attachments: expected content in base64") from None
    cid, name = _text(each, "cid"), _text(each, "name")
    message.add_attachment(
        content, maintype=kind[1], subtype=kind[2], filename=name or None, cid=f"<{cid}>" if cid else None,
        disposition="inline" if cid else "attachment",
    )  # fmt: skip


def _text(document: Mapping[str, Any], name: str) -> str:
    found = document.get(name, "")
    if not isinstance(found, str):
        raise _bad(f"{name}: expected a string")
    return found


def _people(document: Mapping[str, Any], name: str) -> list[Person]:
    """One or several: "a@b.example", "Name <a@b.example>", or {"name": …, "address": …}."""
    given = document.get(name, [])
    found: list[Person] = []
    for each in given if isinstance(given, list) else [given]:
        if isinstance(each, dict):
            found.append(Person(_text(each, "name"), _text(each, "address")))
        elif isinstance(each, str) and "<" not in each:
            found += [Person("", address) for part in each.split(",") if (address := part.strip())]
        elif isinstance(each, str):
            said = summary(f"To: {each}\r\n\r\n".encode("utf-8", "replace")).to if "\n" not in each else ()
            found += said
        else:
            raise _bad(f"{name}: expected an address, or a list of addresses")
    return found


def _bad(detail: str) -> HttpProblem:
    return HttpProblem(400, "bad-message", detail)
