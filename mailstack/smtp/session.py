"""One SMTP connection as its server sees it (RFC 5321, RFC 6409)."""

from __future__ import annotations

from dataclasses import dataclass

from mailstack.arrivals import Arrival
from mailstack.auth import mechanisms
from mailstack.errors import BadSyntax, ConnectionClosed, FramingLost, IdleTimeout, Refused, SessionEnded, ShuttingDown
from mailstack.journeys import Step
from mailstack.ports import Connection
from mailstack.smtp import replies
from mailstack.smtp.checks import by_stage
from mailstack.smtp.checks.frame import CONNECTION_STAGES, MAX_DELAY, Check, Delay, Mark, Stage
from mailstack.smtp.core import COMMANDS, sender_text
from mailstack.smtp.delivery import deliver, deliver_each, protocol
from mailstack.smtp.dialogue import Dialogue
from mailstack.smtp.ext import EXTENSIONS
from mailstack.smtp.facts import Facts
from mailstack.smtp.journeys import note
from mailstack.smtp.milter.milters import Milters
from mailstack.smtp.registry import Command, Extension, ParameterRule, State
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import Role, SmtpResources, SmtpSettings
from mailstack.smtp.transaction import Overrun, Recipient, Transaction, largest
from mailstack.smtp.wire.framing import Framer, TooLong

MAX_UNSENT = 64 * 1024
"""Octets of replies that are written before we make sure that the client reads them."""
MAX_VERB = 12
"""Octets of the longest verb worth counting or looking up."""
MISTAKES = frozenset({500, 501, 502, 503, 504, 555})
"""Reply codes that count towards SmtpSettings.max_errors: commands that make no sense."""
CLOSING = 421
"""The reply code that ends the connection, whoever says it (RFC 5321 §3.8)."""
HTTP_VERBS = frozenset({b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"DELETE", b"PATCH"})
"""What a browser says that somebody sent here to speak SMTP for him."""
MAX_LOGGED = 10
"""Recipients in one line of the log."""


@dataclass(frozen=True, slots=True)
class Table:
    """All commands and parameters, those of the extensions included."""

    extensions: tuple[Extension, ...]
    commands: dict[bytes, Command]
    mail_parameters: dict[str, ParameterRule]
    rcpt_parameters: dict[str, ParameterRule]


def _table(role: Role) -> Table:
    extensions = tuple(extension for extension in EXTENSIONS if role in extension.roles)
    commands = [*COMMANDS, *(row for extension in extensions for row in extension.commands)]
    return Table(
        extensions,
        {row.verb.encode(): row for row in commands if role in row.roles},
        {name: rule for extension in extensions for name, rule in extension.mail_parameters},
        {name: rule for extension in extensions for name, rule in extension.rcpt_parameters},
    )


TABLES = {role: _table(role) for role in Role}
CHECKS_BY_ROLE = {role: by_stage(role) for role in Role}


