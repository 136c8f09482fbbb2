"""What sessions may ask for, and the values that they and the resources exchange.

The values are in `mailboxes.py`, connection and log in `surroundings.py`, DNS in `names.py`; they are named here too,
since who asks needs both.

These protocols belong to those who ask: a session imports this module and nothing of `net`,
`store`, `auth` or `queue`; those implement it. `mailstack.testing` ships a fake of each.

Every coroutine here may raise `errors.Refused`. A coroutine that has its answer at hand
returns without suspending, so that asking costs no trip through the reactor.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mailstack.access import Access, Annotations
from mailstack.acl import Rights
from mailstack.arrivals import Arrival
from mailstack.errors import Problem
from mailstack.mail.address import Address
from mailstack.mail.parameters import NOTHING_SAID, MailParameters, RcptParameters
from mailstack.mailboxes import (
    FIRST_KEYWORD,
    MAX_KEYWORDS,
    AccountName,
    Added,
    Appended,
    Change,
    Columns,
    Copied,
    Expunged,
    Flag,
    FlagAction,
    Flags,
    FlagsChanged,
    MailboxEntry,
    MailboxGone,
    MailboxStatus,
    SeqNum,
    Uid,
    Wanted,
)
from mailstack.names import Resolver
from mailstack.quota import Quota, QuotaLimit, SendingLimit
from mailstack.surroundings import Blob, Clock, Connection, Counters, Log, Peer, Sink, Spool, TlsInfo

__all__ = (
    "ALL_FLAGS", "Access", "AccountName", "AccountStore", "Accounts", "Added", "Annotations", "Appended", "Blob",
    "Change", "Clock", "Columns", "Connection", "Copied", "Counters", "Delivery", "Directory", "Envelope", "Expunged",
    "FIRST_KEYWORD", "Flag", "FlagAction", "Flags", "FlagsChanged", "Local", "Log", "MAX_KEYWORDS", "MEMORY_LIMIT",
    "MailStore", "Mailbox", "MailboxEntry", "MailboxGone", "MailboxListener",
    "MailboxStatus", "NewMessage", "Octets", "Outbound", "Peer", "Remote",
    "Resolver", "ScramKeys", "SendingLimit", "SendingLimits", "SeqNum", "Sink", "Spool", "TEXT_ITEM", "TlsInfo",
    "TokenHint", "Uid", "Wanted",
)  # fmt: skip

T = TypeVar("T")

ALL_FLAGS = -1
"""The bits of all flags."""

MEMORY_LIMIT = 128 * 1024
"""Octets of a message that may be held in memory; past it the message is a place on disk."""

TEXT_ITEM = "text "
"""How the names of items begin that are made of a message's texts: large, and kept only where that is wanted."""


# --- octets ---------------------------------------------------------------------------------


