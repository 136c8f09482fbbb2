"""Access control lists (RFC 4314): rights, and who has which. Values.

Rights of several entries are combined as Dovecot does it, which reads the same files: of the entries that name a
user, the most specific one counts ("anyone", "authenticated", then the user), and a negative entry takes rights from
what the entries up to its own kind gave."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from mailstack.mailboxes import Flag

Rights = frozenset[str]
"""Some of RIGHTS."""

RIGHTS = "lrswipkxtea"
"""RFC 4314 §2.1, in the order in which they are shown."""
ALL_RIGHTS: Rights = frozenset(RIGHTS)
NO_RIGHTS: Rights = frozenset()
CREATE, DELETE = frozenset("kx"), frozenset("et")
"""What the obsolete rights "c" and "d" stand for (RFC 4314 §2.1.1)."""
ANYONE, AUTHENTICATED = "anyone", "authenticated"
GROUP = "$"
"""Before an identifier that is a group's; there are no groups here, but Dovecot's files may have them."""
SEES: Rights = frozenset("lrikxa")
"""Who has one of these may know his rights (RFC 4314 §4)."""
WRITES: Rights = frozenset("iestw")
"""Who has one of these has a mailbox READ-WRITE (RFC 4314 §5.2): all flags are shared."""
MAX_IDENTIFIER = 255
"""Characters of an identifier."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. `identifier` as in IMAP: an account, "anyone", "authenticated", "$group"; `negative` takes
    the rights away (the identifier is then shown with "-" before it)."""

    identifier: str
    rights: Rights
    negative: bool = False

    @property
    def shown_identifier(self) -> str:
        return "-" + self.identifier if self.negative else self.identifier


Acl = tuple[Entry, ...]


def effective(acl: Acl, user: str) -> Rights:
    """What a user who is not the owner may do."""
    rights = NO_RIGHTS
    for identifier in (ANYONE, AUTHENTICATED, user):
        for entry in acl:
            if entry.identifier == identifier and not entry.negative:
                rights = entry.rights
        for entry in acl:
            if entry.identifier == identifier and entry.negative:
                rights -= entry.rights
    return rights


def parse_rights(text: str) -> Rights:
    """Letters as SETACL has them; "c" and "d" are their members. Raises: ValueError for any other."""
    found: set[str] = set()
    for letter in text:
        if letter in ALL_RIGHTS:
            found.add(letter)
        elif letter in ("c", "d"):
            found |= CREATE if letter == "c" else DELETE
        else:
            raise ValueError(letter)
    return frozenset(found)


def shown(rights: Iterable[str]) -> str:
    """Letters as ACL and MYRIGHTS have them, with "c" and "d" for old clients."""
    given = frozenset(rights)
    letters = "".join(letter for letter in RIGHTS if letter in given and letter != "a")
    virtual = ("c" if given & CREATE else "") + ("d" if given & DELETE else "")
    return letters + virtual + ("a" if "a" in given else "")


def normal_identifier(text: str, domain: str) -> str:
    """The identifier as it is kept: in lower case, in composed form, a user's with his domain.
    Raises: ValueError for what no identifier can be (RFC 4314 §3)."""
    normal = unicodedata.normalize("NFKC", text).lower()
    if not normal or not normal.isprintable() or len(normal) > MAX_IDENTIFIER or normal[0] in '#"' or "/" in normal:
        raise ValueError(text)
    if normal in (ANYONE, AUTHENTICATED) or normal.startswith(GROUP) or "@" in normal or not domain:
        return normal
    return f"{normal}@{domain}"


def flag_mask(rights: Rights) -> int:
    """The bits of flags that one may set (RFC 4314 §4): "s" \\Seen, "t" \\Deleted, "w" all others."""
    mask = ~int(Flag.SEEN | Flag.DELETED) if "w" in rights else 0
    if "s" in rights:
        mask |= int(Flag.SEEN)
    if "t" in rights:
        mask |= int(Flag.DELETED)
    return mask


def changed(acl: Acl, identifier: str, rights: Rights | None, *, negative: bool) -> Acl:
    """The list with another entry for an identifier; None takes it away."""
    kept = [entry for entry in acl if (entry.identifier, entry.negative) != (identifier, negative)]
    if rights is None:
        return tuple(kept)
    entry = Entry(identifier, rights, negative)
    at = next((i for i, old in enumerate(acl) if (old.identifier, old.negative) == (identifier, negative)), len(kept))
    return (*kept[:at], entry, *kept[at:])
