"""The configuration as values: what `mailstack.toml` comes to once it is read.

Each part of the program is given its own section and reads no other. The defaults here are the
defaults; `docs/configuration.md` and `etc/mailstack.toml` repeat them, and a test compares the three.
Sizes are octets, durations seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated

from mailstack.config.acme import Acme
from mailstack.config.observing import Journal, Log, Metrics
from mailstack.config.outgoing import Hold, Outbound, Route
from mailstack.config.policy import Milter, Policy, Sending
from mailstack.config.publishing import MtaSts
from mailstack.config.returns import Forwarding, Reports

Network = IPv4Network | IPv6Network
Size = Annotated[int, "size"]
"""Octets; in the file a whole number, or text as "50 MiB"."""
MaybeSize = Annotated[int | None, "size"]
"""The same, or not said."""
Seconds = Annotated[float, "duration"]
"""In the file a number, or text as "10 min"."""

ACCOUNTS_DATABASE = "accounts.sqlite3"
"""In the data directory, if `accounts` names no file."""
MEBIBYTE = 1024 * 1024


class ServiceName(Enum):
    """What a listener offers."""

    SMTP = "smtp"
    SUBMISSION = "submission"
    SUBMISSIONS = "submissions"
    LMTP = "lmtp"
    IMAP = "imap"
    IMAPS = "imaps"
    POP3 = "pop3"
    POP3S = "pop3s"


class TlsMode(Enum):
    """When TLS begins: never, when the client asks (STARTTLS, STLS), or with the first octet."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


class MailboxFull(Enum):
    """What senders hear when a recipient has no room: come again (452 4.2.2), or it will not be (552 5.2.2)."""

    TEMPORARY = "temporary"
    PERMANENT = "permanent"


class BareNewline(Enum):
    """What becomes of a CR or LF that stands alone in mail data (RFC 5321 §2.3.8). None of them ever ends a message."""

    REPAIR = "repair"
    REJECT_STRANGERS = "reject-strangers"
    REJECT = "reject"


class MechanismName(Enum):
    """The SASL mechanisms there are."""

    SCRAM_SHA_256_PLUS = "SCRAM-SHA-256-PLUS"
    SCRAM_SHA_1_PLUS = "SCRAM-SHA-1-PLUS"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_1 = "SCRAM-SHA-1"
    EXTERNAL = "EXTERNAL"
    OAUTHBEARER = "OAUTHBEARER"
    XOAUTH2 = "XOAUTH2"
    PLAIN = "PLAIN"
    LOGIN = "LOGIN"


class ScramOffer(Enum):
    """When SCRAM is offered: once every account has keys for it, or always."""

    READY = "ready"
    ALWAYS = "always"


class TrustAd(Enum):
    """Whose word it is that an answer is validated by DNSSEC (the AD bit)."""

    LOOPBACK = "loopback"
    ALWAYS = "always"
    NEVER = "never"


class Utf8Headers(Enum):
    """What a POP3 client gets of a message that needs UTF8, which it has not said (RFC 6856 §2.1)."""

    SEND = "send"
    REFUSE = "refuse"


class Vrfy(Enum):
    """Who learns from VRFY and EXPN whether there is such a mailbox, and who is behind an alias."""

    NOBODY = "nobody"
    USERS = "users"
    EVERYBODY = "everybody"


class Sender(Enum):
    """Whose addresses a login may send from (RFC 6409 §6.1)."""

    OWN = "own"
    DOMAIN = "domain"
    ANY = "any"


USUAL_PORTS: dict[ServiceName, int] = {
    ServiceName.SMTP: 25,
    ServiceName.SUBMISSION: 587,
    ServiceName.SUBMISSIONS: 465,
    ServiceName.LMTP: 24,
    ServiceName.IMAP: 143,
    ServiceName.IMAPS: 993,
    ServiceName.POP3: 110,
    ServiceName.POP3S: 995,
}
"""The IANA registry's, RFC 8314 §3.3 for submissions; 24, of private mail systems, is where LMTP usually is."""

