"""All milters of one session, in their order: what they are told at each stage, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping

from mailstack.config.policy import Milter, OnError
from mailstack.mail.address import Address
from mailstack.ports import Connection, Log
from mailstack.smtp.checks.frame import Stage
from mailstack.smtp.delivery import missing_fields
from mailstack.smtp.facts import Facts
from mailstack.smtp.milter import macros
from mailstack.smtp.milter.conversation import Conversation, Judgement
from mailstack.smtp.milter.envelope import Envelope, put_aside
from mailstack.smtp.milter.message import HEADER_TOO_LARGE, Message
from mailstack.smtp.milter.passage import Passage
from mailstack.smtp.milter.stream import Broken, Closed
from mailstack.smtp.registry import ParameterRule
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import Role, SmtpResources
from mailstack.smtp.transaction import Transaction
from mailstack.smtp.wire.milter import Action, Said, Step, Verdict, client, strings
from mailstack.smtp.wire.values import Parameter

RETRY_AFTER = 60.0
"""Seconds after which a milter that was broken is tried once more, before another message of the same connection."""
REJECTED = Reply(550, "5.7.1", "Command rejected")
REJECTED_AT_ONCE = Reply(554, "5.7.1", "No mail from you is taken here")
LATER = Reply(451, "4.7.1", "Service unavailable; try again later")
LATER_AT_ONCE = Reply(421, "4.7.1", "Service unavailable; try again later")
SHUT_DOWN = Reply(421, "4.7.0", "Service shut down; closing connection")
_OF_MESSAGE = (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.END_OF_DATA)


class Attached:
    """One milter, and how far it is with this session."""

    __slots__ = (
        "accepted", "accepted_message", "broken_at", "conversation", "failure", "in_message", "milter", "turned_away",
    )  # fmt: skip

    def __init__(self, milter: Milter) -> None:
        self.milter = milter
        self.conversation: Conversation | None = None
        self.accepted = self.accepted_message = False
        """It wants to hear no more of the connection, of the message."""
        self.in_message = False
        self.broken_at = 0.0
        self.failure: Reply | None = None
        """What is said of messages instead of its opinion, because it is broken."""
        self.turned_away: Reply | None = None
        """What it said of the client's name: no message of such a client is taken, until it says another."""

    @property
    def listens(self) -> bool:
        """Whether it wants to hear of the message that is under way."""
        return self.conversation is not None and not self.accepted and not self.accepted_message

    def forget_message(self) -> None:
        """It will not come to its end."""
        if self.in_message and self.conversation is not None:
            self.conversation.abort()
        self.in_message = self.accepted_message = False

    def close(self, *, orderly: bool = True) -> None:
        """No connection to it."""
        conversation, self.conversation = self.conversation, None
        if conversation is not None:
            conversation.close(orderly=orderly)


