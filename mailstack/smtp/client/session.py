"""A session with another server, by SMTP or LMTP (RFC 5321, RFC 2033): opened once, then one message after another."""

from __future__ import annotations

from collections.abc import Sequence

from mailstack.errors import SessionEnded
from mailstack.handover import Content, HopConnection, HopFailed, Outcome, TlsDemand, Transcript, Verdict
from mailstack.ports import Envelope
from mailstack.smtp.client import outcomes, plan
from mailstack.smtp.client.dialogue import Dialogue
from mailstack.smtp.client.opening import Opening
from mailstack.smtp.client.plan import Server
from mailstack.smtp.client.settings import QUIT_TIME, ClientSettings
from mailstack.smtp.client.transaction import Manner, Transaction
from mailstack.smtp.wire import client_commands as commands
from mailstack.smtp.wire.client_replies import BadReply
from mailstack.smtp.wire.offers import NO_OFFERS, Offers
from mailstack.surroundings import Clock


class ClientSession:
    """Owns the connection: `quit` or `abort` ends it, and so does everything after which it is of no use.

        session = ClientSession(connection, settings, clock)
        await session.open(demand)
        while session.usable and there is a message:
            outcomes = await session.send(envelope, numbers, content)
        await session.quit()

    `transcript` is that of the attempt under way: give it a new one before each message."""

    def __init__(
        self, connection: HopConnection, settings: ClientSettings, clock: Clock, transcript: Transcript | None = None
    ) -> None:
        self.connection = connection
        self.offers: Offers = NO_OFFERS
        self.mta = connection.host or connection.address
        """How outcomes name the server."""
        self.messages = 0
        """Transactions so far."""
        self._settings = settings
        self._dialogue = Dialogue(connection, clock, transcript or Transcript())
        self._open = False
        self._reset = False
        self._taken = False

    @property
    def transcript(self) -> Transcript:
        return self._dialogue.transcript

    @transcript.setter
    def transcript(self, transcript: Transcript) -> None:
        self._dialogue.transcript = transcript

    @property
    def usable(self) -> bool:
        """Whether another message can be sent, as far as is known. A server that closes meanwhile makes `send`
        raise HopFailed with `stale`."""
        most = self.offers.limit("MAILMAX")  # RFC 9422 §4.1
        return self._open and not (most and self.messages >= most)

    async def open(self, demand: TlsDemand | None) -> None:
        """Greeting, EHLO, TLS, AUTH. `demand` None: never TLS; else it is begun where it is offered, and must be if
        required. Where TLS fails that is not required, whoever calls may try again without, on a new connection.
        Raises: HopFailed; the connection is then closed."""
        where = self.connection.address
        self.transcript.add(f"-- connected to {where if self.mta == where else f'{self.mta}, {where}'}")
        opening = Opening(self._dialogue, self._settings, self.mta)
        try:
            self.offers = await opening.run(demand)
        except BaseException:
            if opening.polite:
                self._dialogue.say(commands.QUIT)
                self.connection.close()
            else:
                self.connection.abort()
            raise
        self._open = True

    async def send(self, envelope: Envelope, numbers: Sequence[int], content: Content) -> dict[int, Outcome]:
        """Hand the message over for these of the envelope's recipients (numbers from 0). The result has an outcome
        for at least one of them. Those that are not in it were not handed over, because the server wants fewer in
        one transaction: send for them again, on the same connection if it is still `usable`.

        Raises: HopFailed with `stale`: the connection has ended since the last message, and nothing was handed
        over."""
        if not self.usable or not self._dialogue.quiet:
            self.abort()
            text = "the server has ended the session, or will not take another message"
            raise HopFailed(outcomes.ours(Verdict.LATER, "4.4.2", text, self.mta), stale=True)
        server = Server(self.mta, self.offers, self.connection.tls_verified, self._settings.login is not None)
        now = self._dialogue.clock.now()
        try:
            fitting = await plan.fit(envelope, content, server, self._settings.downconvert, now)
        except OSError as error:
            text = f"the message cannot be read: {error.strerror or error}"
            return dict.fromkeys(numbers, outcomes.ours(Verdict.LATER, "4.3.0", text, self.mta))
        if isinstance(fitting, Outcome):
            return dict.fromkeys(numbers, fitting)
        content, envelope = fitting
        planned = plan.make(envelope, numbers, content.size, server, now)
        if not planned.numbers:
            return planned.outcomes
        transaction = Transaction(self._dialogue, planned, content, self._manner(content.size))
        try:
            return await transaction.run()
        finally:
            self.messages += 1
            self._reset, self._taken = transaction.reset, transaction.taken
            if transaction.over:
                self._open = False

    def _manner(self, size: int) -> Manner:
        settings, offers = self._settings, self.offers
        return Manner(
            self.mta,
            pipelining=settings.pipelining and "PIPELINING" in offers,
            chunking=size >= settings.chunking_from and "CHUNKING" in offers and not settings.lmtp,
            lmtp=settings.lmtp,
            reports="DSN" in offers,
            reset=self._reset,
            reused=self.messages > 0,
            taken=self._taken,
        )

    async def quit(self) -> None:
        """QUIT, and close. Never raises."""
        if self._open:
            self._open = False
            self._dialogue.say(commands.QUIT)
            try:
                await self._dialogue.reply(QUIT_TIME)
            except (SessionEnded, BadReply):
                self.connection.abort()
                return
        self.connection.close()

    def abort(self) -> None:
        """Cut the connection now."""
        self._open = False
        self.connection.abort()
