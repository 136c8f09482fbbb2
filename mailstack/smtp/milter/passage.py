"""One message on its way past one milter: it is shown, and then what the milter wants done with it is done."""

from __future__ import annotations

from mailstack.smtp.facts import Facts
from mailstack.smtp.milter import macros
from mailstack.smtp.milter.conversation import Conversation, Judgement
from mailstack.smtp.milter.envelope import Envelope
from mailstack.smtp.milter.message import Message, NewBody, shown
from mailstack.smtp.milter.stream import Broken
from mailstack.smtp.settings import SmtpResources
from mailstack.smtp.wire.milter import (
    AddField,
    AddRecipient,
    ChangeField,
    ChangeSender,
    DeleteRecipient,
    InsertField,
    Manner,
    Modification,
    Quarantine,
    ReplaceBody,
    Said,
    Step,
    Verdict,
)

MAX_WANTED = 128 * 1024
"""Octets of the changes that a milter wants made to one message, but for its body."""
COST_OF_ONE = 64
"""Octets that each counts for, however short it is."""


class Passage:
    """Changes are made only when the milter has said its last word, and that is not a refusal."""

    __slots__ = ("_body", "_conversation", "_envelope", "_facts", "_message", "_resources", "_wanted")

    def __init__(
        self, conversation: Conversation, message: Message, envelope: Envelope, facts: Facts, resources: SmtpResources
    ) -> None:
        self._conversation = conversation
        self._message = message
        self._envelope = envelope
        self._facts = facts
        self._resources = resources
        self._wanted: list[Modification] = []
        self._body: NewBody | None = None

    async def run(self) -> Judgement:
        """Raises: Broken, Refused."""
        judgement = await self._show()
        if judgement is not Verdict.CONTINUE:
            return judgement
        try:
            judgement = await self._hear()
            if judgement in (Verdict.CONTINUE, Verdict.ACCEPT):
                await self._change()
            return judgement
        finally:
            if self._body is not None:
                self._body.discard()

    async def _show(self) -> Judgement:
        """Header and body, as far as the milter wants them, until it has decided."""
        tell, leading_space = self._conversation.tell, self._leading_space
        for field in self._message.fields if self._conversation.wants(Step.FIELD) else ():
            if field.name:
                judgement = await tell(Step.FIELD, shown(field, leading_space=leading_space))
                if judgement is not Verdict.CONTINUE:
                    return judgement
        judgement = await tell(Step.END_OF_HEADER, b"", macros.of_message(self._facts))
        if judgement is not Verdict.CONTINUE or not self._conversation.wants(Step.BODY):
            return judgement
        async for piece in self._message.body():
            judgement = await tell(Step.BODY, piece)
            if judgement is not Verdict.CONTINUE or not self._conversation.wants(Step.BODY):
                return judgement
        return Verdict.CONTINUE

    async def _hear(self) -> Judgement:
        """What it wants done, and its last word."""
        octets = 0
        async for answer in self._conversation.end_of_message(macros.of_message(self._facts)):
            if isinstance(answer, Verdict | Said):
                return answer
            if isinstance(answer, ReplaceBody):
                if self._body is None:
                    self._body = NewBody(self._resources.spool.sink(), self._facts.settings.max_size)
                await self._body.take(answer.data)
                continue
            octets += _cost(answer)
            if octets > MAX_WANTED:
                raise Broken("it wants more changes than can be made")
            self._wanted.append(answer)
        raise AssertionError("a conversation ends with a judgement")

    async def _change(self) -> None:
        """Raises: Refused; then the message is not taken at all."""
        if self._body is not None:
            self._message.replace_body(await self._body.finish())
            if not self._body.is_ascii:
                self._facts.body_8bit = True
        for wanted in self._wanted:
            match wanted:
                case AddField() | InsertField() | ChangeField():
                    self._message.change(wanted, leading_space=self._leading_space)
                case AddRecipient() | DeleteRecipient() | ChangeSender() | Quarantine():
                    await self._envelope.change(wanted)

    @property
    def _leading_space(self) -> bool:
        return bool(self._conversation.options.manners & Manner.LEADING_SPACE)


def _cost(wanted: Modification) -> int:
    match wanted:
        case AddField() | InsertField() | ChangeField():
            return COST_OF_ONE + len(wanted.name) + len(wanted.value)
        case AddRecipient() | ChangeSender():
            return COST_OF_ONE + len(wanted.path) + len(wanted.parameters)
        case DeleteRecipient():
            return COST_OF_ONE + len(wanted.path)
        case Quarantine():
            return COST_OF_ONE + len(wanted.reason)
        case ReplaceBody():
            return 0
