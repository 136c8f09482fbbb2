"""Passwords for single programs: made by us, never chosen, each for some services and perhaps for a time.

Since each has 100 random bits, its SHA-256 is all that need be kept, and it is found at once: nobody can guess what
a digest was made of. SCRAM cannot be had with them: there the server shows the salt of one password before the client
proves anything, and it cannot know which of several the client has. So they go by mechanisms that send the password
(PLAIN, LOGIN, and the protocols' own login commands), and while there are any, SCRAM is not offered unless the
configuration insists."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from hashlib import sha256

_ALPHABET = "abcdefghjkmnpqrstuvwxyz234567890"
_GROUPS, _LETTERS = 5, 4
SCOPES = ("smtp", "imap", "pop3")
MAX_LABEL = 100


@dataclass(frozen=True, slots=True)
class AppPassword:
    """One of an account: `label` says what for, `scopes` are some of SCOPES; times in seconds since the epoch,
    `expires` None for never."""

    label: str
    scopes: tuple[str, ...]
    created: float
    expires: float | None

    def is_good_for(self, scope: str, now: float) -> bool:
        """Whether one may log in by it there and then."""
        return scope in self.scopes and (self.expires is None or now < self.expires)


def new_app_password() -> str:
    """A random one, as "abcd-efgh-jkmn-pqrs-tuvw"."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(_LETTERS)) for _ in range(_GROUPS))


def digest(password: str) -> str | None:
    """What is kept of it, whatever its case, hyphens and spaces; None for what cannot be one."""
    plain = password.replace("-", "").replace(" ", "").lower()
    if len(plain) != _GROUPS * _LETTERS or not set(plain) <= set(_ALPHABET):
        return None
    return sha256(plain.encode("ascii")).hexdigest()
