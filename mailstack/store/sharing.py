"""Mailboxes of other users, as far as their access control lists allow (RFC 4314): implements `ports.MailStore`
over another one, so that sessions do not know whose mailbox they have.

A user's own mailboxes are as they were: the owner has all rights, whatever a list says. Those of others are below
"Other Users/<account>/", INBOX too. What is one's own and what is shared is told by the name alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from mailstack.acl import (
    ALL_RIGHTS,
    NO_RIGHTS,
    SEES,
    Acl,
    Entry,
    Rights,
    changed,
    effective,
    flag_mask,
    normal_identifier,
)
from mailstack.errors import Problem, Refused
from mailstack.mailboxes import (
    FIRST_KEYWORD,
    AccountEvent,
    Annotated,
    NameGone,
    NameMade,
    RightsChanged,
    SubscriptionChanged,
)
from mailstack.ports import (
    AccountName,
    AccountStore,
    Appended,
    Blob,
    Delivery,
    Flag,
    Flags,
    Mailbox,
    MailboxEntry,
    MailboxListener,
    MailboxStatus,
    MailStore,
    NewMessage,
)
from mailstack.quota import Quota, QuotaLimit
from mailstack.store.maildir.layout import DELIMITER, INBOX, OTHER_USERS, normalise
from mailstack.store.shared_annotations import SharedAnnotations
from mailstack.store.shared_mailbox import Destination, SharedMailbox

PREFIX = OTHER_USERS + DELIMITER


class Acls(Protocol):
    """Where the lists are. All of it may raise Refused(STORE_UNAVAILABLE)."""

    async def owners(self, user: AccountName) -> Sequence[AccountName]:
        """Accounts that may share something with the user, by name."""

    async def acl(self, owner: AccountName, mailbox: str) -> Acl:
        """Raises: Refused(NO_SUCH_MAILBOX)."""

    async def visible(self, owner: AccountName, user: AccountName) -> Mapping[str, Rights]:
        """The owner's mailboxes for which the user has any rights, with these."""

    async def change(self, owner: AccountName, mailbox: str, change: Callable[[Acl], Acl]) -> None:
        """Put what `change` makes of the list in its place; durable on return.
        Raises: Refused(NO_SUCH_MAILBOX | LIMIT)."""

    async def moved(self, owner: AccountName) -> None:
        """Mailboxes of the owner, with their lists, were renamed or deleted."""


class SharingStore:
    """Implements `ports.MailStore`."""

    def __init__(self, store: MailStore, acls: Acls) -> None:
        self.plain = store
        """The accounts without what others share with them."""
        self.acls = acls
        self._listening: dict[SharingAccount, Callable[[AccountEvent], None]] = {}

    def listen(self, account: SharingAccount, heard: Callable[[AccountEvent], None]) -> Callable[[], None]:
        """Let a user hear what others do; the result ends it."""
        self._listening[account] = heard

        def end() -> None:
            self._listening.pop(account, None)

        return end

    def tell(self, owner: AccountName, event: AccountEvent, by: SharingAccount) -> None:
        """Something happened to a mailbox of `owner`, whose name in the event is the owner's."""
        for account, heard in list(self._listening.items()):
            if account is by:
                continue
            if account.user == owner or (isinstance(event, Annotated) and not event.name):
                heard(event)
            elif not isinstance(event, SubscriptionChanged):
                heard(_seen_from_outside(owner, event))

    async def account(self, name: AccountName) -> SharingAccount:
        return SharingAccount(self, name, await self.plain.account(name))

    async def access_key(self, account: AccountName, name: str) -> bytes | None:
        return await self.plain.access_key(account, name)

    async def has_room(self, account: AccountName, octets: int, *, delivery: bool = True) -> bool:
        return await self.plain.has_room(account, octets, delivery=delivery)

    async def deliver(self, blob: Blob, deliveries: Sequence[Delivery]) -> Sequence[Problem | None]:
        return await self.plain.deliver(blob, deliveries)

    async def quota(self, account: AccountName) -> Quota:
        return await self.plain.quota(account)

    async def set_quota(self, account: AccountName, limit: QuotaLimit) -> Quota:
        return await self.plain.set_quota(account, limit)


