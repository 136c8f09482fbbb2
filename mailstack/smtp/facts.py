"""What is known about a client and the message it brings, for the checks and the trace fields."""

from __future__ import annotations

from dataclasses import dataclass

from mailstack.errors import Problem
from mailstack.mail.address import Address
from mailstack.ports import AccountName, Local, Peer, Remote
from mailstack.smtp.settings import SmtpSettings


@dataclass(slots=True)
class Facts:
    """The session fills this in as it goes; checks read it. What a stage knows is above its line."""

    settings: SmtpSettings
    peer: Peer
    tls: bool = False
    login: AccountName | None = None
    # --- connect
    helo: str = ""
    extended: bool = False
    # --- helo
    sender: Address | None = None
    declared_size: int = 0
    """Octets as of SIZE= (RFC 1870), 0 if not said."""
    smtputf8: bool = False
    body_8bit: bool = False
    # --- mail
    recipient: Address | None = None
    """The recipient in question; `recipients` were accepted before it."""
    route: Local | Remote | Problem | None = None
    """Where its mail goes, or why there is no such place."""
    recipients: int = 0
    # --- rcpt
    size: int = 0
    """Octets of mail data, also of those that were not kept."""
    received_fields: int = 0
    bare_newline: bool = False
    # --- end of data

    def forget_message(self) -> None:
        """Before MAIL, and after a transaction."""
        self.sender = None
        self.declared_size = 0
        self.smtputf8 = self.body_8bit = self.bare_newline = False
        self.recipient = self.route = None
        self.recipients = self.size = self.received_fields = 0

    def forget_all(self) -> None:
        """After STARTTLS nothing counts that was said before (RFC 3207 §4.2)."""
        self.forget_message()
        self.login = None
        self.helo = ""
        self.extended = False
