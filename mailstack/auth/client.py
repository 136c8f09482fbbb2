"""The client's side of SASL, for servers that we log in to (RFC 4422); no IO.

exchange = choose(offered, credentials, private=..., nonce=...)
exchange.initial()          the initial response, None if the mechanism has none
exchange.respond(challenge) the next one
exchange.proved             whether a success may be believed: SCRAM's server has to prove itself, too
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from mailstack.auth.sasl import Secret, decode_base64, encode_base64
from mailstack.auth.saslprep import NotPrepared, saslprep
from mailstack.auth.scram import HASHES
from mailstack.errors import BadSyntax

MAX_ITERATIONS = 500_000
"""Of SCRAM: how many a server may ask for. They cost a third of a second; a server that wants more is hostile."""


@dataclass(frozen=True, slots=True)
class LoginAs:
    """Who we are there. `token`: the secret is a bearer token (RFC 6750), not a password."""

    user: str
    secret: Secret
    token: bool = False


class ClientExchange(Protocol):
    """One authentication under way. Raises: BadSyntax, for challenges that cannot be answered."""

    @property
    def name(self) -> str:
        """The mechanism."""

    @property
    def proved(self) -> bool: ...

    def initial(self) -> bytes | None: ...

    def respond(self, challenge: bytes) -> bytes: ...


class _Fixed:
    """A mechanism whose answers are known beforehand."""

    proved = True

    def __init__(self, name: str, initial: bytes | None, *answers: bytes) -> None:
        self.name = name
        self._initial = initial
        self._answers = list(answers)

    def initial(self) -> bytes | None:
        return self._initial

    def respond(self, challenge: bytes) -> bytes:
        if not self._answers:
            raise BadSyntax(f"no further challenge of {self.name}")
        return self._answers.pop(0)


class ScramClient:
    """SCRAM without channel binding (RFC 5802, RFC 7677). `nonce` is printable ASCII without comma."""

    def __init__(self, name: str, account: LoginAs, nonce: str) -> None:
        self.name = name
        self.proved = False
        self._hash = HASHES[name]
        self._password = _prepared(account.secret.reveal()).encode()
        self._nonce = nonce.encode("ascii")
        user = _prepared(account.user).replace("=", "=3D").replace(",", "=2C").encode()
        self._bare = b"n=%s,r=%s" % (user, self._nonce)
        self._verifier = b""

    def initial(self) -> bytes | None:
        return b"n,," + self._bare

    def respond(self, challenge: bytes) -> bytes:
        if not self._verifier:
            return self._final(challenge)
        # server-final-message = (server-error / verifier) ["," extensions]   ; RFC 5802 §7
        if not hmac.compare_digest(challenge.split(b",")[0], self._verifier):
            raise BadSyntax("the proof that the server knows the password")
        self.proved = True
        return b""

    def _final(self, first: bytes) -> bytes:
        # server-first-message = [reserved-mext ","] nonce "," salt "," iteration-count ["," extensions]
        found = re.fullmatch(rb"r=([!-+\--~]+),s=([A-Za-z0-9+/=]+),i=([1-9][0-9]{0,8})(?:,.*)?", first, re.DOTALL)
        if found is None or not found[1].startswith(self._nonce) or len(found[1]) == len(self._nonce):
            raise BadSyntax("SCRAM: r=nonce,s=salt,i=iterations")
        if int(found[3]) > MAX_ITERATIONS:
            raise BadSyntax(f"SCRAM: at most {MAX_ITERATIONS} iterations")
        salted = hashlib.pbkdf2_hmac(self._hash, self._password, decode_base64(found[2]), int(found[3]))
        without_proof = b"c=biws,r=" + found[1]
        message = b",".join((self._bare, first, without_proof))
        client_key = hmac.digest(salted, b"Client Key", self._hash)
        signature = hmac.digest(hashlib.new(self._hash, client_key).digest(), message, self._hash)
        server_key = hmac.digest(salted, b"Server Key", self._hash)
        self._verifier = b"v=" + encode_base64(hmac.digest(server_key, message, self._hash))
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return without_proof + b",p=" + encode_base64(proof)


def _plain(account: LoginAs, nonce: str) -> ClientExchange:
    # message = [authzid] UTF8NUL authcid UTF8NUL passwd   ; RFC 4616 §2
    return _Fixed("PLAIN", f"\0{account.user}\0{account.secret.reveal()}".encode())


def _login(account: LoginAs, nonce: str) -> ClientExchange:
    return _Fixed("LOGIN", None, account.user.encode(), account.secret.reveal().encode())


def _oauthbearer(account: LoginAs, nonce: str) -> ClientExchange:
    # RFC 7628 §3.1; after an error the client says ^A (§3.2.3)
    user = account.user.replace("=", "=3D").replace(",", "=2C")
    return _Fixed("OAUTHBEARER", f"n,a={user},\1auth=Bearer {account.secret.reveal()}\1\1".encode(), b"\1")


def _xoauth2(account: LoginAs, nonce: str) -> ClientExchange:
    return _Fixed("XOAUTH2", f"user={account.user}\1auth=Bearer {account.secret.reveal()}\1\1".encode(), b"")


def _scram(name: str) -> Callable[[LoginAs, str], ClientExchange]:
    return lambda account, nonce: ScramClient(name, account, nonce)


_PASSWORD_HIDDEN = {"SCRAM-SHA-256": _scram("SCRAM-SHA-256"), "SCRAM-SHA-1": _scram("SCRAM-SHA-1")}
_PASSWORD_SHOWN = {"PLAIN": _plain, "LOGIN": _login}
_TOKEN = {"OAUTHBEARER": _oauthbearer, "XOAUTH2": _xoauth2}


def choose(offered: Collection[str], account: LoginAs, *, private: bool, nonce: str) -> ClientExchange | None:
    """The best of the offered mechanisms. What shows the secret to who listens is only for connections that are
    `private`. None if there is none."""
    if account.token:
        usable: dict[str, Callable[[LoginAs, str], ClientExchange]] = dict(_TOKEN) if private else {}
    else:
        usable = {**_PASSWORD_HIDDEN, **(_PASSWORD_SHOWN if private else {})}
    return next((begin(account, nonce) for name, begin in usable.items() if name in offered), None)


def _prepared(text: str) -> str:
    try:
        return saslprep(text)
    except NotPrepared:
        return text
