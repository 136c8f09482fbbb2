"""Variable envelope return paths: a reverse-path for each recipient, so that a bounce says by where it comes to whose
address is bad, whatever its text. `news@example.org` to `bob@example.net` is sent from
`news+bob=example.net@example.org`, which plus-addressing brings back to news. Pure.

It is for accounts that write to many, and costs one copy of the message for each recipient on the wire. Whose mail has
it is a matter of the queue: for accounts that its configuration names, it makes one item of each recipient, with the
sender that `encoded` gives. The delimiter is the domain's `plus_delimiter`."""

from __future__ import annotations

from mailstack.mail.address import Address

DELIMITER = "+"
MAX_LOCAL_PART = 64
"""Octets (RFC 5321 §4.5.3.1.1)."""


def encoded(sender: Address, recipient: Address, delimiter: str = DELIMITER) -> Address | None:
    """The reverse-path for mail to this recipient. None where there is none: it would be too long, the recipient
    has no domain, or needs UTF-8 while the sender does not."""
    if not recipient.domain or not sender.domain or not (recipient.is_ascii or not sender.is_ascii):
        return None
    made = Address(f"{sender.local_part}{delimiter}{recipient.local_part}={recipient.domain}", sender.domain)
    return made if len(made.local_part.encode("utf-8", "surrogatepass")) <= MAX_LOCAL_PART else None


def decoded(address: Address, sender: Address, delimiter: str = DELIMITER) -> Address | None:
    """The recipient whose mail of `sender` had this reverse-path; None if it is none of those."""
    begin = f"{sender.local_part}{delimiter}"
    if address.domain.lower() != sender.domain.lower() or not address.local_part.lower().startswith(begin.lower()):
        return None
    local, equals, domain = address.local_part[len(begin) :].rpartition("=")
    return Address(local, domain) if equals and local and domain else None