class Octets(Protocol):
    """A message's octets for random access, its lines ending in CRLF. `bytes` is one; a large
    file is another. Used inside `examine`, in a worker, where reading may block."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: slice, /) -> bytes: ...

    def find(self, sub: bytes, start: int = 0, end: int = ..., /) -> int: ...

    def count(self, sub: bytes, start: int = 0, end: int = ..., /) -> int: ...


# --- who is who -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Local:
    """A recipient of ours: one account, or several for an alias of many. `mailbox` is where to
    put it, usually "INBOX". `forwards` are addresses elsewhere to which it is forwarded, with a reverse-path
    of ours; with some, there may be no accounts."""

    accounts: tuple[AccountName, ...]
    mailbox: str = "INBOX"
    forwards: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Remote:
    """A recipient elsewhere; only for those who may relay."""

    domain: str


class Directory(Protocol):
    """Who receives what."""

    async def route(self, address: Address) -> Local | Remote:
        """Where mail for `address` goes. Resolves aliases, catch-all and plus-addressing.
        Raises: Refused(NO_SUCH_RECIPIENT) for an unknown user of a domain of ours."""

    async def may_send_as(self, account: AccountName, sender: Address) -> bool:
        """Whether `sender` as reverse-path belongs to the login (RFC 6409 §6.1)."""

    def reverse_path(self, sender: Address) -> Address:
        """The reverse-path for mail of this sender that is forwarded; a bounce that comes to it is routed to him."""

    def original_sender(self, address: Address) -> Address | None:
        """Whose reverse-path we have rewritten to this address; None if we have not."""


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a server keeps of a password for SCRAM (RFC 5802 §3): enough to verify a client, and to prove
    itself to it, not to log in."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return "ScramKeys(...)"


@dataclass(frozen=True, slots=True)
class TokenHint:
    """What a client is told whose token was refused (RFC 7628 §3.2.2); "" where there is nothing to say."""

    scope: str = ""
    openid_configuration: str = ""


class Accounts(Protocol):
    """Who may log in. Every method that says whether somebody may counts it, too; all raise
    Refused(BAD_CREDENTIALS | TOO_MANY_FAILURES | LOGIN_UNAVAILABLE)."""

    def mechanisms(self) -> Collection[str]:
        """The SASL mechanisms that can be verified now, by their names."""

    async def log_in(self, user: str, password: str, peer: Peer) -> AccountName:
        """A wrong user and a wrong password take the same time."""

    async def scram_keys(self, user: str, mechanism: str, peer: Peer) -> ScramKeys:
        """The keys of the user for "SCRAM-SHA-1" or "SCRAM-SHA-256". Who has none, or is unknown, gets
        keys that no password has, always the same. Raises no BAD_CREDENTIALS."""

    async def log_in_by_proof(self, user: str, right: bool, peer: Peer) -> AccountName:
        """The end of SCRAM: whether the client has proved to know the password."""

    async def log_in_by_token(self, user: str, token: str, peer: Peer) -> AccountName:
        """A bearer token; `user` is whom it should be of, or "". Raises NOT_PERMITTED, too: it lacks the scope."""

    def token_hint(self) -> TokenHint:
        """For who came with a token that was refused."""

    async def log_in_by_certificate(self, certificate: bytes, user: str, peer: Peer) -> AccountName:
        """A client certificate that was verified, as DER; `user` is whom it should be of, or ""."""


# --- the store ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delivery:
    """One copy for one account: `prefix` (trace header fields, CRLF lines) goes before the Blob. `over_quota`:
    whether the account has room does not matter. `arrival` is for whom the store tells of it."""

    account: AccountName
    mailbox: str
    prefix: bytes
    over_quota: bool = False
    arrival: Arrival | None = None


@dataclass(frozen=True, slots=True)
class NewMessage:
    """One message of APPEND. `internal_date` in seconds since the epoch, None for now."""

    blob: Blob
    flags: Flags = Flags()
    internal_date: float | None = None


class MailboxListener(Protocol):
    """A session that has the mailbox open."""

    def changed(self, change: Change) -> None:
        """Called in the reactor's thread, after the mailbox's own columns have changed. Must not
        block, raise or write to the wire: note it, and `Connection.wake` if idling."""


class Mailbox(Protocol):
    """An open mailbox, shared by the sessions of the process that have it open. What it knows is in
    memory and read without waiting; coroutines are for what is on disk."""

    @property
    def name(self) -> str: ...

    @property
    def mailbox_id(self) -> str: ...

    @property
    def uid_validity(self) -> int: ...

    @property
    def uid_next(self) -> int: ...

    @property
    def highest_modseq(self) -> int:
        """No message's mod-sequence is above it (RFC 7162 §3.1.2.1)."""

    @property
    def rights(self) -> Rights:
        """What the user may do here (RFC 4314), as of the last `refresh`; what he may not do is refused."""

    @property
    def is_shared(self) -> bool:
        """Whether it is another user's, so that `rights` may be taken away at any time."""

    @property
    def uids(self) -> Sequence[int]:
        """All UIDs, ascending, as they are now: copy what you keep."""

    @property
    def keeps_texts(self) -> bool:
        """Whether items whose name begins with TEXT_ITEM are kept."""

    def columns(self, uids: Sequence[int]) -> Columns:
        """The rows of those of `uids` (ascending) that are there. Costs a few nanoseconds a message
        when they stand together."""

    @property
    def keywords(self) -> Sequence[str]:
        """Keyword i has bit FIRST_KEYWORD+i; only ever appended to."""

    def flags(self, uid: int) -> int | None:
        """Flag bits, None if the message is gone."""

    def size(self, uid: int) -> int | None:
        """RFC822.SIZE in octets with CRLF line ends; None if gone. Call `measure` before."""

    def internal_date(self, uid: int) -> float | None:
        """Whole seconds since the epoch; None if gone. Call `measure` before."""

    def save_date(self, uid: int) -> int | None:
        """When the message came into this mailbox (RFC 8514), in seconds since the epoch; None if it is gone
        or that is not known."""

    def since(self, modseq: int) -> int:
        """What has to be told to a client that knows everything up to `modseq`: all that happened above the number
        that is returned. It is the same, or lower if another process may have given it."""

    def vanished(self, modseq: int) -> Sequence[int] | None:
        """UIDs of messages that vanished at a mod-sequence above this one, ascending. None if the store does
        not remember so far back: then every UID below `uid_next` that is not there may be one."""

    def claim_recent(self) -> frozenset[int]:
        """UIDs of messages that no session was told of as \\Recent yet (RFC 3501 §2.3.2); each is
        handed out once."""

    async def measure(self, uids: Sequence[int], *, dates: bool = True) -> None:
        """Make sizes known for these messages (UIDs ascending), and internal dates where they are wanted, which costs a
        look at each file."""

    async def refresh(self) -> None:
        """Take in what others did to the files. Cheap when nothing changed. Changes have reached
        the listeners when this returns."""

    async def store_flags(
        self,
        uids: Collection[int],
        action: FlagAction,
        flags: Flags,
        by: MailboxListener | None,
        *,
        unchanged_since: int | None = None,
    ) -> Sequence[int]:
        """Change flags, as far as the user may; every listener hears FlagsChanged for the messages that differ now.
        With `unchanged_since` only of messages whose mod-sequence is not above it, as they are when they are changed;
        0 is below all, but lets keywords be added to a message that has none of them (RFC 7162 §3.1.3). Returns the
        UIDs of those that failed this test, ascending. Raises: Refused(TOO_MANY_KEYWORDS | READ_ONLY |
        NOT_PERMITTED if none of the flags may be changed)."""

    async def copy(
        self, uids: Collection[int], destination: str, *, into: AccountStore | None = None, keep: int = ALL_FLAGS
    ) -> Copied:
        """Copy messages with those of their flags whose bits are in `keep` (FIRST_KEYWORD for all keywords). `into` is
        the account that has the destination, if another one has it.
        Raises: Refused(NO_SUCH_MAILBOX | OVER_QUOTA | DISK_FULL | NOT_PERMITTED); then nothing was copied."""

    async def move(
        self, uids: Collection[int], destination: str, by: MailboxListener | None, *, into: AccountStore | None = None,
        keep: int = ALL_FLAGS,
    ) -> Copied:  # fmt: skip
        """As copy, and the sources are Expunged. Within an account never refused for the quota: it has no more
        than before."""

    async def replace(self, uid: int, destination: str, message: NewMessage, by: MailboxListener | None) -> Appended:
        """As AccountStore.append of one message, after which message `uid` of this mailbox is Expunged; there is room
        if there is when that is gone. When it is refused, nothing has changed.
        Raises: Refused(NO_SUCH_MESSAGE), and what append raises."""

    async def expunge(self, uids: Collection[int], by: MailboxListener | None) -> Sequence[int]:
        """Remove these messages for good (whatever their flags); returns those that it removed."""

    async def examine(self, uids: Sequence[int], fn: Callable[[Octets], T]) -> list[T | None]:
        """Run the pure `fn` on each message in one visit to a worker; None where the message is
        gone. Keep a batch to some 50 messages so that memory and others' turns are bounded."""

    async def derive(self, uids: Sequence[int], item: str, fn: Callable[[Octets], bytes]) -> list[bytes | None]:
        """As `examine`, but what the pure `fn` makes may be kept and given again, for as long as the
        message lives, under the name `item`, which must change when `fn` does. UIDs ascend."""

    async def derive_each(
        self, uids: Sequence[int], items: Sequence[tuple[str, Callable[[Octets], bytes]]]
    ) -> list[list[bytes | None]]:
        """As `derive` of several items, for which each message is read once."""

    async def grep(
        self, uids: Sequence[int], item: str, fn: Callable[[Octets], bytes], wanted: Wanted
    ) -> Sequence[int]:
        """UIDs, ascending, of those messages of which `derive` would give a value that is wanted. Takes any number of
        UIDs; once values are kept it costs less than a microsecond a message."""

    async def kept(self, uids: Sequence[int], item: str) -> list[bytes | None]:
        """What `derive` would give without making anything of a message; None where that is nothing. UIDs ascend."""

    def foresee(self, items: Mapping[str, Callable[[Octets], bytes]]) -> None:
        """Say what `derive` and `grep` will be asked for, by name, so that it may be made while nobody waits."""

    async def compute(self, fn: Callable[[], T]) -> T:
        """Run the pure `fn`, which takes its time, where it keeps nobody waiting."""

    async def read(self, uid: int, start: int, end: int) -> bytes | None:
        """Octets [start, end) of one message, at most MEMORY_LIMIT of them; None if it is gone."""

    def close(self, listener: MailboxListener) -> None:
        """The session does not need it any more. Idempotent."""