class Place:
    """A mailbox of some account, and what the user may do with it."""

    __slots__ = ("account", "name", "owner", "own", "rights")

    def __init__(self, owner: AccountName, account: AccountStore, name: str, rights: Rights, *, own: bool) -> None:
        self.owner = owner
        self.account = account
        self.name = name
        self.rights = rights
        self.own = own


class SharingAccount:
    """Implements `ports.AccountStore` and `ports.Access`: what one user sees."""

    other_users = PREFIX

    def __init__(self, store: SharingStore, user: AccountName, own: AccountStore) -> None:
        self.user = user
        self.own = own
        self.annotations = SharedAnnotations(self)
        self._store = store
        self._acls = store.acls

    @property
    def access(self) -> SharingAccount:
        return self

    def listen(self, heard: Callable[[AccountEvent], None]) -> Callable[[], None]:
        return self._store.listen(self, heard)

    def annotated(self, place: Place, entries: Collection[str], *, private: bool) -> None:
        """Entries of a mailbox were changed; private ones are the user's own."""
        name = normalise(place.name) if place.name else ""
        if not private or place.own:
            self._tell(place.owner, Annotated(name, tuple(entries)))
        else:
            self._tell(self.user, Annotated(f"{PREFIX}{place.owner}{DELIMITER}{name}", tuple(entries)))

    def _tell(self, owner: AccountName, event: AccountEvent) -> None:
        self._store.tell(owner, event, self)

    # --- where a name leads

    async def place(self, name: str, needed: str = "") -> Place:
        """The place of a mailbox, for which the user has the rights `needed`. One that is not his own exists.
        Raises: Refused(NO_SUCH_MAILBOX | NOT_PERMITTED)."""
        if not name.startswith(PREFIX):
            return Place(self.user, self.own, name, ALL_RIGHTS, own=True)
        owner, _, inner = name.removeprefix(PREFIX).partition(DELIMITER)
        account = AccountName(owner.lower())
        if not inner or account not in await self._acls.owners(self.user):
            raise Refused(Problem.NO_SUCH_MAILBOX, name)
        rights = effective(await self._acls.acl(account, inner), self.user)
        check(name, rights, needed)
        return Place(account, await self._store.plain.account(account), inner, rights, own=False)

    async def superior(self, name: str) -> Place:
        """For a mailbox that is to be made: the nearest superior that exists, where the user may make it.
        Raises: Refused."""
        if not name.startswith(PREFIX):
            if name == OTHER_USERS:
                raise Refused(Problem.CANNOT, "the name of a namespace")
            return Place(self.user, self.own, name, ALL_RIGHTS, own=True)
        above = name.rpartition(DELIMITER)[0]
        while above.count(DELIMITER) > 1:
            try:
                return await self.place(above, "k")
            except Refused as refused:
                if refused.problem is not Problem.NO_SUCH_MAILBOX:
                    raise
            above = above.rpartition(DELIMITER)[0]
        raise Refused(Problem.NOT_PERMITTED, "no mailbox above it in which one may be made")

    # --- ports.AccountStore

    async def mailboxes(self) -> Sequence[MailboxEntry]:
        found = [entry for entry in await self.own.mailboxes() if not entry.name.startswith(PREFIX)]
        shared = [name for name, rights in await self.visible() if "l" in rights]
        levels = sorted({DELIMITER.join(name.split(DELIMITER)[:depth]) for name in shared for depth in (1, 2)})
        found += [MailboxEntry(name, selectable=False) for name in levels]
        found += [MailboxEntry(name) for name in shared]
        return [found[0], *sorted(found[1:], key=lambda entry: entry.name)]

    async def visible(self) -> list[tuple[str, Rights]]:
        """The mailboxes of others, under the names that they have here, and what the user may do with them."""
        found: list[tuple[str, Rights]] = []
        for owner in await self._acls.owners(self.user):
            for name, rights in (await self._acls.visible(owner, self.user)).items():
                found.append((f"{PREFIX}{owner}{DELIMITER}{name}", rights))
        return found

    async def subscriptions(self) -> Collection[str]:
        return await self.own.subscriptions()

    async def subscribe(self, name: str) -> None:
        await self.own.subscribe(name)
        self._tell(self.user, SubscriptionChanged(name))

    async def unsubscribe(self, name: str) -> None:
        await self.own.unsubscribe(name)
        self._tell(self.user, SubscriptionChanged(name))

    async def create(self, name: str, special_use: str = "") -> str:
        superior = await self.superior(name)
        inner = normalise(name if superior.own else inner_name(name))
        made = _missing(inner, {entry.name for entry in await superior.account.mailboxes() if entry.selectable})
        mailbox_id = await superior.account.create(inner, special_use if superior.own else "")
        await self._inherit(superior.owner, made)
        for each in made:
            self._tell(superior.owner, NameMade(each))
        return mailbox_id

    async def _inherit(self, owner: AccountName, made: Sequence[str]) -> None:
        """A new mailbox has the list of its superior (RFC 4314 §4)."""
        for name in made:
            above = name.rpartition(DELIMITER)[0]
            if above:
                acl = await self._acls.acl(owner, above)
                if acl:
                    await self._acls.change(owner, name, lambda _, acl=acl: acl)  # type: ignore[misc]

    async def delete(self, name: str) -> None:
        place = await self.place(name, "x")
        await place.account.delete(place.name)
        await self._acls.moved(place.owner)
        self._tell(place.owner, NameGone(normalise(place.name)))

    async def rename(self, old: str, new: str) -> None:
        source, target = await self.place(old, "x"), await self.superior(new)
        if source.owner != target.owner or (not source.own and source.name.upper() == INBOX):
            raise Refused(Problem.CANNOT, "a mailbox stays in its account")
        inner = normalise(new if target.own else inner_name(new))
        there = {entry.name for entry in await source.account.mailboxes() if entry.selectable}
        await source.account.rename(source.name, inner)
        await self._acls.moved(source.owner)
        for superior in _missing(inner, there)[:-1]:
            self._tell(source.owner, NameMade(superior))
        before = normalise(source.name)
        self._tell(source.owner, NameMade(inner, "" if before == INBOX else before))

    async def status(self, name: str, *, size: bool = True) -> MailboxStatus:
        place = await self.place(name, "r")
        return await place.account.status(place.name, size=size)

    async def open(self, name: str, listener: MailboxListener) -> Mailbox:
        place = await self.place(name, "r")
        opened = await place.account.open(place.name, listener)
        return SharedMailbox(self, opened, place, name if not place.own else opened.name)

    async def append(self, name: str, messages: Sequence[NewMessage]) -> Appended:
        place = await self._target(name)
        mask = flag_mask(place.rights)
        kept = [NewMessage(each.blob, kept_flags(each.flags, mask), each.internal_date) for each in messages]
        return await place.account.append(place.name, kept)

    async def _target(self, name: str) -> Place:
        """A mailbox that messages may be put into. Raises: Refused, with NO_SUCH_MAILBOX only if the user may make it
        (RFC 9051 §6.3.12: TRYCREATE)."""
        try:
            return await self.place(name, "i")
        except Refused as refused:
            if refused.problem is Problem.NO_SUCH_MAILBOX:
                await self.superior(name)
            raise

    async def access_key(self, name: str, *, renew: bool = False) -> bytes:
        """Of one's own mailboxes only: a right that is taken away must not live on in a URL."""
        place = await self.place(name, "r")
        if not place.own:
            raise Refused(Problem.NOT_PERMITTED, f"{name} is somebody else's")
        return await self.own.access_key(name, renew=renew)

    async def forget_access_keys(self) -> None:
        await self.own.forget_access_keys()

    async def quota(self) -> Quota:
        return await self.own.quota()

    async def destination(self, name: str, source: AccountStore) -> Destination:
        """Where copies go, from a mailbox of `source`. Raises: Refused."""
        place = await self._target(name)
        into = None if place.account is source else place.account
        return Destination(place.name, into, flag_mask(place.rights))

    # --- ports.Access

    async def owner(self, mailbox: str) -> AccountName:
        try:
            return (await self.place(mailbox, "r")).owner
        except Refused as refused:
            if refused.problem is not Problem.NO_SUCH_MAILBOX or not mailbox.startswith(PREFIX):
                raise
        return (await self.superior(mailbox)).owner

    async def rights(self, mailbox: str) -> Rights:
        place = await self.place(mailbox)
        if place.own:
            await self._acls.acl(place.owner, place.name)  # refuses what is not there
        return place.rights

    async def rights_now(self, place: Place) -> Rights:
        """What the user may do with a mailbox that he has open. Raises: Refused(NO_SUCH_MAILBOX)."""
        return effective(await self._acls.acl(place.owner, place.name), self.user)

    async def acl(self, mailbox: str) -> Acl:
        place = await self.place(mailbox, "a")
        acl = await self._acls.acl(place.owner, place.name)
        others = tuple(entry for entry in acl if entry.identifier != place.owner)
        return (Entry(place.owner, ALL_RIGHTS), *others)

    async def grantable(self, mailbox: str, identifier: str) -> tuple[Rights, Rights]:
        place = await self.place(mailbox, "a")
        await self._acls.acl(place.owner, place.name)
        name, negative = _identifier(identifier, place.owner)
        if name == place.owner and not negative:
            return ALL_RIGHTS, NO_RIGHTS
        return NO_RIGHTS, ALL_RIGHTS

    async def change(self, mailbox: str, identifier: str, change: Callable[[Rights], Rights | None]) -> None:
        place = await self.place(mailbox, "a")
        name, negative = _identifier(identifier, place.owner)
        if name == place.owner:
            raise Refused(Problem.CANNOT, "the owner has all rights")

        def changing(acl: Acl) -> Acl:
            before = [entry.rights for entry in acl if (entry.identifier, entry.negative) == (name, negative)]
            return changed(acl, name, change(before[0] if before else NO_RIGHTS), negative=negative)

        await self._acls.change(place.owner, place.name, changing)
        self._tell(place.owner, RightsChanged(normalise(place.name)))


