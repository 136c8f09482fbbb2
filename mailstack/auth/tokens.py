"""Bearer tokens: JWTs verified with keys of the configuration (RFC 7519, RFC 8725), others by asking who issued
them (`net/introspection.py`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from mailstack.auth.bad_keys import BadKeys
from mailstack.config.sections import OAuth
from mailstack.errors import Problem, Refused
from mailstack.ports import TokenHint

MAX_KEYS_FILE = 1024 * 1024
"""Octets of a key set."""
MAX_TOKEN = 8192
"""Octets; what OAUTHBEARER's base64 line may carry is little more."""
MIN_SECRET = 32
"""Octets of a key for HS256 (RFC 7518 §3.2)."""
MIN_RSA = 2048
"""Bits of a key for RS256 (RFC 7518 §3.3)."""
MAX_NAMES = 10
"""Accounts that one token may name."""
Key = tuple[str, Any]
"""The one algorithm that the key is for, and the key: a token does not choose (RFC 8725 §3.1)."""


class Introspection(Protocol):
    """The authorization server, asked (RFC 7662)."""

    async def claims(self, token: str) -> Mapping[str, Any]:
        """What is known of a token that is active. Raises: Refused(BAD_CREDENTIALS | LOGIN_UNAVAILABLE)."""


class Tokens:
    """Implements what `StoredAccounts` asks about tokens. Raises: BadKeys, OSError."""

    def __init__(self, oauth: OAuth, introspection: Introspection | None) -> None:
        self._oauth = oauth
        self._introspection = introspection
        self._keys = read_keys(oauth.keys) if oauth.keys is not None else {}
        self._scope = frozenset(oauth.scope.split())
        self.hint = TokenHint(oauth.scope, oauth.discovery_url)

    async def names(self, token: str) -> Sequence[str]:
        """The accounts' names in the token. Raises: Refused(BAD_CREDENTIALS | NOT_PERMITTED |
        LOGIN_UNAVAILABLE)."""
        if len(token) > MAX_TOKEN:
            raise Refused(Problem.BAD_CREDENTIALS, "a token that is too long")
        if self._keys and (token.count(".") == 2 or self._introspection is None):
            claims = self._verified(token)
        elif self._introspection is not None:
            claims = await self._introspection.claims(token)
            self._check_origin(claims)
        else:
            raise Refused(Problem.BAD_CREDENTIALS, "no way to verify the token")
        missing = self._scope - _words(claims.get("scope", claims.get("scp")))
        if missing:
            raise Refused(Problem.NOT_PERMITTED, f"the token's scope lacks {' '.join(sorted(missing))}")
        return self._named(claims)

    def _verified(self, token: str) -> Mapping[str, Any]:
        """The claims of a JWT that is right. Raises: Refused(BAD_CREDENTIALS)."""
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            candidates = [self._keys[kid]] if kid in self._keys else list(self._keys.values())
            for number, (algorithm, key) in enumerate(candidates, 1):
                try:
                    return self._decoded(token, algorithm, key)
                except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError, jwt.InvalidKeyError):
                    if number == len(candidates):
                        raise
        except jwt.PyJWTError as error:
            raise Refused(Problem.BAD_CREDENTIALS, f"token: {type(error).__name__}") from error
        raise Refused(Problem.BAD_CREDENTIALS, "token: no key")

    def _decoded(self, token: str, algorithm: str, key: Any) -> Mapping[str, Any]:
        found: Mapping[str, Any] = jwt.decode(
            token, key, algorithms=[algorithm], audience=self._oauth.audience, issuer=self._oauth.issuer or None,
            leeway=self._oauth.leeway, options={"require": ["exp"]},
        )  # fmt: skip
        return found

    def _check_origin(self, claims: Mapping[str, Any]) -> None:
        """What introspection says of issuer and audience (RFC 7662 §2.2), where it says it and we ask for it."""
        oauth = self._oauth
        if oauth.issuer and claims.get("iss", oauth.issuer) != oauth.issuer:
            raise Refused(Problem.BAD_CREDENTIALS, "token: of another issuer")
        if oauth.audience and "aud" in claims and oauth.audience not in _words(claims["aud"]):
            raise Refused(Problem.BAD_CREDENTIALS, "token: for another audience")

    def _named(self, claims: Mapping[str, Any]) -> Sequence[str]:
        if self._oauth.account_claim == "email" and claims.get("email_verified") is False:
            raise Refused(Problem.BAD_CREDENTIALS, "token: nobody has verified its mail address")
        found = claims.get(self._oauth.account_claim)
        names = found if isinstance(found, list) else [found]
        return tuple(name for name in names[:MAX_NAMES] if isinstance(name, str) and name and "\0" not in name)


def _words(value: object) -> frozenset[str]:
    """A list, or text with spaces between."""
    if isinstance(value, str):
        return frozenset(value.split())
    return frozenset(word for word in value if isinstance(word, str)) if isinstance(value, list) else frozenset()


def read_keys(path: Path) -> dict[str, Key]:
    """Keys by their id, or by a number where they have none. Raises: BadKeys, OSError."""
    with path.open("rb") as file:
        octets = file.read(MAX_KEYS_FILE + 1)
    if len(octets) > MAX_KEYS_FILE:
        raise BadKeys(f"{path}: too large for keys")
    if octets.lstrip().startswith(b"-----"):
        try:
            return {"": _key(load_pem_public_key(octets), path)}
        except ValueError as error:
            raise BadKeys(f"{path}: not a public key in PEM form") from error
    try:
        document = json.loads(octets)
        entries = [entry for entry in document["keys"] if entry.get("use", "sig") == "sig"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadKeys(f"{path}: neither a JSON Web Key Set nor a public key in PEM form") from error
    found = {str(entry.get("kid", f"#{number}")): _jwk(entry, path, number) for number, entry in enumerate(entries, 1)}
    if not found:
        raise BadKeys(f"{path}: no key for signatures")
    return found


def _jwk(entry: Mapping[str, Any], path: Path, number: int) -> Key:
    try:
        return _key(jwt.PyJWK(dict(entry), algorithm=_ALGORITHMS.get(str(entry.get("kty")))).key, path)
    except (jwt.PyJWTError, ValueError) as error:
        raise BadKeys(f"{path}: key number {number}: {error}") from error


_ALGORITHMS = {"RSA": "RS256", "EC": "ES256", "oct": "HS256"}


def _key(key: object, path: Path) -> Key:
    if isinstance(key, RSAPublicKey):
        if key.key_size < MIN_RSA:
            raise BadKeys(f"{path}: an RSA key of less than {MIN_RSA} bits")
        return "RS256", key
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256", key
    if isinstance(key, bytes):
        if len(key) < MIN_SECRET:
            raise BadKeys(f"{path}: a secret of less than {MIN_SECRET} octets")
        return "HS256", key
    raise BadKeys(f"{path}: a key that is neither RSA, nor EC on P-256, nor a secret; private keys do not belong there")