class AccountStore(Protocol):
    """The mailboxes of one account. Names are Unicode, "/" is the hierarchy delimiter, INBOX is
    "INBOX" in any case."""

    @property
    def annotations(self) -> Annotations: ...

    @property
    def access(self) -> Access: ...

    async def mailboxes(self) -> Sequence[MailboxEntry]:
        """All of them, INBOX first, the others sorted by name."""

    async def subscriptions(self) -> Collection[str]: ...

    async def subscribe(self, name: str) -> None: ...

    async def unsubscribe(self, name: str) -> None: ...

    async def create(self, name: str, special_use: str = "") -> str:
        """Returns the mailbox id (RFC 8474). Superior names are made as well (RFC 9051 §6.3.4).
        Raises: Refused(MAILBOX_EXISTS | BAD_MAILBOX_NAME)."""

    async def delete(self, name: str) -> None:
        """Its inferiors stay, and its name is then that of no mailbox but of a level (RFC 9051 §6.3.5).
        Raises: Refused(NO_SUCH_MAILBOX | MAILBOX_HAS_CHILDREN for a mere level | CANNOT for INBOX)."""

    async def rename(self, old: str, new: str) -> None:
        """With its inferiors; INBOX is moved out of instead (RFC 9051 §6.3.6).
        Raises: Refused(NO_SUCH_MAILBOX | MAILBOX_EXISTS | BAD_MAILBOX_NAME)."""

    async def status(self, name: str, *, size: bool = True) -> MailboxStatus:
        """`size` costs a look at every message that nobody measured yet; without it, sizes are 0.
        Raises: Refused(NO_SUCH_MAILBOX)."""

    async def open(self, name: str, listener: MailboxListener) -> Mailbox:
        """Open and refresh. Raises: Refused(NO_SUCH_MAILBOX)."""

    async def append(self, name: str, messages: Sequence[NewMessage]) -> Appended:
        """All or none, durable on return. Open mailboxes have heard Added.
        Raises: Refused(NO_SUCH_MAILBOX | OVER_QUOTA | DISK_FULL | TOO_MANY_KEYWORDS)."""

    async def access_key(self, name: str, *, renew: bool = False) -> bytes:
        """The secret with which URLs of this mailbox are authorised (RFC 4467 §2), made when there is none, or to
        `renew` it; durable on return. Raises: Refused(NO_SUCH_MAILBOX)."""

    async def forget_access_keys(self) -> None:
        """Those of all mailboxes; durable on return."""

    async def quota(self) -> Quota:
        """What the account uses, and what it may. Without a limit it is counted now, which takes its time."""


