"""Bearer tokens verified with keys of the configuration."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from twisted.internet.defer import Deferred

from mailstack.auth.bad_keys import BadKeys
from mailstack.auth.tokens import MAX_TOKEN, Tokens
from mailstack.config.sections import OAuth
from mailstack.errors import Problem, Refused

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
SECRET = b"s" * 32
OTHER = ec.generate_private_key(ec.SECP256R1())


def public_jwk(algorithm: str, key: Any, **more: str) -> dict[str, Any]:
    made = {"RS256": jwt.algorithms.RSAAlgorithm, "ES256": jwt.algorithms.ECAlgorithm}[algorithm].to_jwk(
        key, as_dict=True
    )
    return {**made, **more}


def secret_jwk(secret: bytes) -> dict[str, Any]:
    return jwt.algorithms.HMACAlgorithm.to_jwk(secret, as_dict=True)


class Issuer:
    """An authorization server with three keys, and a service that trusts them."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        keys = [public_jwk("RS256", RSA.public_key(), kid="r", use="sig"), public_jwk("ES256", EC.public_key()),
                secret_jwk(SECRET), public_jwk("RS256", RSA.public_key(), kid="e", use="enc")]  # fmt: skip
        self.path = directory / "keys.json"
        self.path.write_text(json.dumps({"keys": keys}))
        settings = {"keys": self.path, "issuer": "https://id.example", "audience": "mail", **changes}
        self.tokens = Tokens(OAuth(**settings), None)

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        usual = {"iss": "https://id.example", "aud": "mail", "exp": now + 300, "email": "alice@example.org", **changes}
        return {name: value for name, value in usual.items() if value is not None}

    def names(self, token: str) -> list[str]:
        found: list[Any] = []
        Deferred.fromCoroutine(self.tokens.names(token)).addBoth(found.append)
        return list(found[0]) if isinstance(found[0], tuple) else found[0].raiseException()

    def refused(self, token: str) -> Problem:
        with pytest.raises(Refused) as caught:
            self.names(token)
        assert token not in str(caught.value)
        return caught.value.problem


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


@pytest.mark.parametrize(
    ("algorithm", "key", "headers"), [("RS256", RSA, {"kid": "r"}), ("RS256", RSA, {}), ("ES256", EC, {}),
                                      ("HS256", SECRET, {}), ("ES256", EC, {"kid": "unknown"})],
)  # fmt: skip
def test_signed_by_one_of_the_keys(issuer: Issuer, algorithm: str, key: Any, headers: Mapping[str, str]) -> None:
    assert issuer.names(jwt.encode(issuer.claims(), key, algorithm, dict(headers))) == ["alice@example.org"]


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1}, {"exp": None}, {"exp": "soon"}, {"nbf": 2**33}, {"iss": "https://evil.example"}, {"iss": None},
        {"aud": "other"}, {"aud": None}, {"email_verified": False},
    ],
    ids=str,
)  # fmt: skip
def test_claims_that_are_wrong(issuer: Issuer, changes: dict[str, Any]) -> None:
    assert issuer.refused(jwt.encode(issuer.claims(**changes), EC, "ES256")) is Problem.BAD_CREDENTIALS


@pytest.mark.parametrize(
    "changes",
    [{"exp": -30}, {"nbf": 30}, {"aud": ["other", "mail"]}, {"email_verified": True}],
    ids=["just over", "just not yet", "aud", "verified"],
)
def test_claims_that_are_right(issuer: Issuer, changes: dict[str, Any]) -> None:
    now = int(time.time())
    changes = {name: now + value if name in ("exp", "nbf") else value for name, value in changes.items()}
    assert issuer.names(jwt.encode(issuer.claims(**changes), EC, "ES256")) == ["alice@example.org"]


def test_signed_by_another_key(issuer: Issuer) -> None:
    assert issuer.refused(jwt.encode(issuer.claims(), OTHER, "ES256")) is Problem.BAD_CREDENTIALS
    assert issuer.refused(jwt.encode(issuer.claims(), OTHER, "ES256", {"kid": "r"})) is Problem.BAD_CREDENTIALS


def test_a_token_does_not_choose_the_algorithm(issuer: Issuer) -> None:
    """RFC 8725 §2.1: "none", and a public key taken for a secret."""
    head = jwt.utils.base64url_encode(b'{"alg":"none"}').decode()
    body = jwt.utils.base64url_encode(json.dumps(issuer.claims()).encode()).decode()
    assert issuer.refused(f"{head}.{body}.") is Problem.BAD_CREDENTIALS
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = jwt.utils.base64url_encode(b'{"alg":"HS256","kid":"r"}').decode()
    mac = hmac.digest(pem, f"{head}.{body}".encode(), "sha256")
    assert issuer.refused(f"{head}.{body}.{jwt.utils.base64url_encode(mac).decode()}") is Problem.BAD_CREDENTIALS


@pytest.mark.parametrize("token", ["x", "..", "a.b.c", "x" * (MAX_TOKEN + 1), "e30.e30.e30"])
def test_no_token(issuer: Issuer, token: str) -> None:
    assert issuer.refused(token) is Problem.BAD_CREDENTIALS


def test_scope(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path, scope="mail.read mail.send")
    assert issuer.refused(jwt.encode(issuer.claims(scope="mail.read"), EC, "ES256")) is Problem.NOT_PERMITTED
    assert issuer.refused(jwt.encode(issuer.claims(), EC, "ES256")) is Problem.NOT_PERMITTED
    for scope in ({"scope": "mail.send mail.read x"}, {"scp": ["mail.read", "mail.send"]}):
        assert issuer.names(jwt.encode(issuer.claims(**scope), EC, "ES256")) == ["alice@example.org"]


def test_the_claim_that_names_the_account(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path, account_claim="aliases")
    token = jwt.encode(issuer.claims(aliases=["a@example.org", 7, "", "b@example.org"]), EC, "ES256")
    assert issuer.names(token) == ["a@example.org", "b@example.org"]
    assert issuer.names(jwt.encode(issuer.claims(), EC, "ES256")) == []


def test_one_key_in_pem(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(EC.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    issuer = Issuer(tmp_path, keys=path)
    assert issuer.names(jwt.encode(issuer.claims(), EC, "ES256")) == ["alice@example.org"]
    assert issuer.refused(jwt.encode(issuer.claims(), RSA, "RS256")) is Problem.BAD_CREDENTIALS


PRIVATE = EC.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    "octets",
    [
        b"", b"{}", b'{"keys": []}', b'{"keys": [7]}', b'{"keys": [{"kty": "OKP"}]}', b"\xff", PRIVATE,
        json.dumps({"keys": [secret_jwk(b"short")]}).encode(),
        json.dumps({"keys": [jwt.algorithms.ECAlgorithm.to_jwk(EC, as_dict=True)]}).encode(),
        json.dumps({"keys": [public_jwk("ES256", ec.generate_private_key(ec.SECP384R1()).public_key())]}).encode(),
    ],
    ids=["empty", "object", "none", "number", "kty", "octets", "private pem", "short", "private", "curve"],
)  # fmt: skip
def test_keys_that_cannot_be_used(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "keys"
    path.write_bytes(octets)
    with pytest.raises(BadKeys, match=str(path)):
        Tokens(OAuth(keys=path, audience="mail"), None)
