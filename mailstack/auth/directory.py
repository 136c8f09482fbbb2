"""Who receives what: accounts, aliases, catch-all, plus-addressing. Implements `ports.Directory`."""

from __future__ import annotations

from collections.abc import Iterable
from unicodedata import normalize

from mailstack.auth.known import KnownAccounts
from mailstack.config.sections import Domain
from mailstack.errors import Problem, Refused
from mailstack.mail.address import Address, ascii_domain
from mailstack.ports import AccountName, Local, Remote

MAX_TARGETS = 1000
"""Accounts that one address may lead to."""


class StoredDirectory:
    """The domains of the configuration over the accounts database."""

    def __init__(self, known: KnownAccounts, domains: Iterable[Domain]) -> None:
        self._known = known
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
        found = self._resolve(_canonical(address.local_part), domain)
        if not found:
            raise Refused(Problem.NO_SUCH_RECIPIENT, str(address))
        return Local(tuple(AccountName(name) for name in found))

    async def may_send_as(self, account: AccountName, sender: Address) -> bool:
        self._known.refresh()
        domain = self._domains.get(ascii_domain(sender.domain))
        return domain is not None and account in self._resolve(_canonical(sender.local_part), domain, catch_all=False)

    def _resolve(self, local: str, domain: Domain, *, catch_all: bool = True) -> list[str]:
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
            found = self._behind(name.lower())
            if found:
                return found
        return []

    def _behind(self, start: str) -> list[str]:
        """The accounts that mail for this name comes to, directly or by aliases. Each name is looked
        at once, so circles and crowds of aliases cost no more than what they name."""
        found, seen, ahead = list[str](), {start}, [start]
        while ahead and len(found) < MAX_TARGETS:
            name = ahead.pop()
            if name in self._known.accounts:
                found.append(name)
            new = [target for target in reversed(self._known.aliases.get(name, ())) if target not in seen]
            seen.update(new)
            ahead += new
        return found


def _canonical(local: str) -> str:
    """As accounts are called: in lower case, and composed (RFC 6532 §3.1), however it was typed."""
    return local.lower() if local.isascii() else normalize("NFC", local.lower())
