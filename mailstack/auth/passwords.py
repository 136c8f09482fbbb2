"""Password hashes: argon2id for ours, others' verified and replaced at the first login.

Verifying costs some 20 ms, so it runs in threads of its own, and what was right is remembered for a
while: a keyed digest in memory, forgotten when the hash changes."""

from __future__ import annotations

import hashlib
import hmac
import os
import unicodedata
from collections import OrderedDict
from collections.abc import Callable

from mailstack.auth.scram import HASHES, derive
from mailstack.auth.scram_store import as_text, dovecot_keys
from mailstack.ports import ScramKeys

MAX_PASSWORD = 1024
"""Octets; a longer one is wrong."""
TIME_COST, MEMORY_COST, PARALLELISM = 2, 19 * 1024, 1
"""argon2id as OWASP's password storage cheat sheet advises: 19 MiB, two passes, one lane."""
MAX_REMEMBERED = 10_000
"""Passwords remembered at once."""


def prepared(password: str) -> bytes:
    """The octets that are hashed: OpaqueString of RFC 8265 §4.2, without its prohibitions."""
    if password.isascii():
        return password.encode()
    spaced = "".join(" " if unicodedata.category(char) == "Zs" else char for char in password)
    return unicodedata.normalize("NFC", spaced).encode("utf-8", "surrogatepass")


def hash_password(password: str) -> str:
    """A new argon2id hash, as PHC string. Costs 20 ms and 19 MiB."""
    from argon2 import PasswordHasher

    return PasswordHasher(TIME_COST, MEMORY_COST, PARALLELISM).hash(prepared(password))


def verify(stored: str, password: str) -> bool:
    """Whether the password is that of the hash. Costs as much as hashing. bcrypt and SHA-crypt need
    the extra `import`. Raises: UnknownHash."""
    octets = prepared(password)
    if len(octets) > MAX_PASSWORD:
        return False
    scheme, bare = _scheme(stored)
    if scheme in HASHES:
        keys = _scram(scheme, bare)
        made = derive(scheme, password, keys.salt, keys.iterations)
        return hmac.compare_digest(made.stored_key, keys.stored_key)
    if bare.startswith("$argon2"):
        from argon2 import PasswordHasher
        from argon2.exceptions import InvalidHashError, VerificationError

        try:
            return PasswordHasher().verify(bare, octets)
        except VerificationError:
            return False
        except InvalidHashError as error:
            raise UnknownHash("a damaged argon2 hash") from error
    return _verify_imported(bare, octets)


class UnknownHash(Exception):
    """The stored hash is of a kind that cannot be verified here; the message says which."""


def check_hash(stored: str) -> None:
    """Raises: UnknownHash when no password can ever be right for it here."""
    scheme, bare = _scheme(stored)
    if scheme in HASHES:
        _scram(scheme, bare)
        return
    if bare.startswith("$argon2"):
        from argon2 import extract_parameters
        from argon2.exceptions import InvalidHashError

        try:
            extract_parameters(bare)
        except InvalidHashError as error:
            raise UnknownHash("a damaged argon2 hash") from error
        return
    _verify_imported(bare, b"")


def scram_of(stored: str) -> str:
    """The SCRAM keys that an imported hash is, in the form of `scram_store`; "" if it is none.
    Raises: UnknownHash."""
    scheme, bare = _scheme(stored)
    return as_text(scheme, _scram(scheme, bare)) if scheme in HASHES else ""


def _scheme(stored: str) -> tuple[str, str]:
    """A hash as Dovecot writes it, "{SCHEME}hash"; "" where there is no scheme."""
    if stored.startswith("{") and "}" in stored:
        scheme, _, bare = stored[1:].partition("}")
        return scheme.upper(), bare
    return "", stored


def _scram(scheme: str, bare: str) -> ScramKeys:
    try:
        return dovecot_keys(scheme, bare)
    except ValueError as error:
        raise UnknownHash(f"damaged {scheme} keys") from error


def is_ours(stored: str) -> bool:
    """Whether the hash is argon2id with today's costs; others are replaced at login."""
    return stored.startswith("$argon2id$") and f"m={MEMORY_COST},t={TIME_COST},p={PARALLELISM}" in stored


def _verify_imported(bare: str, octets: bytes) -> bool:
    kind = bare[1:3] if bare.startswith("$") else ""
    try:
        if kind in ("2a", "2b", "2y"):
            import bcrypt  # type: ignore[import-not-found,unused-ignore]

            return bool(bcrypt.checkpw(octets[:72], bare.encode("ascii")))
        if kind in ("5$", "6$"):
            from passlib.hash import sha256_crypt, sha512_crypt  # type: ignore[import-untyped,import-not-found,unused-ignore]

            return bool((sha256_crypt if kind == "5$" else sha512_crypt).verify(octets, bare))
    except ImportError as error:
        raise UnknownHash(f"verifying ${kind} hashes needs the extra: pip install 'mailstack[import]'") from error
    except ValueError as error:
        raise UnknownHash(f"a damaged ${kind} hash") from error
    raise UnknownHash("a hash of a kind that is not known")


class VerifiedPasswords:
    """Remembers which password was right for which hash, without knowing it."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._key = os.urandom(32)
        self._known: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    def keep_for(self, seconds: float) -> None:
        """Another time from now on; what is remembered already keeps its own. 0: remember nothing."""
        self._seconds = seconds
        if seconds <= 0:
            self._known.clear()

    def knows(self, name: str, stored: str, password: str) -> bool:
        """Whether this password was right for this very hash, not long ago."""
        entry = self._known.get(name)
        if entry is None or entry[1] < self._clock():
            self._known.pop(name, None)
            return False
        return hmac.compare_digest(entry[0], self._digest(stored, password))

    def remember(self, name: str, stored: str, password: str) -> None:
        """It was right."""
        if self._seconds <= 0:
            return
        self._known[name] = (self._digest(stored, password), self._clock() + self._seconds)
        self._known.move_to_end(name)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)

    def _digest(self, stored: str, password: str) -> bytes:
        return hashlib.blake2b(stored.encode() + b"\0" + prepared(password), key=self._key, digest_size=32).digest()
