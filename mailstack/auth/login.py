"""Carries one SASL exchange through a connection, and asks the accounts; SMTP, IMAP and POP3 share it."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from mailstack.auth import bearer, mechanisms, sasl
from mailstack.auth.sasl import Challenge, Credentials, Exchange, KeysWanted, Proof, Step, Token
from mailstack.errors import BadSyntax, Problem, Refused
from mailstack.ports import AccountName, Accounts, Connection, Counters, Log, Peer

NONCE_OCTETS = 18
"""Random octets of a SCRAM nonce: 24 characters."""

Ask = Callable[[bytes], Awaitable[bytes]]
"""Sends a challenge, in base64, and gives the client's next line. Raises: BadSyntax for none that is one."""


class Cancelled(Exception):
    """The client gave up with "*"."""


@dataclass(slots=True)
class Attempt:
    """One login under way, for the log."""

    mechanism: str
    peer: Peer
    user: str = ""
    """What the client calls itself, once it has said so."""

    def failed(self, refused: Refused, log: Log, counters: Counters) -> None:
        counters.count("logins", "failed")
        log.event(
            "login failed", user=self.user, peer=self.peer.host, mechanism=self.mechanism, reason=str(refused)
        )  # fail2ban reads it: user and peer stay first

    def succeeded(self, account: AccountName, log: Log, counters: Counters, *, tls: bool) -> None:
        counters.count("logins", "accepted")
        log.event("login", user=self.user, peer=self.peer.host, mechanism=self.mechanism, tls=tls, account=account)


def begin(name: str, enabled: Collection[str], accounts: Accounts, connection: Connection) -> Exchange | None:
    """An exchange of this mechanism; None if it is not offered now."""
    among = mechanisms.offered(enabled, accounts, connection)
    return mechanisms.begin(name, among, connection, secrets.token_urlsafe(NONCE_OCTETS))


async def converse(
    exchange: Exchange, initial: bytes | None, ask: Ask, accounts: Accounts, connection: Connection, attempt: Attempt
) -> AccountName:
    """Carry challenges and responses to the end; the account that the client may use. `initial` is the
    initial response as it stands in the command. Raises: BadSyntax, Cancelled, Refused."""
    step = exchange.respond(None if initial is None else sasl.decode_initial_response(initial))
    while True:
        if isinstance(step, Challenge):
            step = exchange.respond(await _response(ask, step.data))
        elif isinstance(step, KeysWanted):
            attempt.user = step.user
            step = step.answer(await accounts.scram_keys(step.user, step.mechanism, attempt.peer))
        else:
            return await _settled(step, ask, accounts, connection, attempt)


async def password(credentials: Credentials, accounts: Accounts, attempt: Attempt) -> AccountName:
    """A user name and a password, however they came. Raises: Refused."""
    attempt.user = credentials.user
    if not credentials.acts_for_itself:
        raise Refused(Problem.BAD_CREDENTIALS, "acting for another user")
    return await accounts.log_in(credentials.user, credentials.password.reveal(), attempt.peer)


async def _settled(step: Step, ask: Ask, accounts: Accounts, connection: Connection, attempt: Attempt) -> AccountName:
    """Ask the accounts about what the exchange has come to."""
    if isinstance(step, Credentials):
        return await password(step, accounts, attempt)
    if isinstance(step, Proof):
        return await _proof(step, ask, accounts, attempt)
    if isinstance(step, Token):
        return await _token(step, ask, accounts, attempt)
    assert isinstance(step, sasl.CertificateHolder)
    attempt.user = step.authzid
    certificate = connection.client_certificate
    if certificate is None:
        raise Refused(Problem.BAD_CREDENTIALS, "no client certificate")
    return await accounts.log_in_by_certificate(certificate, step.authzid, attempt.peer)


async def _proof(proof: Proof, ask: Ask, accounts: Accounts, attempt: Attempt) -> AccountName:
    right = proof.right and sasl.acts_for_itself(proof.user, proof.authzid)
    account = await accounts.log_in_by_proof(proof.user, right, attempt.peer)
    await _response(ask, proof.verifier)
    return account


async def _token(step: Token, ask: Ask, accounts: Accounts, attempt: Attempt) -> AccountName:
    attempt.user = step.user
    try:
        return await accounts.log_in_by_token(step.user, step.token.reveal(), attempt.peer)
    except Refused as refused:
        if refused.problem in (Problem.BAD_CREDENTIALS, Problem.NOT_PERMITTED):
            # RFC 7628 §3.2.3: the client answers the error with something empty, and then hears of the outcome.
            error = bearer.refusal(refused.problem, accounts.token_hint(), http_status=step.http_status)
            with suppress(BadSyntax):  # whatever the client says, it has failed
                await ask(sasl.encode_base64(error))
        raise


async def _response(ask: Ask, challenge: bytes) -> bytes:
    line = await ask(sasl.encode_base64(challenge))
    if line == b"*":
        raise Cancelled
    return sasl.decode_base64(line)