IMPLICIT_TLS_SERVICES = frozenset({ServiceName.SUBMISSIONS, ServiceName.IMAPS, ServiceName.POP3S})
"""Services whose very name says that TLS begins with the first octet."""


def usual_tls(service: ServiceName) -> TlsMode:
    """What a listener does that says nothing of `tls`."""
    if service is ServiceName.LMTP:
        return TlsMode.NONE
    return TlsMode.IMPLICIT if service in IMPLICIT_TLS_SERVICES else TlsMode.STARTTLS


@dataclass(frozen=True, slots=True)
class Domain:
    """`[[domains]]`: a domain whose mail is delivered here."""

    name: str
    """In lower case; an internationalised one in its Unicode or its xn-- form."""
    postmaster: str = ""
    """The account that gets mail for postmaster@ this domain (RFC 5321 §4.5.1). Empty: there must
    be an account or alias of that address."""
    catch_all: str = ""
    """The account that gets mail for every unknown address of the domain. Empty: it is refused."""
    plus_delimiter: str = "+"
    """What follows it in a local-part does not matter for delivery: alice+shop@ is alice@.
    Empty: every character matters."""
    quota_bytes: MaybeSize = None
    """Octets that each account of the domain may use; 0: any. None: those of [quota]."""
    quota_messages: int | None = None
    """Messages that each account of the domain may have; 0: any. None: those of [quota]."""


@dataclass(frozen=True, slots=True)
class Listener:
    """`[[listeners]]`: one address and port, and what is offered there."""

    service: ServiceName
    port: int
    """By default the service's usual one; 0 lets the kernel choose."""
    tls: TlsMode
    """By default "implicit" for submissions, imaps and pop3s, "none" for lmtp, "starttls" for the others."""
    address: str = "::"
    """An IP address of this machine; "::" is all of them, IPv4 and IPv6, "0.0.0.0" all of IPv4."""
    proxy_trusted: tuple[Network, ...] = ()
    """Balancers that begin each connection with a PROXY header; others' connections are direct."""
    allowed: tuple[Network, ...] = ()
    """Only clients from these networks are served; none: everybody is. lmtp outside of loopback needs some."""
    unix: str = ""
    """For lmtp: the path of a unix socket to listen at, instead of an address and port. Who may use it is said
    by the permissions of its directory."""
    socket: str = ""
    """Sockets that systemd passes are taken by `address` and `port`; with this, those of this
    FileDescriptorName are taken, whatever their port. When there is none, it is bound here."""
    hide_capabilities: tuple[str, ...] = ()
    """IMAP capabilities that are not announced here, beside those of [imap]."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """`[[tls.certificates]]`: a PEM chain, leaf first, and its unencrypted PEM key."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Tls:
    """`[tls]`. The first certificate serves clients that name no host or an unknown one; files that
    change are read again."""

    certificates: tuple[Certificate, ...] = ()
    client_ca: Path | None = None
    """PEM certificates of the authorities that vouch for clients. With it, clients of submission, IMAP and
    POP3 are asked for a certificate, which they need not have, and may log in by EXTERNAL."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`[limits]`: how much anybody may ask for."""

    max_message_size: Size = 50 * MEBIBYTE
    """Octets of one message, announced as SIZE (RFC 1870)."""
    max_recipients: int = 1000
    """Of one message. RFC 5321 §4.5.3.1.8 asks for 100 at least."""
    connections: int = 10_000
    """At the same time, over all listeners of the process."""
    connections_per_address: int = 100
    """At the same time from one IP address."""


@dataclass(frozen=True, slots=True)
class Quota:
    """`[quota]`: what each account may use, in all its mailboxes together. A domain may say otherwise, and
    `mailstack account quota` for one account."""

    bytes: Size = 0
    """Octets of all messages; 0: any."""
    messages: int = 0
    """All messages; 0: any."""
    refusal: MailboxFull = MailboxFull.TEMPORARY
    """What senders hear of a full mailbox: "temporary" is 452 4.2.2, and their servers try again for
    days, in which there may be room; "permanent" is 552 5.2.2, and they know at once."""
    grace: bool = False
    """A mailbox that is not full yet takes one more message by SMTP, even one that goes over the limit;
    without, mail is refused that does not fit."""


