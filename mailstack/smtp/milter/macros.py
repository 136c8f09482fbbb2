"""The macros that go with each step, as Sendmail and Postfix have them by default."""

from __future__ import annotations

from mailstack.mail.address import Address
from mailstack.mail.trace import address_literal
from mailstack.ports import Local, TlsInfo
from mailstack.smtp.facts import Facts

Pairs = list[tuple[str, str]]
"""Names without braces. Those whose value is "" are not sent."""


def of_connection(facts: Facts) -> Pairs:
    """With CONNECT. `daemon_name` is the role of the port, by which filters may tell users' mail from others'."""
    peer = facts.peer
    name = client_name(facts)
    return [
        ("j", facts.settings.hostname),
        ("_", name),
        ("daemon_name", facts.settings.role.value),
        ("v", "mailstack"),
        ("client_addr", peer.host),
        ("client_name", name),
        ("client_port", str(peer.port) if peer.host else ""),
    ]


def client_name(facts: Facts) -> str:
    """How a client without a name is called."""
    return address_literal(facts.peer.host) if facts.peer.host else "localhost"


def of_greeting(tls: TlsInfo | None) -> Pairs:
    """With HELO."""
    return [("tls_version", tls.version), ("cipher", tls.cipher)] if tls is not None else []


def of_sender(facts: Facts) -> Pairs:
    """With MAIL."""
    sender = facts.sender
    return [
        ("i", facts.transaction_id),
        ("auth_type", facts.mechanism),
        ("auth_authen", facts.login or ""),
        ("mail_addr", str(sender) if sender is not None else ""),
        ("mail_host", sender.domain if sender is not None else ""),
        ("mail_mailer", "smtp"),
    ]


def of_recipient(facts: Facts, recipient: Address) -> Pairs:
    """With RCPT."""
    return [
        ("i", facts.transaction_id),
        ("rcpt_addr", str(recipient)),
        ("rcpt_host", recipient.domain),
        ("rcpt_mailer", "local" if isinstance(facts.route, Local) else "smtp"),
    ]


def of_message(facts: Facts) -> Pairs:
    """With DATA and all that follows it."""
    return [("i", facts.transaction_id)]
