"""What a message needs of the server, whether that is there, and the commands that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mailstack.handover import Content, Outcome, Verdict
from mailstack.mail.address import Address, ascii_domain
from mailstack.ports import Envelope
from mailstack.smtp.client import outcomes
from mailstack.smtp.client.settings import Downconvert
from mailstack.smtp.wire import client_commands as commands
from mailstack.smtp.wire.offers import Offers

HEADER_LOOK = 128 * 1024
"""Octets at the beginning of a message that are looked at for a header in UTF-8."""
_EXPIRED = "5.4.7"
"""Delivery time expired (RFC 3463 §3.5)."""


@dataclass(slots=True)
class Plan:
    """One transaction: `mail`, a RCPT for each of `numbers` of the envelope's recipients, and what is sent then.
    `outcomes` has those recipients that this server cannot be asked for."""

    mail: bytes = b""
    rcpts: list[bytes] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Server:
    """What is known of the server at the other end."""

    mta: str
    offers: Offers
    tls_verified: bool
    authenticated: bool


async def fit(
    envelope: Envelope, content: Content, server: Server, downconvert: Downconvert | None, now: float
) -> tuple[Content, Envelope] | Outcome:
    """The message as this server can take it, or why it cannot. Raises: OSError."""
    refusal = _refusal(envelope, content.size, server, now)
    if refusal is not None:
        return refusal
    offers = server.offers
    if envelope.smtputf8 and "SMTPUTF8" not in offers:
        if not await _has_ascii_header(content):
            return _never(
                "5.6.7", "the message has header fields in UTF-8, and the server does not offer SMTPUTF8", server
            )
        envelope = replace(envelope, smtputf8=False)  # RFC 6531 §3.2: it does not need the extension
    if envelope.body_8bit and "8BITMIME" not in offers:
        converted = await downconvert(content) if downconvert is not None else None
        if converted is None:
            return _never("5.6.3", "the message has 8-bit text, and the server does not offer 8BITMIME", server)
        content, envelope = converted, replace(envelope, body_8bit=False)
    return content, envelope


def _refusal(envelope: Envelope, size: int, server: Server, now: float) -> Outcome | None:
    offers, asked = server.offers, envelope.parameters
    if offers.max_size and size > offers.max_size:
        return _never("5.3.4", f"the message has {size} octets, and the server takes at most {offers.max_size}", server)
    if asked.require_tls and envelope.sender is not None:
        # RFC 8689 §4.2.1; a report goes in any case (§5)
        if not server.tls_verified:
            return _never("5.7.10", "REQUIRETLS: no TLS with a verified certificate", server)
        if "REQUIRETLS" not in offers:
            return _never("5.7.30", "REQUIRETLS: the server does not offer it", server)
    by = asked.deliver_by
    if by is not None and by.or_return:
        # RFC 2852 §4.1: it does not go where its time is not watched, or where it is too short
        left = by.time - int(now)
        if left <= 0:
            return _never(_EXPIRED, "the time to deliver the message in is over", server)
        if "DELIVERBY" not in offers:
            return _never(
                _EXPIRED, "the message has to be delivered in time, and the server does not offer DELIVERBY", server
            )
        if left < offers.min_by_time:
            return _never(_EXPIRED, f"{left} seconds are left, and the server needs {offers.min_by_time}", server)
    return None


def make(envelope: Envelope, numbers: Sequence[int], size: int, server: Server, now: float) -> Plan:
    """The commands for as many of the recipients as the server takes at once; the others are in none of the
    plan's fields."""
    offers, plan = server.offers, Plan()
    utf8 = "SMTPUTF8" in offers
    sender = envelope.sender
    if sender is not None and not utf8 and not sender.is_ascii:
        sender = _in_ascii(sender)
        if sender is None:
            text = "the sender's address is not ASCII, and the server does not offer SMTPUTF8"
            plan.outcomes = dict.fromkeys(numbers, _never("5.6.7", text, server))
            return plan
    needs_utf8 = envelope.smtputf8 or (sender is not None and not sender.is_ascii)
    asked_of = envelope.rcpt_parameters
    most, domains = _Most(offers), envelope.recipients
    for number in numbers:
        recipient: Address | None = envelope.recipients[number]
        if recipient is not None and not recipient.is_ascii:
            recipient = recipient if utf8 else _in_ascii(recipient)
            needs_utf8 = needs_utf8 or utf8
        if recipient is None:
            text = "the address is not ASCII, and the server does not offer SMTPUTF8"
            plan.outcomes[number] = _never("5.6.7", text, server)
        elif most.has_room(domains[number].domain):
            plan.numbers.append(number)
            plan.rcpts.append(commands.rcpt(recipient, asked_of[number] if asked_of else None, offers))
    by = envelope.parameters.deliver_by
    plan.mail = commands.mail(
        sender, size, offers, envelope.parameters,
        body="8BITMIME" if envelope.body_8bit else "", smtputf8=needs_utf8,
        seconds_left=by.time - int(now) if by else 0, authenticated=server.authenticated,
    )  # fmt: skip
    return plan


class _Most:
    """How many recipients one transaction may have (RFC 9422 §4.2, §4.3)."""

    def __init__(self, offers: Offers) -> None:
        self._recipients = offers.limit("RCPTMAX")
        self._domains = offers.limit("RCPTDOMAINMAX")
        self._count = 0
        self._seen: set[str] = set()

    def has_room(self, domain: str) -> bool:
        """Whether one more in this domain can be among them, which it then is."""
        if self._recipients and self._count >= self._recipients:
            return False
        if self._domains:
            domain = ascii_domain(domain)
            if domain not in self._seen and len(self._seen) >= self._domains:
                return False
            self._seen.add(domain)
        self._count += 1
        return True


def _in_ascii(address: Address) -> Address | None:
    """The address with its domain as A-labels (RFC 6531 §3.2), None if its local-part is not ASCII."""
    domain = ascii_domain(address.domain)
    return Address(address.local_part, domain) if address.local_part.isascii() and domain.isascii() else None


async def _has_ascii_header(content: Content) -> bool:
    # Of the message. Header fields of parts in UTF-8, which are as forbidden, are rare without one in that.
    beginning = await content.read(0, min(content.size, HEADER_LOOK))
    end = beginning.find(b"\r\n\r\n")
    return (beginning if end < 0 else beginning[:end]).isascii()


def _never(status: str, text: str, server: Server) -> Outcome:
    return outcomes.ours(Verdict.NEVER, status, text, server.mta)