@dataclass(frozen=True, slots=True)
class Retention:
    """`[[retention]]`: messages that go away by themselves, for good. All that apply to a mailbox are applied to it."""

    mailbox: str
    """A mailbox as "Trash", "Lists/Python", "Archive/*" or "*"; in the last two, * is any characters."""
    account: str = "*"
    """An account as "alice@example.org", or some as "*@example.org"."""
    days: int = 0
    """Messages expire that came into the account longer ago (by their internal date); 0: no message
    expires for its age."""
    messages: int = 0
    """Beyond the newest so many, messages expire; 0: no message expires for the number of them."""
    keep_flagged: bool = True
    """Messages that somebody has flagged never expire."""


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """`[[auth.certificates]]`: the account of one client certificate; the others' are the mail addresses in their
    subjectAltName."""

    sha256: str
    """The certificate's fingerprint, hexadecimal, with or without colons, as of `openssl x509 -fingerprint -sha256`."""
    account: str
    """As "alice@example.org"."""


@dataclass(frozen=True, slots=True)
class Auth:
    """`[auth]`: who may log in, and how often one may be wrong."""

    require_tls: bool = True
    """No password in plain text: logins are offered only when the connection has TLS."""
    verified_password_memory: Seconds = 300.0
    """Seconds for which a password that was right need not be hashed again; 0: hash every time.
    Only a keyed digest is kept, in memory."""
    failures_per_address: int = 10
    """Wrong passwords from one IP address within `failure_window`, then it has to wait."""
    failures_per_account: int = 20
    """Wrong passwords for one account within `failure_window`, whoever tries."""
    failure_window: Seconds = 600.0
    """Seconds after which a wrong password is forgotten."""
    administrators: tuple[str, ...] = ()
    """Accounts that may look at others' quotas and set them over IMAP (RFC 9208), and set the server's own
    annotations (RFC 5464)."""
    mechanisms: tuple[MechanismName, ...] = tuple(MechanismName)
    """SASL mechanisms that may be offered. EXTERNAL is only with [tls] client_ca, OAUTHBEARER and XOAUTH2 only with
    [oauth]; without PLAIN and LOGIN, a password cannot be sent as it is in any other way either."""
    scram: ScramOffer = ScramOffer.READY
    """When SCRAM is offered: "ready" is once every account has keys for it, which its next login with a password
    makes; "always" keeps those out who have none and a client that prefers SCRAM."""
    certificates: tuple[ClientCertificate, ...] = ()


@dataclass(frozen=True, slots=True)
class OAuth:
    """`[oauth]`: bearer tokens of an authorization server, by OAUTHBEARER and XOAUTH2. They are verified here, with
    `keys`, or there, at `introspection_url`; with both, those that are no JWT are verified there."""

    keys: Path | None = None
    """Keys that JWTs are signed with (RS256, ES256, HS256): a JSON Web Key Set, or one public key as PEM."""
    issuer: str = ""
    """What "iss" of a token must be. Empty: it is not looked at."""
    audience: str = ""
    """What must be in "aud" of a token. Needed with `keys`: a token for another service of the same issuer is none
    for this one."""
    account_claim: str = "email"
    """The claim that names the account."""
    scope: str = ""
    """Words that must all be in the token's scope. Empty: it is not looked at."""
    leeway: Seconds = 60.0
    """Seconds by which clocks may differ: a token is good for so long before "nbf" and after "exp"."""
    introspection_url: str = ""
    """The introspection endpoint (RFC 7662), https:, or http: on loopback."""
    introspection_client: str = ""
    """How we log in there, by HTTP's Basic. Empty: not at all."""
    introspection_secret: Path | None = None
    """A file whose first line is the password for that."""
    introspection_timeout: Seconds = 10.0
    """Seconds for one question."""
    discovery_url: str = ""
    """The "openid-configuration" that a client with a bad token is told of (RFC 7628)."""

    @property
    def is_configured(self) -> bool:
        """Whether any token can be verified."""
        return self.keys is not None or bool(self.introspection_url)


