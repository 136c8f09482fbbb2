"""Bearer tokens by SASL: OAUTHBEARER (RFC 7628) and XOAUTH2, which is what it was before, as Google has it."""

from __future__ import annotations

import json
import re

from mailstack.auth.sasl import MAX_FIELD, Challenge, Secret, Step, Token, text_of
from mailstack.errors import BadSyntax, Problem
from mailstack.ports import TokenHint

_TOKEN = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]+=*)")
"""RFC 6750 §2.1."""
_NAME = {"=2C": ",", "=3D": "="}


class OAuthBearerExchange:
    """OAUTHBEARER. What the client says of host and port is not compared with anything: a server may be
    reached by many names, and whom a token is for, its audience says."""

    __slots__ = ()

    def respond(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
        # client-resp = (gs2-header kvsep *kvpair kvsep) / kvsep   ; RFC 7628 §3.1; the latter only after an error
        header, *pairs = response.split(b"\1")
        if len(pairs) < 3 or pairs[-2:] != [b"", b""]:
            raise BadSyntax("OAUTHBEARER: gs2-header ^A *(key=value ^A) ^A")
        parts = header.split(b",")
        if len(parts) != 3 or parts[0] not in (b"n", b"y") or parts[2] or not _is_authzid(parts[1]):
            raise BadSyntax("OAUTHBEARER: n,a=user,")
        return Token(_unquoted(text_of(parts[1][2:])), _bearer(pairs[:-2]))


class XOAuth2Exchange:
    """XOAUTH2: "user=" user ^A "auth=Bearer " token ^A ^A."""

    __slots__ = ()

    def respond(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
        header, *pairs = response.split(b"\1")
        if len(pairs) < 3 or pairs[-2:] != [b"", b""] or not header.startswith(b"user="):
            raise BadSyntax("XOAUTH2: user=name ^A auth=Bearer token ^A ^A")
        user = text_of(header[5:])
        if not user or "\0" in user:
            raise BadSyntax("XOAUTH2: user=name")
        return Token(user, _bearer(pairs[:-2]), http_status=True)


def refusal(problem: Problem, hint: TokenHint, *, http_status: bool) -> bytes:
    """What the client is told before the exchange fails (RFC 7628 §3.2.2); XOAUTH2 has HTTP's status."""
    lacks_scope = problem is Problem.NOT_PERMITTED
    if http_status:
        document = {"status": "403" if lacks_scope else "401", "schemes": "bearer"}
    else:
        document = {"status": "insufficient_scope" if lacks_scope else "invalid_token"}
    if hint.scope:
        document["scope"] = hint.scope
    if hint.openid_configuration and not http_status:
        document["openid-configuration"] = hint.openid_configuration
    return json.dumps(document).encode()


def _is_authzid(part: bytes) -> bool:
    return not part or (part.startswith(b"a=") and len(part) <= MAX_FIELD)


def _unquoted(name: str) -> str:
    found = re.sub("=2C|=3D", lambda match: _NAME[match[0]], name)
    if "\0" in found:
        raise BadSyntax("OAUTHBEARER: a name without NUL")
    return found


def _bearer(pairs: list[bytes]) -> Secret:
    values = [pair[5:] for pair in pairs if pair.startswith(b"auth=")]
    found = _TOKEN.fullmatch(values[0]) if len(values) == 1 else None
    if found is None:
        raise BadSyntax("auth=Bearer token")
    return Secret(found[1].decode("ascii"))