class MailStore(Protocol):
    """All accounts' mail."""

    async def account(self, name: AccountName) -> AccountStore:
        """The account's mailboxes, made with the usual special-use folders at first sight."""

    async def quota(self, account: AccountName) -> Quota:
        """What the account may use, and what it uses if there is a limit.
        Raises: Refused(NO_SUCH_ACCOUNT)."""

    async def set_quota(self, account: AccountName, limit: QuotaLimit) -> Quota:
        """Give the account a limit of its own; durable on return. Returns what `quota` says then.
        Raises: Refused(NO_SUCH_ACCOUNT | CANNOT | STORE_UNAVAILABLE)."""

    async def access_key(self, account: AccountName, name: str) -> bytes | None:
        """The secret of somebody's mailbox, None if there is none. Asking makes nothing."""

    async def has_room(self, account: AccountName, octets: int, *, delivery: bool = True) -> bool:
        """Whether a message of so many octets may be delivered, or else appended, for which there is no grace;
        0 asks whether the account is not full."""

    async def deliver(self, blob: Blob, deliveries: Sequence[Delivery]) -> Sequence[Problem | None]:
        """Put one copy into each mailbox. Each copy whose answer is None is durable. A missing
        mailbox other than INBOX falls back to INBOX. Never raises Refused."""


# --- what leaves ----------------------------------------------------------------------------


class SendingLimits(Protocol):
    """How much each account may send. Raise Refused(STORE_UNAVAILABLE)."""

    async def message(self, account: AccountName, now: float) -> SendingLimit | None:
        """Count a message, or say which limit is reached."""

    async def recipient(self, account: AccountName, address: Address, now: float) -> SendingLimit | None:
        """Count a recipient, or say which limit is reached."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What travels beside the message (RFC 5321 §2.3.1). `sender` None is the null reverse-path.
    `rcpt_parameters` has one for each recipient, or none at all where nothing was said of any."""

    sender: Address | None
    recipients: tuple[Address, ...]
    account: AccountName | None = None
    smtputf8: bool = False
    body_8bit: bool = False
    parameters: MailParameters = NOTHING_SAID
    rcpt_parameters: tuple[RcptParameters, ...] = ()
    journey: str = ""
    """As of journeys.Event."""


class Outbound(Protocol):
    """Takes responsibility for mail to others."""

    async def enqueue(self, envelope: Envelope, prefix: bytes, blob: Blob) -> str:
        """Durable on return; the result is the queue id.
        Raises: Refused(QUEUE_UNAVAILABLE | DISK_FULL)."""

    async def hasten(self, domain: str, *, subdomains: bool = False) -> int:
        """Try now what waits for a domain (RFC 1985 §5.1), or for it and all below it; returns how many messages
        that is. Raises: Refused(QUEUE_UNAVAILABLE) when they wait and cannot be tried."""