@dataclass(frozen=True, slots=True)
class Smtp:
    """`[smtp]`: receiving and submission."""

    bare_newline: BareNewline = BareNewline.REJECT_STRANGERS
    """A CR or LF alone in mail data: "repair" makes CRLF of it; "reject-strangers" refuses the message (550
    5.6.11) on port 25 and repairs that of users and of LMTP; "reject" refuses it everywhere."""
    vrfy: Vrfy = Vrfy.NOBODY
    """Who learns from VRFY and EXPN which addresses there are: "nobody", "users" who have logged in, or
    "everybody". The others hear 252 of each address, and 502 of EXPN."""
    sender: Sender = Sender.OWN
    """Senders that a login may have: its "own" address and aliases, any address of its "domain", or "any"."""
    xclient_trusted: tuple[Network, ...] = ()
    """Filters and proxies that say by XCLIENT and XFORWARD for whom they speak, as Postfix's do."""
    relay_domains: tuple[str, ...] = ()
    """Domains of others that strangers may send to through this server, because it is their backup exchanger: it keeps
    mail for them, and hands it to the exchangers in DNS that are better, or as [[routes]] say."""
    etrn_allowed: tuple[Network, ...] = ()
    """Who may ask by ETRN (RFC 1985) that mail for a domain be tried now, besides users who have logged in."""
    timeout: Seconds = 300.0
    """Seconds of silence before the connection is closed (RFC 5321 §4.5.3.2.7)."""
    message_time: Seconds = 3600.0
    """Seconds that a message may take from MAIL to its end, however steadily it comes; then the connection is closed
    (421 4.4.2)."""
    without_mechanisms: tuple[MechanismName, ...] = ()
    """Of [auth] mechanisms, those that submission does not offer."""
    milters: tuple[Milter, ...] = ()


@dataclass(frozen=True, slots=True)
class Dns:
    """`[dns]`: whom we ask about domains and hosts."""

    servers: tuple[str, ...] = ()
    """Recursive servers as "127.0.0.1" or "[2001:db8::1]:5353", the best first. None: those of /etc/resolv.conf as it
    is at the start and at a reload."""
    trust_ad: TrustAd = TrustAd.LOOPBACK
    """When a server is believed that it has validated an answer by DNSSEC, which DANE needs: "loopback" is when it
    runs on this machine; "always" is for servers to which nobody can forge the way; "never"."""
    timeout: Seconds = 10.0
    """Seconds for one question, over all servers."""
    cache_entries: int = 10_000
    """Answers that are remembered, each for as long as it says, and no longer than a day; 0: none."""


@dataclass(frozen=True, slots=True)
class HideCapabilities:
    """`[[imap.hide]]`: capabilities that some are not told of, say because their client fails with them."""

    capabilities: tuple[str, ...]
    """Names as in CAPABILITY; of one with "=" the part before it hides all of that name."""
    account: str = "*"
    """An account as "alice@example.org", or some as "*@example.org"; in force after the login."""
    client: str = "*"
    """What the client calls itself by ID (RFC 2971), "name" and "version" with a space between; * is any characters,
    case does not matter. In force after ID."""


