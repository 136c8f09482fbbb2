"""SCRAM keys at rest: beside the password's hash, in the form of RFC 5803, one for each mechanism.

Who steals the database can guess passwords against them much faster than against argon2id. They are
therefore made only where SCRAM may be offered."""

from __future__ import annotations

import hmac
import os
from base64 import b64decode, b64encode
from collections.abc import Collection

from mailstack.auth.scram import HASHES, MAX_ITERATIONS, derive
from mailstack.ports import ScramKeys

ITERATIONS = 15_000
"""Of new keys: what RFC 7677 §4 has for a modern machine; phones do it at each login, too."""
SALT_OCTETS = 16


def scram_text(password: str, mechanisms: Collection[str] = tuple(HASHES)) -> str:
    """New keys for each of the mechanisms that is SCRAM, with or without -PLUS. Costs 20 ms."""
    wanted = {name.removesuffix("-PLUS") for name in mechanisms}
    made = [(name, derive(name, password, os.urandom(SALT_OCTETS), ITERATIONS)) for name in HASHES if name in wanted]
    return " ".join(as_text(name, keys) for name, keys in made)


def as_text(mechanism: str, keys: ScramKeys) -> str:
    # authValue = scram-mech "$" iter-count ":" salt "$" StoredKey ":" ServerKey   ; RFC 5803 §2
    salt, stored, server = (b64encode(each).decode() for each in (keys.salt, keys.stored_key, keys.server_key))
    return f"{mechanism}${keys.iterations}:{salt}${stored}:{server}"


def keys_of(text: str, mechanism: str) -> ScramKeys | None:
    """The keys for a mechanism; None if they are not in the text."""
    for entry in text.split():
        name, _, rest = entry.partition("$")
        if name == mechanism:
            parameters, _, both = rest.partition("$")
            iterations, _, salt = parameters.partition(":")
            stored, _, server = both.partition(":")
            return ScramKeys(b64decode(salt), int(iterations), b64decode(stored), b64decode(server))
    return None


def nobodys_keys(secret: str, name: str, mechanism: str) -> ScramKeys:
    """What a user without keys is answered, known or not: the same each time, in every process."""

    def octets(what: str, size: int) -> bytes:
        return hmac.digest(secret.encode(), f"{what} {mechanism} {name}".encode("utf-8", "surrogatepass"), "sha512")[
            :size
        ]

    size = 32 if mechanism.endswith("256") else 20
    return ScramKeys(octets("salt", SALT_OCTETS), ITERATIONS, octets("stored", size), octets("server", size))


def dovecot_keys(scheme: str, text: str) -> ScramKeys:
    """The keys in a hash of Dovecot's schemes SCRAM-SHA-1 and SCRAM-SHA-256: iterations, salt, StoredKey and
    ServerKey with commas. Raises: ValueError."""
    iterations, salt, stored, server = text.split(",")
    keys = ScramKeys(
        b64decode(salt, validate=True),
        int(iterations),
        b64decode(stored, validate=True),
        b64decode(server, validate=True),
    )
    size = 32 if scheme.endswith("256") else 20
    if not 0 < keys.iterations <= MAX_ITERATIONS or {len(keys.stored_key), len(keys.server_key)} != {size}:
        raise ValueError("not the keys of this mechanism")
    return keys
