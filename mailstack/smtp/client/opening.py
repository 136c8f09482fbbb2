"""The beginning of a session: greeting, EHLO, STARTTLS, AUTH."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import NoReturn

from mailstack.auth import client as sasl
from mailstack.auth.sasl import decode_base64, encode_base64
from mailstack.errors import BadSyntax, SessionEnded
from mailstack.handover import HopFailed, TlsDemand, TlsFailed, Verdict
from mailstack.smtp.client import outcomes
from mailstack.smtp.client.dialogue import Dialogue
from mailstack.smtp.client.settings import GREETING_TIME, HELLO_TIME, ClientSettings
from mailstack.smtp.wire import client_commands as commands
from mailstack.smtp.wire.client_replies import BadReply, Reply
from mailstack.smtp.wire.offers import NO_OFFERS, Offers, offers

NONCE_OCTETS = 24
MAX_CHALLENGES = 4
"""Of one authentication; no mechanism here has more than two."""


class Opening:
    """Makes a connection ready for MAIL. Raises: HopFailed, from `run`; the connection is then of no use."""

    def __init__(self, dialogue: Dialogue, settings: ClientSettings, mta: str) -> None:
        self._dialogue = dialogue
        self._settings = settings
        self._mta = mta
        self._step = "before the greeting"
        self.polite = False
        """Whether the server still listens after a failure, so that one says QUIT (RFC 5321 §4.1.1.10)."""

    async def run(self, demand: TlsDemand | None) -> Offers:
        """What the server offers. `demand` None: no TLS, even if it is offered."""
        try:
            return await self._run(demand)
        except (SessionEnded, BadReply) as error:
            raise HopFailed(outcomes.of_failure(error, self._step, self._mta)) from error

    async def _run(self, demand: TlsDemand | None) -> Offers:
        settings, connection = self._settings, self._dialogue.connection
        if settings.implicit_tls:
            await self._handshake(demand or TlsDemand())
        greeting = await self._dialogue.reply(GREETING_TIME)
        if greeting.code != 220:
            self._refused(greeting)
        offered = await self._hello()
        if demand is not None and connection.tls is None:
            if "STARTTLS" in offered:
                await self._start_tls(demand)
                offered = await self._hello()
            elif demand.required:
                self.polite = True
                raise self._no_tls("TLS is demanded, and the server does not offer it", "starttls-not-supported")
        if settings.login is not None:
            await self._log_in(settings.login, offered)
        return offered

    async def _hello(self) -> Offers:
        lmtp, hostname = self._settings.lmtp, self._settings.hostname
        reply = await self._ask(commands.hello("LHLO" if lmtp else "EHLO", hostname), "LHLO" if lmtp else "EHLO")
        if reply.positive:
            return offers(reply.lines)
        if lmtp or reply.code < 500 or reply.code in (521, 556):
            self._refused(reply)
        reply = await self._ask(commands.hello("HELO", hostname), "HELO")  # RFC 5321 §3.2
        if not reply.positive:
            self._refused(reply)
        return NO_OFFERS

    async def _start_tls(self, demand: TlsDemand) -> None:
        reply = await self._ask(commands.STARTTLS, "STARTTLS")
        if reply.code != 220:
            if reply.code == 421:
                self._refused(reply)
            self.polite = True
            refused = outcomes.of_session(reply, self._mta)
            if refused.verdict is Verdict.LATER:
                refused = replace(refused, status="4.7.4")  # whatever else may be wrong, this is why nothing is sent
            raise HopFailed(refused, tls="starttls-not-supported")
        if not self._dialogue.quiet:
            # Whoever stands in between has put it there, to be taken for what the server says in TLS (RFC 3207 §6).
            raise self._no_tls("octets came in plain text after the reply to STARTTLS", "validation-failure")
        await self._handshake(demand)

    async def _handshake(self, demand: TlsDemand) -> None:
        connection = self._dialogue.connection
        self._step = "in the TLS handshake"
        connection.timeout = HELLO_TIME
        try:
            await connection.start_tls(demand)
        except TlsFailed as failed:
            raise self._no_tls(f"TLS failed: {failed}", failed.kind) from failed
        except SessionEnded as ended:
            raise HopFailed(outcomes.of_failure(ended, self._step, self._mta), tls="validation-failure") from ended
        self._step = "before the greeting"
        tls = connection.tls
        if tls is not None:
            verified = "verified" if connection.tls_verified else "not verified"
            self._dialogue.transcript.add(f"-- {tls.version} {tls.cipher}, {verified}")

    def _no_tls(self, text: str, kind: str) -> HopFailed:
        # X.7.5 cryptographic failure, X.7.4 security features not supported   ; RFC 3463 §3.8
        status = "4.7.4" if kind == "starttls-not-supported" else "4.7.5"
        self._dialogue.transcript.add(f"-- {text}")
        return HopFailed(outcomes.ours(Verdict.LATER, status, text, self._mta), tls=kind)

    # --- AUTH (RFC 4954)

    async def _log_in(self, login: sasl.LoginAs, offered: Offers) -> None:
        private = self._dialogue.connection.tls is not None or self._settings.plaintext_login
        nonce = secrets.token_urlsafe(NONCE_OCTETS)
        exchange = sasl.choose(offered.mechanisms, login, private=private, nonce=nonce)
        if exchange is None:
            names = " ".join(sorted(offered.mechanisms)) or "nothing"
            self._fail(f"no way to log in: the server offers {names}{'' if private else ', without TLS'}", "4.7.0")
        initial = exchange.initial()
        word = b"" if initial is None else b" " + (encode_base64(initial) or b"=")
        reply = await self._ask(b"AUTH %s%s\r\n" % (exchange.name.encode(), word), "AUTH", f"AUTH {exchange.name} ...")
        for _ in range(MAX_CHALLENGES):
            if reply.code != 334:
                break
            try:
                answer = encode_base64(exchange.respond(decode_base64("".join(reply.lines).strip().encode())))
            except BadSyntax as bad:
                self._dialogue.say(b"*\r\n")  # RFC 4954 §4
                await self._dialogue.reply(HELLO_TIME)
                self._fail(f"{exchange.name} failed: expected {bad}", "4.7.0")
            reply = await self._ask(answer + b"\r\n", "AUTH", "...")
        if not reply.positive:
            self._refused(reply)
        if not exchange.proved:
            self._fail("the server takes the login without the proof that it knows the password", "4.7.0")

    # --- one step

    async def _ask(self, command: bytes, name: str, shown: str = "") -> Reply:
        if not self._dialogue.quiet:
            raise BadReply(f"a reply before {name}")
        self._dialogue.say(command, shown)
        self._step = f"after {name}"
        return await self._dialogue.reply(HELLO_TIME)

    def _refused(self, reply: Reply) -> NoReturn:
        self.polite = reply.code not in (334, 421)  # it waits for a challenge's answer, or not at all
        raise HopFailed(outcomes.of_session(reply, self._mta))

    def _fail(self, text: str, status: str) -> NoReturn:
        self.polite = True
        raise HopFailed(outcomes.ours(Verdict.LATER, status, text, self._mta))