@dataclass(frozen=True, slots=True)
class Imap:
    """`[imap]`."""

    timeout: Seconds = 1800.0
    """Seconds of silence after login before the connection is closed; RFC 9051 §5.4 asks for 30 minutes at least."""
    without_mechanisms: tuple[MechanismName, ...] = ()
    """Of [auth] mechanisms, those that IMAP does not offer."""
    hide_capabilities: tuple[str, ...] = ()
    """Capabilities that are announced to nobody, as "MOVE". The commands stay; who knows of them can use them."""
    hide: tuple[HideCapabilities, ...] = ()
    utf8_only: bool = False
    """Whether a client must take UTF-8 (ENABLE UTF8=ACCEPT or IMAP4rev2) before it sees mailboxes (RFC 6855 §6);
    no client in general use does of itself."""
    literal_minus: bool = False
    """Whether a client may send at most 4096 octets of a literal without being told to go on: LITERAL- (RFC 7888)."""
    message_limit: int = 0
    """Messages that one command may be about (RFC 9738, which advises against less than 1000), announced as
    MESSAGELIMIT; 0: any. Clients that do not know of it get less than they asked for."""
    save_limit: int = 0
    """Messages that may be copied or appended at once (RFC 9738), announced as SAVELIMIT; 0: any."""
    index_in_background: bool = True
    """Whether the index of a mailbox that a client has opened is filled while nobody waits: 1 KB a message."""
    keep_texts: bool = False
    """Whether the texts of messages are kept in a file beside each account's index once SEARCH has looked at them:
    BODY and TEXT are then some ten times as quick. It takes about as much room as the texts without attachments, and
    may be removed at any time."""


@dataclass(frozen=True, slots=True)
class Pop3:
    """`[pop3]`."""

    timeout: Seconds = 600.0
    """Seconds of silence before the connection is closed; RFC 1939 §3 asks for 10 minutes at least."""
    login_delay: Seconds = 0.0
    """Seconds for which an account that has logged in may not log in again (RFC 2449), announced as LOGIN-DELAY;
    0: none. Counted in memory, in each process for itself."""
    utf8_headers: Utf8Headers = Utf8Headers.SEND
    """What a client gets that has not said UTF8 (RFC 6856) for a message whose header has UTF-8 or other 8-bit
    octets: "send" is the message, which old clients can show or at least keep; "refuse" is -ERR [UTF8]."""
    without_mechanisms: tuple[MechanismName, ...] = ()
    """Of [auth] mechanisms, those that POP3 does not offer."""


@dataclass(frozen=True, slots=True)
class Config:
    """All of it. The keys of this section stand at the top of the file."""

    data: Path
    """Where mail, queue, indexes and accounts are."""
    hostname: str
    """How the server calls itself: in greetings, trace fields and message ids. Others must find it in DNS."""
    domains: tuple[Domain, ...]
    listeners: tuple[Listener, ...]
    user: str = ""
    """The system account to become after the ports are bound; needed when started as root."""
    group: str = ""
    """Empty: that of `user`."""
    accounts: Path | None = None
    """The accounts database; None is accounts.sqlite3 in the data directory."""
    tls: Tls = field(default_factory=Tls)
    acme: Acme = field(default_factory=Acme)
    limits: Limits = field(default_factory=Limits)
    quota: Quota = field(default_factory=Quota)
    retention: tuple[Retention, ...] = ()
    auth: Auth = field(default_factory=Auth)
    oauth: OAuth = field(default_factory=OAuth)
    smtp: Smtp = field(default_factory=Smtp)
    policy: Policy = field(default_factory=Policy)
    sending: Sending = field(default_factory=Sending)
    outbound: Outbound = field(default_factory=Outbound)
    routes: tuple[Route, ...] = ()
    holds: tuple[Hold, ...] = ()
    mta_sts: MtaSts = field(default_factory=MtaSts)
    dns: Dns = field(default_factory=Dns)
    reports: Reports = field(default_factory=Reports)
    forwarding: Forwarding = field(default_factory=Forwarding)
    imap: Imap = field(default_factory=Imap)
    pop3: Pop3 = field(default_factory=Pop3)
    log: Log = field(default_factory=Log)
    metrics: Metrics = field(default_factory=Metrics)
    journal: Journal = field(default_factory=Journal)

    @property
    def accounts_database(self) -> Path:
        """Where it is, said or not."""
        return self.accounts or self.data / ACCOUNTS_DATABASE
