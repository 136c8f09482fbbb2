"""Who receives what: accounts, aliases, catch-all, plus-addressing, forwarding. Implements `ports.Directory`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from unicodedata import normalize

from mailstack.auth.known import KnownAccounts
from mailstack.config.sections import Domain
from mailstack.errors import Problem, Refused
from mailstack.mail.address import Address, ascii_domain
from mailstack.mail.srs import Rewriter, is_rewritten
from mailstack.ports import AccountName, Local, Remote

MAX_TARGETS = 1000
"""Accounts that one address may lead to."""


@dataclass(slots=True)
class _Found:
    """What is behind a name: accounts, and addresses elsewhere."""

    accounts: list[str] = field(default_factory=list)
    elsewhere: list[Address] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.accounts) + len(self.elsewhere)


class StoredDirectory:
    """The domains of the configuration over the accounts database. Without a `rewriter`, mail is forwarded with the
    sender that it has."""

    def __init__(
        self,
        known: KnownAccounts,
        domains: Iterable[Domain],
        rewriter: Rewriter | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._known = known
        self._rewriter = rewriter
        self._clock = clock
        self._domains: dict[str, Domain] = {}
        for domain in domains:
            self._domains[ascii_domain(domain.name)] = domain

    async def route(self, address: Address) -> Local | Remote:
        self._known.refresh()
        domain = self._domains.get(ascii_domain(address.domain))
        if domain is None and not address.domain:
            domain = next(iter(self._domains.values()), None)  # <Postmaster>
        if domain is None:
            return Remote(address.domain)
        found = self._resolve(_canonical(address.local_part), domain, catch_all=not is_rewritten(address))
        if not found:
            original = self.original_sender(address)
            if original is None:
                raise Refused(Problem.NO_SUCH_RECIPIENT, str(address))
            return Local((), forwards=(original,))
        return Local(tuple(AccountName(name) for name in found.accounts), forwards=tuple(found.elsewhere))

    async def may_send_as(self, account: AccountName, sender: Address) -> bool:
        self._known.refresh()
        domain = self._domains.get(ascii_domain(sender.domain))
        if domain is None:
            return False
        found = self._resolve(_canonical(sender.local_part), domain, catch_all=False, forward=False)
        return account in found.accounts

    def reverse_path(self, sender: Address) -> Address:
        return self._rewriter.rewritten(sender, self._clock()) if self._rewriter else sender

    def original_sender(self, address: Address) -> Address | None:
        return self._rewriter.original(address, self._clock()) if self._rewriter else None

    def _resolve(self, local: str, domain: Domain, *, catch_all: bool = True, forward: bool = True) -> _Found:
        names = [f"{local}@{domain.name}"]
        if domain.plus_delimiter and domain.plus_delimiter in local[1:]:
            names.append(f"{local[: local.index(domain.plus_delimiter, 1)]}@{domain.name}")
        if local == "postmaster" and domain.postmaster:
            names.append(domain.postmaster)
        if catch_all:
            names.append(f"@{domain.name}")
            if domain.catch_all:
                names.append(domain.catch_all)
        for name in names:
            found = self._behind(name.lower(), forward=forward)
            if found:
                return found
        return _Found()

    def _behind(self, start: str, *, forward: bool) -> _Found:
        """What mail for this name comes to, directly, by aliases and by forwarding. Each name is looked at once, so
        circles and crowds of aliases cost no more than what they name. Accounts that only forward to one another
        keep what comes: nobody else would have it."""
        found, seen, ahead, forwarding = _Found(), {start}, [start], list[str]()
        while ahead and len(found) < MAX_TARGETS:
            name = ahead.pop()
            new = list(reversed(self._known.aliases.get(name, ())))
            if name in self._known.accounts:
                to = self._known.forwards.get(name) if forward else None
                (forwarding if to and not to.keep else found.accounts).append(name)
                new += reversed(to.targets if to else ())
            new = [target for target in dict.fromkeys(new) if target not in seen]
            seen.update(new)
            elsewhere = [target for target in new if not self._is_ours(target)]
            found.elsewhere += [Address(*target.rpartition("@")[::2]) for target in reversed(elsewhere)]
            ahead += [target for target in new if target not in elsewhere]
        return found if found else _Found(forwarding)

    def _is_ours(self, name: str) -> bool:
        return ascii_domain(name.rpartition("@")[2]) in self._domains


def _canonical(local: str) -> str:
    """As accounts are called: in lower case, and composed (RFC 6532 §3.1), however it was typed."""
    return local.lower() if local.isascii() else normalize("NFC", local.lower())