class SmtpSession:
    """Serves one connection until it is to be closed. Commands reach what they need through it."""

    __slots__ = (
        "_checks",
        "_mistakes",
        "_transactions",
        "_unsent",
        "connection",
        "dialogue",
        "facts",
        "framer",
        "log",
        "login_failures",
        "resources",
        "settings",
        "state",
        "table",
        "transaction",
    )

    def __init__(self, connection: Connection, resources: SmtpResources, settings: SmtpSettings) -> None:
        self.connection = connection
        self.resources = resources
        self.settings = settings
        self.log = resources.log.bind(conn=connection.id)
        self.table = TABLES[settings.role]
        self.framer = Framer()
        self.state = State.CONNECTED
        self.facts = Facts(settings, connection.peer, connection.peer, connection.tls is not None)
        if settings.milters:
            self.facts.milters = Milters(connection, self.facts, resources, self.table.rcpt_parameters, self.log)
        self.transaction: Transaction | None = None
        self.dialogue = Dialogue() if resources.dialogues else None
        self.login_failures = 0
        self._checks: dict[Stage, tuple[Check, ...]] = CHECKS_BY_ROLE[settings.role]
        if resources.more_checks is not None:
            self._checks = by_stage(settings.role, resources.more_checks(connection))
        self._transactions = 0
        self._mistakes = 0
        self._unsent = 0

    async def run(self) -> None:
        """Greet, and answer commands until the connection is to be closed."""
        self.connection.timeout = self.settings.command_timeout
        try:
            await self._greet()
            while self.state is not State.ENDED:
                await self._answer(await self.line())
        except ShuttingDown:
            self.say(replies.SHUTTING_DOWN)
        except IdleTimeout:
            self.say(replies.TIMEOUT)
        except Overrun:
            self.say(replies.OVERRUN)
        except FramingLost as lost:
            self.say(replies.framing_lost(str(lost)))
        except ConnectionClosed:
            return
        finally:
            self.drop_transaction()
            if self.facts.milters is not None:
                self.facts.milters.close()

    # --- the wire

    def say(self, reply: Reply) -> None:
        """Write a reply; it leaves with the others when we wait for the client."""
        self.connection.write(reply.octets)
        self._unsent += len(reply.octets)
        if self.dialogue is not None:
            self.dialogue.server(reply.octets)

    async def line(self) -> bytes | TooLong:
        """The next line of the client, which has to be whole within the timeout after it began (RFC 5321
        §4.5.3.2.7): octet by octet, a command could take for ever. Raises: SessionEnded, FramingLost."""
        begun = 0.0
        while (line := self.framer.next_line()) is None:
            if not self.framer.is_empty:
                now = self.resources.clock.now()
                begun = begun or now
                left = begun + self.settings.command_timeout - now
                if left <= 0:
                    raise IdleTimeout
                self.connection.timeout = left
            await self._receive()
        if begun:
            self.connection.timeout = self.settings.command_timeout
        return line

    async def _receive(self) -> None:
        if self._unsent > MAX_UNSENT:
            await self.connection.drain()
        self._unsent = 0
        if self.transaction is not None:
            self._hurry(self.transaction)
        self.framer.feed(await self.connection.receive(in_flight=self.transaction is not None))

    def _hurry(self, transaction: Transaction) -> None:
        """Wait no longer than for the end of the transaction's time: a command now and then, or an octet of mail data,
        could hold it for ever. Raises: IdleTimeout."""
        left = transaction.deadline - self.resources.clock.now()
        if left <= 0:
            self.log.event("mail too slow", id=transaction.id, peer=self.facts.peer.host, size=self.facts.size)
            raise IdleTimeout
        if left < self.connection.timeout:
            self.connection.timeout = left

    async def read_message(self) -> None:
        """Read mail data as of DATA or one BDAT to its end, into the transaction if there is one.
        Raises: Overrun, SessionEnded."""
        self.connection.timeout = self.settings.data_timeout
        limit, came = largest(self.settings.max_size), self.facts.size
        while True:
            chunk = self.framer.next_data()
            if chunk is None:
                await self._receive()
                continue
            if self.transaction is not None:
                await self.transaction.take(chunk.data)
            came += len(chunk.data)
            if chunk.last:
                break
            if came > limit:
                raise Overrun("mail data without end")
        self.connection.timeout = self.settings.command_timeout

    # --- commands

    async def _greet(self) -> None:
        refusal = await self.opinion(Stage.CONNECT)
        if refusal is None:
            self.facts.talked_first = self.connection.has_input
            refusal = await self.opinion(Stage.GREETING)
        if refusal is not None:
            self.state = State.ENDED
        self.say(refusal or replies.greeting(self.settings.hostname, lmtp=self.settings.role is Role.LMTP))

    async def _answer(self, line: bytes | TooLong) -> None:
        reply = replies.LINE_TOO_LONG if isinstance(line, TooLong) else await self._command(line)
        if reply is not None:
            if reply.code >= 500:
                self.facts.errors += 1
                await self.opinion(Stage.ERROR)
            self.say(reply)
            if reply.code == CLOSING:
                self.state = State.ENDED
            if reply.code in MISTAKES:
                self._mistaken()

    async def _command(self, line: bytes) -> Reply | None:
        if self.dialogue is not None:
            self.dialogue.client(line)
        verb, _, argument = line.partition(b" ")
        row = self.table.commands.get(verb.upper()) if len(verb) <= MAX_VERB else None
        if row is None:
            return self._unknown(verb)
        self.resources.counters.count("smtp_commands", row.verb)
        if self.state not in row.states:
            return self.out_of_order(row.verb)
        try:
            return await row.run(self, row.parse(argument))
        except BadSyntax as bad:
            return replies.bad_syntax(bad.expected)
        except Refused as refused:
            self.log.warning("refused", command=row.verb, problem=refused.problem.value, detail=refused.detail)
            return replies.for_problem(refused.problem)
        except (SessionEnded, FramingLost):
            raise
        except Exception:
            self.log.failure("command failed", command=row.verb)
            self.resources.counters.count("internal_errors", "smtp")
            return replies.SERVER_BUG

    def _unknown(self, verb: bytes) -> Reply:
        self.resources.counters.count("smtp_commands", "unknown")
        if verb.upper() in HTTP_VERBS:
            self.state = State.ENDED
            return replies.NOT_SMTP
        return replies.UNKNOWN_COMMAND

    def out_of_order(self, verb: str) -> Reply:
        """The reply to a command that this state has no place for (RFC 5321 §4.1.4)."""
        lmtp = self.settings.role is Role.LMTP
        if self.state is State.CONNECTED:
            return replies.SAY_LHLO if lmtp else replies.SAY_EHLO
        if self.state is State.READY:
            return replies.NEED_MAIL
        if self.state is State.BDAT:
            return replies.BDAT_OPEN
        if verb == "MAIL":
            return replies.NESTED_MAIL
        if self.state is State.RCPT or verb not in ("DATA", "BDAT", "BURL"):
            return replies.IN_TRANSACTION
        # RFC 2033 §4.2 wants 503 of LMTP.
        return replies.NO_VALID_RECIPIENTS if self.current.refused and not lmtp else replies.NEED_RCPT

    def _mistaken(self) -> None:
        self._mistakes += 1
        if self._mistakes >= self.settings.max_errors and self.state is not State.ENDED:
            self.log.event("too many errors", peer=self.facts.peer.host)
            self.state = State.ENDED
            self.say(replies.TOO_MANY_ERRORS)

    def keywords(self) -> list[str]:
        """What the reply to EHLO offers now."""
        if self.settings.auth_offered:
            among = mechanisms.offered(self.settings.mechanisms, self.resources.accounts, self.connection)
            self.facts.mechanisms = tuple(mechanism.name for mechanism in among)
        return [line for extension in self.table.extensions if (line := extension.keyword(self.facts))]

    async def opinion(self, stage: Stage) -> Reply | None:
        """What the checks of this stage say: the first refusal, or None. The client has waited already
        if it has to, and what they noticed is in the facts."""
        delay = 0.0
        refusal: Reply | None = None
        for check in self._checks[stage]:
            opinion = await check.ask(self.facts, self.resources)
            if opinion is None:
                continue
            if isinstance(opinion, Reply):
                self.resources.counters.count("smtp_refusals", check.name)
                refusal = opinion
                break
            if isinstance(opinion, Delay):
                delay += opinion.seconds
            elif isinstance(opinion, Mark):
                marks = self._marks(stage)
                if opinion not in marks:
                    marks.append(opinion)
        if delay:
            await self.connection.drain()  # what was said before need not wait, and nobody may be there any more
            await self.resources.clock.sleep(min(delay, MAX_DELAY))
        return refusal

    def _marks(self, stage: Stage) -> list[Mark]:
        if stage in CONNECTION_STAGES:
            return self.facts.connection_marks
        return self.facts.helo_marks if stage is Stage.HELO else self.facts.message_marks

    # --- transactions

    @property
    def current(self) -> Transaction:
        """The transaction, in a state that has one."""
        assert self.transaction is not None, self.state
        return self.transaction

    @property
    def next_id(self) -> str:
        """How the next transaction will be called."""
        return f"{self.connection.id}.{self._transactions + 1}"

    def begin_transaction(self) -> None:
        """After MAIL."""
        deadline = self.resources.clock.now() + self.settings.message_time
        self.transaction = Transaction(self.next_id, deadline, self.facts, self.log)
        self._transactions += 1
        self.state = State.MAIL
        if self.dialogue is not None:
            self.dialogue.begin()

    def drop_transaction(self) -> None:
        """End the transaction, if there is one; what was not delivered is forgotten."""
        if self.transaction is not None:
            self.transaction.discard()
            self.transaction = None
            self.connection.timeout = self.settings.command_timeout
            self.facts.forget_message()
            self.facts.forwarded.clear()
            if self.facts.milters is not None:
                self.facts.milters.forget_message()
            if self.state is not State.ENDED:
                self.state = State.READY

    async def end_of_data(self, *, whole: bool = True) -> Reply:
        """The message is complete: deliver it, or say why not. The transaction is over. In LMTP the replies
        of all recipients but the last one are said already, if the message is `whole`: to what is no end there
        is one reply.
        Raises: Refused."""
        transaction, facts = self.current, self.facts
        await transaction.end()
        facts.received_fields = transaction.tap.count(b"received")
        facts.delivered_already = transaction.was_delivered()
        facts.bare_newline = self.framer.bare_newline
        asked = list(transaction.recipients)
        if self.dialogue is not None:
            transaction.arrival = self._arrival(transaction, self.dialogue)
        try:
            reply = transaction.trouble or await self.opinion(Stage.END_OF_DATA)
            if reply is None and facts.milters is not None:
                reply = await self._filtered(transaction, facts.milters)
            if self.settings.role is Role.LMTP and whole:
                return await self._for_each(transaction, asked, reply)
            if reply is None:
                reply = await deliver(transaction, facts, self.connection.tls, self.resources)
            self._log_message(transaction, reply)
            return reply
        except Exception:
            self.resources.counters.count("smtp_messages", "failed")
            raise
        finally:
            self.drop_transaction()

    def _arrival(self, transaction: Transaction, dialogue: Dialogue) -> Arrival:
        facts, tls = self.facts, self.connection.tls
        dialogue.data(facts.size)
        return Arrival(
            id=transaction.id,
            at=self.resources.clock.now(),
            sender=str(facts.sender or ""),
            recipients=tuple([str(recipient.address) for recipient in transaction.recipients]),
            helo=facts.helo,
            peer=facts.peer,
            protocol=protocol(facts, tls),
            tls=tls,
            login=facts.login,
            dialogue=dialogue.lines,
        )

    async def _filtered(self, transaction: Transaction, milters: Milters) -> Reply | None:
        """What milters say of the message: a refusal, or that it is taken although it goes nowhere, or None."""
        refusal = await milters.filter(transaction)
        if refusal is not None:
            self.resources.counters.count("smtp_refusals", "milters")
        elif milters.discarding:
            self.log.event("mail discarded", id=transaction.id)
            return replies.accepted(transaction.id)
        return refusal

    async def _for_each(self, transaction: Transaction, asked: list[Recipient], decided: Reply | None) -> Reply:
        """The replies for each recipient that was accepted (RFC 2033 §4.2), of which the last is returned."""
        replied = [decided] * len(asked) if decided else await self._delivered(transaction, asked)
        for reply in replied[:-1]:
            self.say(reply)
        self._log_message(transaction, next((reply for reply in replied if reply.is_positive), replied[-1]))
        return replied[-1]

    async def _delivered(self, transaction: Transaction, asked: list[Recipient]) -> list[Reply]:
        """The client counts the replies, so there is one for each recipient whatever happens, also for those that
        a milter has removed."""
        try:
            made = await deliver_each(transaction, self.facts, self.connection.tls, self.resources)
            replied = {each.address: reply for each, reply in zip(transaction.recipients, made, strict=True)}
            return [replied.get(each.address) or replies.accepted(transaction.id) for each in asked]
        except Refused as refused:
            self.log.warning("refused", id=transaction.id, problem=refused.problem.value, detail=refused.detail)
            reply = replies.for_problem(refused.problem)
        except Exception:
            self.log.failure("delivery failed", id=transaction.id)
            self.resources.counters.count("internal_errors", "smtp")
            reply = replies.SERVER_BUG
        return [reply] * len(asked)

    def _log_message(self, transaction: Transaction, reply: Reply) -> None:
        recipients = transaction.recipients
        to = ",".join([str(recipient.address) for recipient in recipients[:MAX_LOGGED]])
        if len(recipients) > MAX_LOGGED:
            to += f",... ({len(recipients)})"
        self.resources.counters.count("smtp_messages", "accepted" if reply.is_positive else "refused")
        if not reply.is_positive:
            addresses = [recipient.address for recipient in recipients]
            note(Step.REFUSED, addresses, transaction, self.facts, self.resources, self.facts.peer.host, str(reply))
        self.log.event(
            "mail accepted" if reply.is_positive else "mail refused",
            id=transaction.id,
            sender=sender_text(self.facts.sender),
            to=to,
            size=self.facts.size,
            peer=self.facts.peer.host,
            login=self.facts.login,
            reply=None if reply.is_positive else str(reply),
            **({"priority": self.facts.parameters.priority} if self.facts.parameters.priority else {}),
            **{f"forwarded_{name.lower()}": value for name, value in self.facts.forwarded.items()},
        )
