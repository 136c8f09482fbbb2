"""All SASL mechanisms: which are offered on a connection, and how an exchange of one begins."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from mailstack.auth.bearer import OAuthBearerExchange, XOAuth2Exchange
from mailstack.auth.sasl import Exchange, ExternalExchange, LoginExchange, PlainExchange
from mailstack.auth.scram import Binding, ScramExchange
from mailstack.ports import Accounts, Connection


class Needs(Enum):
    """What of the connection a mechanism needs, beside being private."""

    NOTHING = "nothing"
    CHANNEL_BINDING = "a channel binding"
    CERTIFICATE = "a client certificate"


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One mechanism: its name (RFC 4422 §3.1), and how an exchange begins."""

    name: str
    begin: Callable[[Binding, str], Exchange]
    needs: Needs = Needs.NOTHING


def _scram(name: str) -> Mechanism:
    plus = Needs.CHANNEL_BINDING if name.endswith("-PLUS") else Needs.NOTHING
    return Mechanism(name, lambda binding, nonce: ScramExchange(name, binding, nonce), plus)


MECHANISMS: tuple[Mechanism, ...] = (
    _scram("SCRAM-SHA-256-PLUS"),
    _scram("SCRAM-SHA-1-PLUS"),
    _scram("SCRAM-SHA-256"),
    _scram("SCRAM-SHA-1"),
    Mechanism("EXTERNAL", lambda binding, nonce: ExternalExchange(), Needs.CERTIFICATE),
    Mechanism("OAUTHBEARER", lambda binding, nonce: OAuthBearerExchange()),
    Mechanism("XOAUTH2", lambda binding, nonce: XOAuth2Exchange()),
    Mechanism("PLAIN", lambda binding, nonce: PlainExchange()),
    Mechanism("LOGIN", lambda binding, nonce: LoginExchange()),
)
"""All mechanisms, the one to prefer first."""
NAMES = frozenset(mechanism.name for mechanism in MECHANISMS)
PASSWORDS = frozenset({"PLAIN", "LOGIN"})
"""Mechanisms that send the password itself, as LOGIN of IMAP and USER of POP3 do."""


def offered(enabled: Collection[str], accounts: Accounts, connection: Connection) -> Sequence[Mechanism]:
    """Those of `enabled` that the accounts can verify and the connection is fit for, the one to prefer
    first. Whether the connection is private enough, who asks must know."""
    among = _among(frozenset(enabled), frozenset(accounts.mechanisms()))
    return [mechanism for mechanism in among if mechanism.needs is Needs.NOTHING or _fit(mechanism.needs, connection)]


@lru_cache(maxsize=64)
def _among(enabled: frozenset[str], verifiable: frozenset[str]) -> tuple[Mechanism, ...]:
    both = enabled & verifiable
    return tuple(mechanism for mechanism in MECHANISMS if mechanism.name in both)


def takes_passwords(enabled: Collection[str], accounts: Accounts) -> bool:
    """Whether a password may be sent as it is: LOGIN of IMAP, USER and PASS of POP3."""
    return not PASSWORDS.isdisjoint(enabled) and not PASSWORDS.isdisjoint(accounts.mechanisms())


def begin(name: str, among: Sequence[Mechanism], connection: Connection, nonce: str) -> Exchange | None:
    """Begin an exchange of the offered mechanism with this name (in any case); None if there is none."""
    wanted = name.upper()
    for mechanism in among:
        if mechanism.name == wanted:
            plus = f"{wanted.removesuffix('-PLUS')}-PLUS"
            binding = Binding(any(other.name == plus for other in among), connection.channel_binding)
            return mechanism.begin(binding, nonce)
    return None


def _fit(needs: Needs, connection: Connection) -> bool:
    if needs is Needs.CERTIFICATE:
        return connection.client_certificate is not None
    return any(connection.channel_binding(name) is not None for name in CHANNEL_BINDINGS)


CHANNEL_BINDINGS = ("tls-exporter", "tls-server-end-point")
"""What a -PLUS mechanism is offered for: RFC 9266 and RFC 5929 §4. tls-unique, which TLS 1.3 does not have, comes
with the latter."""
