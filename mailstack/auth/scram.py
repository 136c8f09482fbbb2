"""SCRAM-SHA-1 and SCRAM-SHA-256, with and without channel binding (RFC 5802, RFC 7677), the server's side."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from mailstack.auth.sasl import Challenge, KeysWanted, Proof, Step, decode_base64, encode_base64, text_of
from mailstack.auth.saslprep import NotPrepared, saslprep
from mailstack.errors import BadSyntax, Problem, Refused
from mailstack.ports import ScramKeys

HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}
"""Mechanism without -PLUS → name in hashlib."""
MAX_ITERATIONS = 10_000_000
"""Of keys from elsewhere; a client would take seconds."""
_NAME = {"=2C": ",", "=3D": "="}


@dataclass(frozen=True, slots=True)
class Binding:
    """The channel bindings (RFC 5056) of the connection: `value` of one by its name, None for one that
    there is not. `offered`: a -PLUS mechanism is, so a client that can bind would."""

    offered: bool
    value: Callable[[str], bytes | None]


@dataclass(slots=True)
class _First:
    """The client's first message, in parts (RFC 5802 §7)."""

    header: bytes
    flag: bytes
    authzid: str
    bare: bytes
    user: str
    nonce: bytes


def derive(mechanism: str, password: str, salt: bytes, iterations: int) -> ScramKeys:
    """The keys of a password. Costs some microseconds an iteration. A password that SASLprep does not
    allow is taken as it is, as clients do that do not prepare it."""
    name = HASHES[mechanism]
    try:
        octets = saslprep(password).encode()
    except NotPrepared:
        octets = password.encode("utf-8", "surrogatepass")
    # RFC 5802 §3
    salted = hashlib.pbkdf2_hmac(name, octets, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", name)
    return ScramKeys(salt, iterations, hashlib.new(name, client_key).digest(), hmac.digest(salted, b"Server Key", name))


class ScramExchange:
    """`server_nonce` is printable ASCII without comma, new and unguessable for each exchange."""

    __slots__ = ("_binding", "_first", "_hash", "_keys", "_mechanism", "_nonce", "_plus", "_server_first")

    def __init__(self, mechanism: str, binding: Binding, server_nonce: str) -> None:
        self._mechanism = mechanism.removesuffix("-PLUS")
        self._plus = mechanism.endswith("-PLUS")
        self._hash = HASHES[self._mechanism]
        self._binding = binding
        self._nonce = server_nonce.encode("ascii")
        self._first: _First | None = None
        self._keys: ScramKeys | None = None
        self._server_first = b""

    def respond(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
        if self._first is None:
            self._first = client_first_message(response)
            self._check_flag(self._first.flag)
            return KeysWanted(self._first.user, self._mechanism, self._answer)
        assert self._keys is not None
        return self._verify(self._first, self._keys, response)

    def _check_flag(self, flag: bytes) -> None:
        """RFC 5802 §6. Raises: Refused."""
        if flag == b"y" and self._binding.offered:
            raise Refused(
                Problem.BAD_CREDENTIALS, "the client was not shown that channel binding is offered: downgrade"
            )
        if flag.startswith(b"p=") is not self._plus:
            raise Refused(Problem.BAD_CREDENTIALS, "channel binding is not used as the mechanism's name says")
        if self._plus and self._binding.value(flag[2:].decode("ascii")) is None:
            raise Refused(Problem.BAD_CREDENTIALS, f"no channel binding {flag[2:40]!r} here")

    def _answer(self, keys: ScramKeys) -> Challenge:
        # server-first-message = nonce "," salt "," iteration-count
        assert self._first is not None
        self._keys = keys
        self._nonce = self._first.nonce + self._nonce
        self._server_first = b"r=%s,s=%s,i=%d" % (self._nonce, encode_base64(keys.salt), keys.iterations)
        return Challenge(self._server_first)

    def _verify(self, first: _First, keys: ScramKeys, response: bytes) -> Proof:
        without_proof, bound, nonce, proof = client_final_message(response)
        data = first.header
        if self._plus:
            data += self._binding.value(first.flag[2:].decode("ascii")) or b""
        message = b",".join((first.bare, self._server_first, without_proof))
        signature = hmac.digest(keys.stored_key, message, self._hash)
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=False))
        known = hmac.compare_digest(hashlib.new(self._hash, client_key).digest(), keys.stored_key)
        right = known and len(proof) == len(signature) and bound == data and hmac.compare_digest(nonce, self._nonce)
        verifier = b"v=" + encode_base64(hmac.digest(keys.server_key, message, self._hash))
        return Proof(first.user, first.authzid, right, verifier)