class Milters:
    """`rules` are those for the parameters of recipients that milters add."""

    def __init__(
        self,
        connection: Connection,
        facts: Facts,
        resources: SmtpResources,
        rules: Mapping[str, ParameterRule],
        log: Log,
    ) -> None:
        self._connection = connection
        self._facts = facts
        self._resources = resources
        self._rules = rules
        self._log = log
        self._attached = [Attached(milter) for milter in facts.settings.milters]
        self.discarding = False
        """The message is to be taken and thrown away."""

    async def opinion(self, stage: Stage) -> Reply | None:
        """The first refusal of one of them, or None. Raises: Refused, ConnectionClosed."""
        if stage in _OF_MESSAGE:
            await self._connection.drain()  # what was said before need not wait for what they say
        for each in self._attached:
            refusal = None if self.discarding else await self._guarded(each, stage)
            if refusal is not None:
                if stage is Stage.MAIL:
                    self.forget_message()
                return refusal
        return None

    async def filter(self, transaction: Transaction) -> Reply | None:
        """Show them a message whose mail data is complete, and do what they want done with it. A refusal, or None.
        Raises: Refused."""
        if self.discarding or not any(each.listens for each in self._attached):
            return None
        lacking = missing_fields(transaction, self._facts, self._resources.clock.now())
        message = await Message.of(transaction, self._resources.spool, lacking)
        if message is None:
            return HEADER_TOO_LARGE
        envelope = Envelope(transaction, self._facts, self._resources, self._rules, self._log)
        for each in self._attached:
            if each.conversation is not None and each.listens:
                passage = Passage(each.conversation, message, envelope, self._facts, self._resources)
                refusal = await self._guarded(each, Stage.END_OF_DATA, passage)
                if refusal is not None or self.discarding:
                    return refusal
        message.finish()
        return put_aside(transaction, self._facts)

    def forget_message(self) -> None:
        """A transaction is over, one way or the other."""
        self.discarding = False
        for each in self._attached:
            each.forget_message()

    def close(self) -> None:
        """The session is over."""
        for each in self._attached:
            each.close()

    # --- inside

    async def _guarded(self, each: Attached, stage: Stage, passage: Passage | None = None) -> Reply | None:
        """Ask one of them; what breaks is its failure, and what that means for mail is configured."""
        if stage is Stage.MAIL and each.turned_away is not None:
            return each.turned_away
        try:
            judgement = await (self._at(each, stage) if passage is None else passage.run())
            if stage is Stage.END_OF_DATA:
                each.in_message = False
            reply = self._reply(each, judgement, stage)
            if stage is Stage.HELO:
                each.turned_away = reply
            return reply
        except Broken as broken:
            self._failed(each, str(broken))
            return _said_at(each.failure, stage)

    def _failed(self, each: Attached, reason: str) -> None:
        self._log.warning("milter failed", milter=each.milter.name, reason=reason)
        self._resources.counters.count("milter_failures", each.milter.name)
        each.close(orderly=False)
        each.broken_at = self._resources.clock.now()
        each.failure = {OnError.ACCEPT: None, OnError.TEMPFAIL: LATER, OnError.REJECT: REJECTED}[each.milter.on_error]

    async def _at(self, each: Attached, stage: Stage) -> Judgement:
        if stage is Stage.CONNECT:
            each.accepted = False
            return await self._connected(each)
        if stage is Stage.MAIL:
            return await self._begun(each)
        facts = self._facts
        if each.conversation is None or each.accepted or each.accepted_message:
            return Verdict.CONTINUE
        if stage is Stage.HELO:
            return await self._greeted(each.conversation)
        if stage is Stage.RCPT:
            assert facts.recipient is not None, "the stage of a recipient"
            data = _path(facts.recipient, facts.arguments)
            return await each.conversation.tell(Step.RCPT, data, macros.of_recipient(facts, facts.recipient))
        return await each.conversation.tell(Step.DATA, b"", macros.of_message(facts))

    async def _begun(self, each: Attached) -> Judgement:
        """A message begins. A milter may have closed a connection on which there was nothing to say for long."""
        if each.conversation is None:
            retried = self._resources.clock.now() >= each.broken_at + RETRY_AFTER
            return await self._begun_anew(each) if retried else Verdict.CONTINUE
        if each.accepted:
            return Verdict.CONTINUE
        try:
            return await self._mail(each, each.conversation)
        except Closed:
            each.close(orderly=False)
            return await self._begun_anew(each)

    async def _begun_anew(self, each: Attached) -> Judgement:
        judgement = await self._connected(each)
        assert each.conversation is not None, "a milter that was reached"
        if judgement is Verdict.CONTINUE:
            judgement = await self._greeted(each.conversation)
        if judgement is Verdict.CONTINUE:
            return await self._mail(each, each.conversation)
        each.turned_away = self._reply(each, judgement, Stage.HELO)  # or it is accepted
        return Verdict.CONTINUE if each.accepted else judgement

    async def _mail(self, each: Attached, conversation: Conversation) -> Judgement:
        each.in_message = True
        data = _path(self._facts.sender, self._facts.arguments)
        return await conversation.tell(Step.MAIL, data, macros.of_sender(self._facts))

    async def _connected(self, each: Attached) -> Judgement:
        """Begin with the connection, or anew with that of another client (XCLIENT)."""
        facts, resources = self._facts, self._resources
        each.failure = None
        if each.conversation is not None and not each.conversation.begin_anew():
            each.close()
        if each.conversation is None:
            assert resources.dial is not None, "milters without a way to reach them"
            withheld = Action.ADD_RECIPIENTS | Action.ADD_RECIPIENTS_WITH_PARAMETERS
            each.conversation = await Conversation.begin(
                each.milter, resources.dial, resources.clock, withheld if self._is_lmtp else Action(0)
            )
        data = client(macros.client_name(facts), facts.peer.host, facts.peer.port)
        return await each.conversation.tell(Step.CONNECT, data, macros.of_connection(facts))

    async def _greeted(self, conversation: Conversation) -> Judgement:
        return await conversation.tell(Step.HELO, strings(self._facts.helo), macros.of_greeting(self._connection.tls))

    @property
    def _is_lmtp(self) -> bool:
        # Its client counts one reply for each recipient that it named (RFC 2033 §4.2).
        return self._facts.settings.role is Role.LMTP

    def _reply(self, each: Attached, judgement: Judgement, stage: Stage) -> Reply | None:
        """What a milter's judgement means at a stage. Raises: Broken."""
        if each.conversation is None and each.failure is not None:
            return each.failure if stage is not Stage.HELO else None
        if judgement is Verdict.CONTINUE:
            return None
        if judgement is Verdict.ACCEPT:
            if stage in _OF_MESSAGE:
                each.accepted_message, each.in_message = True, False
            else:
                each.accepted = True
            return None
        if judgement is Verdict.DISCARD and stage in _OF_MESSAGE:
            self.discarding, each.in_message = True, False
            return None
        if stage is not Stage.RCPT:
            each.in_message = False
        if isinstance(judgement, Said):
            return Reply(judgement.code, judgement.enhanced or f"{judgement.code // 100}.7.1", *judgement.lines)
        refusals = {Verdict.REJECT: REJECTED, Verdict.TEMPFAIL: LATER, Verdict.SHUTDOWN: SHUT_DOWN}
        if judgement not in refusals:
            raise Broken(f"{judgement.name} has no place here")
        return _said_at(refusals[judgement], stage)


def _path(address: Address | None, arguments: tuple[Parameter, ...]) -> bytes:
    """The data of MAIL and RCPT: the address in its brackets, and each parameter as the client said it."""
    said = (each.keyword if each.value is None else f"{each.keyword}={each.value}" for each in arguments)
    return strings("<>" if address is None else f"<{address}>", *said)


def _said_at(reply: Reply | None, stage: Stage) -> Reply | None:
    """Instead of the greeting a server says 554 or 421 (RFC 5321 §3.1, §4.3.2)."""
    if stage is not Stage.CONNECT or reply is None:
        return reply
    return {REJECTED: REJECTED_AT_ONCE, LATER: LATER_AT_ONCE}.get(reply, reply)
