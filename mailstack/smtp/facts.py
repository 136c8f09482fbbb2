"""What is known about a client and the message it brings, for the checks and the trace fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mailstack.errors import Problem
from mailstack.mail.address import Address
from mailstack.mail.parameters import NOTHING_SAID, NOTHING_SAID_OF_RECIPIENT, MailParameters, RcptParameters
from mailstack.ports import AccountName, Local, Peer, Remote
from mailstack.smtp.settings import SmtpSettings
from mailstack.smtp.wire.values import Parameter

if TYPE_CHECKING:
    from mailstack.smtp.checks.frame import Mark
    from mailstack.smtp.milter.milters import Milters


@dataclass(slots=True)
class Facts:
    """The session fills this in as it goes; checks read it. What a stage knows is above its line."""

    settings: SmtpSettings
    peer: Peer
    """The client, or for whom a trusted proxy speaks (XCLIENT)."""
    connected: Peer
    """At the other end of the connection itself."""
    tls: bool = False
    login: AccountName | None = None
    mechanism: str = ""
    """The SASL mechanism of the login, "" if it is a proxy's word."""
    mechanisms: tuple[str, ...] = ()
    """By which one might log in, as of the last EHLO."""
    account_counted: bool = False
    """This connection is one of the account's already."""
    errors: int = 0
    """Replies of 5xx."""
    # --- connect
    talked_first: bool = False
    """The client did not wait for the greeting."""
    # --- greeting
    local: str = ""
    """The address that the client has connected to; only where the client says an address."""
    helo: str = ""
    extended: bool = False
    # --- helo
    now: float = 0.0
    """When EHLO or MAIL came, in seconds since the epoch."""
    transaction_id: str = ""
    sender: Address | None = None
    arguments: tuple[Parameter, ...] = ()
    """What stood behind the address in MAIL, or in the RCPT in question."""
    declared_size: int = 0
    """Octets as of SIZE= (RFC 1870), 0 if not said."""
    smtputf8: bool = False
    body_8bit: bool = False
    binary: bool = False
    """The message comes as BODY=BINARYMIME, and goes on as 8BITMIME."""
    parameters: MailParameters = NOTHING_SAID
    priority_changed: bool = False
    """The priority in `parameters` is not the one that was asked for."""
    # --- mail
    recipient: Address | None = None
    """The recipient in question; `recipients` were accepted before it."""
    route: Local | Remote | Problem | None = None
    """Where its mail goes, or why there is no such place."""
    rcpt_parameters: RcptParameters = NOTHING_SAID_OF_RECIPIENT
    """Of the recipient in question."""
    recipients: int = 0
    # --- rcpt
    size: int = 0
    """Octets of mail data, also of those that were not kept."""
    received_fields: int = 0
    delivered_already: bool = False
    """Delivered-To fields name all recipients."""
    bare_newline: bool = False
    # --- end of data
    forwarded: dict[str, str] = field(default_factory=dict)
    """What XFORWARD said of where the message comes from, by attribute."""
    connection_marks: list[Mark] = field(default_factory=list)
    helo_marks: list[Mark] = field(default_factory=list)
    message_marks: list[Mark] = field(default_factory=list)
    """What checks noticed of the connection, of the EHLO that counts, and of this message."""
    milters: Milters | None = None
    """The filters beside us that are asked, if there are any."""

    def forget_message(self) -> None:
        """Before MAIL, and after a transaction."""
        self.sender = None
        self.transaction_id = ""
        self.arguments = ()
        self.message_marks.clear()
        self.declared_size = 0
        self.smtputf8 = self.body_8bit = self.binary = self.bare_newline = False
        self.priority_changed = self.delivered_already = False
        self.parameters, self.rcpt_parameters = NOTHING_SAID, NOTHING_SAID_OF_RECIPIENT
        self.recipient = self.route = None
        self.recipients = self.size = self.received_fields = 0

    def forget_all(self) -> None:
        """After STARTTLS nothing counts that was said before (RFC 3207 §4.2), but how the client behaved does."""
        self.forget_message()
        self.helo_marks.clear()
        self.forwarded.clear()
        self.login = None
        self.mechanism = ""
        self.account_counted = False
        self.helo = ""
        self.extended = False