def client_first_message(octets: bytes) -> _First:
    """Raises: BadSyntax."""
    # client-first-message = gs2-header client-first-message-bare
    # gs2-header = gs2-cbind-flag "," [ authzid ] ","
    # client-first-message-bare = [reserved-mext ","] username "," nonce ["," extensions]   ; RFC 5802 §7
    parts = octets.split(b",")
    if len(parts) < 4:
        raise BadSyntax("SCRAM: gs2-header n=user,r=nonce")
    flag, authzid, user, nonce, *extensions = parts
    if flag not in (b"n", b"y") and not (flag.startswith(b"p=") and _is_name(flag[2:])):
        raise BadSyntax("SCRAM: n, y or p=channel-binding")
    if authzid and not authzid.startswith(b"a="):
        raise BadSyntax("SCRAM: a=authzid")
    if not user.startswith(b"n="):  # m= is an extension that must be understood, and none is
        raise BadSyntax("SCRAM: n=user")
    _expect_extensions(extensions)
    header = b",".join((flag, authzid, b""))
    name = _saslname(user[2:])
    if not name:
        raise BadSyntax("SCRAM: n=user")
    return _First(header, flag, _saslname(authzid[2:]), octets[len(header) :], name, _nonce(nonce))


def client_final_message(octets: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """(the message without its proof, channel binding data decoded, nonce, proof). Raises: BadSyntax."""
    # client-final-message = channel-binding "," nonce ["," extensions] "," proof   ; RFC 5802 §7
    parts = octets.split(b",")
    if len(parts) < 3 or not parts[0].startswith(b"c=") or not parts[-1].startswith(b"p="):
        raise BadSyntax("SCRAM: c=binding,r=nonce,p=proof")
    _expect_extensions(parts[2:-1])
    without_proof = octets[: -len(parts[-1]) - 1]
    return without_proof, decode_base64(parts[0][2:]), _nonce(parts[1]), decode_base64(parts[-1][2:])


def _expect_extensions(parts: list[bytes]) -> None:
    # extensions = attr-val *("," attr-val) ; unknown ones are ignored, but for m=
    for part in parts:
        if not part[:1].isalpha() or part[1:2] != b"=" or part.startswith(b"m="):
            raise BadSyntax("SCRAM: extensions that may be ignored")
        text_of(part)


def _saslname(octets: bytes) -> str:
    # saslname = 1*(value-safe-char / "=2C" / "=3D")
    pieces = text_of(octets).split("=")
    name = pieces[0]
    for piece in pieces[1:]:
        quoted = _NAME.get("=" + piece[:2])
        if quoted is None:
            raise BadSyntax("SCRAM: =2C or =3D")
        name += quoted + piece[2:]
    if "\0" in name:
        raise BadSyntax("SCRAM: a name without NUL")
    try:
        return saslprep(name)
    except NotPrepared:
        raise BadSyntax("SCRAM: a name that SASLprep allows") from None


def _nonce(part: bytes) -> bytes:
    # nonce = "r=" c-nonce [s-nonce] ; printable = %x21-2B / %x2D-7E
    value = part[2:]
    if not part.startswith(b"r=") or not value or not all(0x21 <= octet <= 0x7E for octet in value):
        raise BadSyntax("SCRAM: r=nonce of printable characters")
    text_of(value)
    return value


def _is_name(octets: bytes) -> bool:
    # cb-name = 1*(ALPHA / DIGIT / "." / "-")
    return bool(octets) and octets.replace(b".", b"").replace(b"-", b"").isalnum() and octets.isascii()
