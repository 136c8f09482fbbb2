"""`[policy]`, `[sending]` and `[[smtp.milters]]`: how SMTP clients have to behave, how much each may bring and send,
and which filters see their mail. These values of the configuration are given to sessions as they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Annotated

Network = IPv4Network | IPv6Network
Seconds = Annotated[float, "duration"]
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*")


class Judgement(Enum):
    """What becomes of the mail of a client that does something odd: nothing, a field above the message
    (Mailstack-Marks), or a refusal."""

    OFF = "off"
    MARK = "mark"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Policy:
    """`[policy]`: how SMTP clients have to behave, and how much each may bring. "An address" is an IPv4 address, or
    a /64 of IPv6, which is what one customer has. Rates are counted over all listeners of the process, in memory."""

    exempt: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    """Networks whose clients nothing in this section concerns: this machine, and your own mail servers. Limits of
    accounts hold there, too."""
    connections_per_minute: int = 120
    """From one address; 0: any."""
    messages_per_minute: int = 300
    """From one address without login; 0: any."""
    recipients_per_minute: int = 1500
    """The same, counting the recipients that exist."""
    account_connections_per_minute: int = 60
    """Connections on which one account sends; 0: any."""
    account_messages_per_minute: int = 120
    """That one account sends; 0: any."""
    account_recipients_per_minute: int = 2000
    """The same, counting recipients."""
    greeting_delay: Seconds = 0.5
    """Seconds before a client of port 25 is greeted, in which one that does not wait for it shows itself; 0: none."""
    early_talker: Judgement = Judgement.REJECT
    """What becomes of a client that talks before it is greeted (RFC 5321 §3.1, §4.3.1)."""
    helo_ours: Judgement = Judgement.REJECT
    """A stranger whose EHLO says that it is this server, by its name or address."""
    helo_malformed: Judgement = Judgement.MARK
    """A stranger whose EHLO says a name that has no dot or cannot be a host's, or the address of another."""
    sender_domain: Judgement = Judgement.REJECT
    """A stranger whose MAIL names a domain that no answer could be sent to: it does not exist, has neither MX nor
    address (550 5.1.8), or accepts no mail (RFC 7505; 550 5.7.27). "off" does not ask DNS."""
    sender_domain_unknown: Judgement = Judgement.MARK
    """The same, when DNS does not say whether there is such a domain; "reject" is 451 4.4.3, and the client tries
    again."""
    null_sender_recipients: int = 1
    """Recipients of a message from <>, which is about one message of one sender (RFC 5321 §4.5.5); 0: any."""
    tarpit_after: int = 5
    """Refused commands and recipients of a connection, after which its replies to more of them come slowly."""
    tarpit_delay: Seconds = 1.0
    """Seconds for the first such reply, twice as many for each one more; 0: never."""
    tarpit_limit: Seconds = 15.0
    """Seconds for any of them."""


NO_POLICY = Policy(
    exempt=(),
    connections_per_minute=0,
    messages_per_minute=0,
    recipients_per_minute=0,
    account_connections_per_minute=0,
    account_messages_per_minute=0,
    account_recipients_per_minute=0,
    greeting_delay=0.0,
    early_talker=Judgement.OFF,
    helo_ours=Judgement.OFF,
    helo_malformed=Judgement.OFF,
    sender_domain=Judgement.OFF,
    sender_domain_unknown=Judgement.OFF,
    null_sender_recipients=0,
    tarpit_delay=0.0,
)
"""Everybody may do everything: the development mode."""


@dataclass(frozen=True, slots=True)
class Sending:
    """`[sending]`: how much each account may send, whatever its address; kept over a restart. `mailstack account
    limits` shows and resets it."""

    messages_per_hour: int = 500
    """Of one account; 0: any. The window begins with the first message."""
    recipients_per_day: int = 3000
    """Of one account, counting each recipient of each message; 0: any."""
    new_recipients_per_day: int = 1000
    """The same, counting addresses that the account never wrote to before: what whoever has stolen a password
    writes to; 0: any."""
    unlimited: tuple[str, ...] = ()
    """Accounts as "news@example.org" that these limits do not hold for."""


class MilterService(Enum):
    """Whose mail a milter sees: that of port 25, of submission on either port, of LMTP."""

    SMTP = "smtp"
    SUBMISSION = "submission"
    LMTP = "lmtp"


class OnError(Enum):
    """What becomes of mail while a milter does not do its work: it is taken, the client is told to come again, or
    it is refused."""

    ACCEPT = "accept"
    TEMPFAIL = "tempfail"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Milter:
    """`[[smtp.milters]]`: a filter that speaks Sendmail's milter protocol, as opendkim or rspamd. Several see each
    message in the order of the file, with what those before have changed."""

    name: str
    """How the log calls it."""
    address: str
    """Where it listens: "127.0.0.1:8891", "[::1]:8891", or the path of a unix socket as "unix:/run/opendkim/socket"."""
    services: tuple[MilterService, ...] = (MilterService.SMTP, MilterService.SUBMISSION)
    """Whose mail it sees: "smtp" is port 25, "submission" is that of users, on submissions too."""
    on_error: OnError = OnError.TEMPFAIL
    """What becomes of mail when it cannot be reached, says nothing in time, or nonsense."""
    connect_timeout: Seconds = 30.0
    """Seconds to connect to it, and to agree on how to talk."""
    command_timeout: Seconds = 30.0
    """Seconds for its answer to a command of SMTP."""
    message_timeout: Seconds = 300.0
    """Seconds for its answer to a piece of the message, or to its end; begins anew when it says that it goes on."""


def milter_place(address: str) -> str | tuple[str, int]:
    """The path of a unix socket, or a host and its port. Raises: ValueError."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if not path.startswith("/") or "\0" in path:
            raise ValueError(address)
        return path
    host, _, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = str(IPv6Address(host[1:-1]))
    elif not _HOST.fullmatch(host):
        raise ValueError(address)
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError(address)
    return host, int(port)