def check(name: str, rights: Rights, needed: str) -> None:
    """Raises: Refused(NOT_PERMITTED) if one of the rights `needed` is missing; Refused(NO_SUCH_MAILBOX) to who may not
    know that there is such a mailbox (RFC 4314 §6)."""
    if not rights & SEES or (not rights >= set(needed) and "l" not in rights):
        raise Refused(Problem.NO_SUCH_MAILBOX, name)
    if not rights >= set(needed):
        raise Refused(Problem.NOT_PERMITTED, f"{name}: no right {needed}")


def inner_name(name: str) -> str:
    """The name that a mailbox of another user has for its owner."""
    return name.removeprefix(PREFIX).partition(DELIMITER)[2]


def kept_flags(flags: Flags, mask: int) -> Flags:
    """Those flags whose bits are in the mask."""
    return Flags(Flag(int(flags.system) & mask), flags.keywords if mask >> FIRST_KEYWORD & 1 else frozenset())


def _seen_from_outside(owner: AccountName, event: AccountEvent) -> AccountEvent:
    """The event with the name that the mailbox has for others."""
    name = f"{PREFIX}{owner}{DELIMITER}{event.name}"
    match event:
        case NameMade(_, old):
            return NameMade(name, f"{PREFIX}{owner}{DELIMITER}{old}" if old else "")
        case Annotated(_, entries):
            return Annotated(name, tuple(entry for entry in entries if entry.startswith("/shared/")))
    return replace(event, name=name)


def _missing(name: str, there: Collection[str]) -> list[str]:
    """The names that come to be when `name` is made, superiors first."""
    parts = name.split(DELIMITER)
    names = [DELIMITER.join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    return [each for each in names if each not in there and each.upper() != INBOX]


def _identifier(text: str, owner: AccountName) -> tuple[str, bool]:
    """The identifier and whether it is negative. Raises: Refused(BAD_IDENTIFIER)."""
    negative = text.startswith("-")
    try:
        return normal_identifier(text.removeprefix("-"), owner.rpartition("@")[2] if "@" in owner else ""), negative
    except ValueError:
        raise Refused(Problem.BAD_IDENTIFIER, repr(text)) from None
