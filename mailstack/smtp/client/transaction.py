"""One message to one server: MAIL, RCPT, DATA or BDAT, and what becomes of each recipient (RFC 5321 §3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailstack.errors import SessionEnded
from mailstack.handover import Content, HopFailed, Outcome, Verdict
from mailstack.smtp.client import outcomes
from mailstack.smtp.client.dialogue import Dialogue
from mailstack.smtp.client.plan import Plan
from mailstack.smtp.client.settings import (
    BLOCK_TIME,
    DATA_TIME,
    END_OF_DATA_TIME,
    HELLO_TIME,
    MAIL_TIME,
    RCPT_TIME,
)
from mailstack.smtp.wire import client_commands as commands
from mailstack.smtp.wire.client_replies import BadReply, Reply

PIECE = 128 * 1024
"""Octets of a message that are read and sent at once."""
_SESSION_REFUSALS = frozenset({450, 451, 452, 454, 503})
_OF_THE_SESSION = ("", "3", "5")
"""Of MAIL on a connection that was used before, if the status is of the system or the protocol (RFC 3463 §3.4, §3.6) or
none is given: the server may mean the session (so many messages a connection), and a new connection finds out. 421
always does."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How this server is talked to. `reset`: a transaction that failed has to be ended first. `reused`: it is not
    the first on the connection; `taken`: the server has taken a MAIL on it before."""

    mta: str
    pipelining: bool
    chunking: bool
    lmtp: bool
    reports: bool
    reset: bool
    reused: bool
    taken: bool


class _Over(Exception):
    """421, or what comes to the same: the server ends the session; `outcome` is for who has none yet."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.text)
        self.outcome = outcome


class Transaction:
    """`run` it once. Afterwards `reset` says whether the next one has to begin with RSET, `taken` whether the server
    has taken MAIL, and `over` whether there can be none, the connection having been cut."""

    def __init__(self, dialogue: Dialogue, plan: Plan, content: Content, manner: Manner) -> None:
        self._dialogue = dialogue
        self._plan = plan
        self._content = content
        self._manner = manner
        self._outcomes = plan.outcomes
        self._step = "after MAIL"
        self._heard = False
        self._first = b""
        self.reset = manner.reset
        self.taken = manner.taken
        self.over = False

    async def run(self) -> dict[int, Outcome]:
        """An outcome for every recipient of the plan but those for whom the server wants a transaction of their own.
        Raises: HopFailed(stale=True)."""
        try:
            accepted = await self._envelope()
            if accepted:
                await self._send(accepted)
        except _Over as over:
            self._end(over.outcome)
        except (SessionEnded, BadReply) as error:
            outcome = outcomes.of_failure(error, self._step, self._manner.mta)
            if self._manner.reused and not self._heard:
                self._end(outcome)
                raise HopFailed(outcome, stale=True) from error
            self._end(outcome)
        except OSError as error:
            text = f"the message cannot be read: {error.strerror or error}"
            self._end(outcomes.ours(Verdict.LATER, "4.3.0", text, self._manner.mta))
        return self._outcomes

    def _end(self, outcome: Outcome) -> None:
        """Nobody knows any more where the conversation is."""
        self._cut()
        for number in self._plan.numbers:
            self._outcomes.setdefault(number, outcome)

    def _cut(self) -> None:
        self.over = True
        self._dialogue.connection.abort()

    # --- the envelope

    async def _envelope(self) -> list[int]:
        """The recipients that the server accepts, having gone on to DATA if that is how it is done."""
        manner, plan = self._manner, self._plan
        reset = [commands.RSET] if manner.reset else []
        self.reset = True
        if not manner.pipelining:
            return await self._step_by_step(reset)
        group = [*reset, plan.mail, *plan.rcpts]
        if not manner.chunking:
            group.append(commands.DATA)
        self._dialogue.say_all(group)
        await self._dialogue.connection.drain()
        self._first = await self._read(0)  # while the group is on its way
        if reset:
            await self._reply(HELLO_TIME, "after RSET", 250)
        mail = await self._reply(MAIL_TIME, "after MAIL")
        self._check_mail(mail)
        replies = [await self._reply(RCPT_TIME, "after RCPT") for _ in plan.rcpts]
        data = None if manner.chunking else await self._reply(DATA_TIME, "after DATA")
        accepted = self._sort(replies) if mail.positive else self._all(mail)
        if data is not None:
            accepted = await self._begun(data, accepted)
        return accepted

    async def _step_by_step(self, reset: Sequence[bytes]) -> list[int]:
        say, plan = self._dialogue.say, self._plan
        for command in reset:
            say(command)
            await self._reply(HELLO_TIME, "after RSET", 250)
        say(plan.mail)
        mail = await self._reply(MAIL_TIME, "after MAIL")
        self._check_mail(mail)
        if not mail.positive:
            return self._all(mail)
        replies = []
        for command in plan.rcpts:
            self._unasked("RCPT")
            say(command)
            replies.append(await self._reply(RCPT_TIME, "after RCPT"))
        accepted = self._sort(replies)
        if accepted:
            self._first = await self._read(0)
            if not self._manner.chunking:
                self._unasked("DATA")
                say(commands.DATA)
                accepted = await self._begun(await self._reply(DATA_TIME, "after DATA"), accepted)
        return accepted

    def _unasked(self, name: str) -> None:
        """Raises: BadReply, when there is a reply already: it would be taken for that to the command."""
        if not self._dialogue.quiet:
            raise BadReply(f"a reply before {name}")

    def _check_mail(self, reply: Reply) -> None:
        """Raises: HopFailed, when the server has had enough of this connection."""
        self.taken = self.taken or reply.positive
        if self._manner.taken and reply.code in _SESSION_REFUSALS and reply.status[2:3] in _OF_THE_SESSION:
            outcome = outcomes.of_session(reply, self._manner.mta)
            self._end(outcome)
            raise HopFailed(outcome, stale=True)

    def _sort(self, replies: Sequence[Reply]) -> list[int]:
        accepted: list[int] = []
        for number, reply in zip(self._plan.numbers, replies, strict=True):
            if reply.positive:
                accepted.append(number)
            elif not (accepted and _too_many(reply)):
                self._outcomes[number] = outcomes.of_reply(reply, self._manner.mta)
        return accepted

    def _all(self, reply: Reply) -> list[int]:
        """The same for all who have no outcome yet; nobody is left."""
        for number in self._plan.numbers:
            self._outcomes.setdefault(number, outcomes.of_reply(reply, self._manner.mta))
        return []

    async def _begun(self, data: Reply, accepted: list[int]) -> list[int]:
        """DATA was answered. The recipients to whom mail data may go."""
        if data.code == 354:
            if not accepted:
                # RFC 2920 §3.1: it waits for a message to nobody
                self._dialogue.say(b".\r\n")
                await self._reply(END_OF_DATA_TIME, "after a message to nobody")
            return accepted
        if data.positive:
            raise BadReply(f"{data.text!r} to DATA")
        outcome = outcomes.of_reply(data, self._manner.mta)
        for number in accepted:
            self._outcomes[number] = outcome
        return []

    # --- mail data

    async def _send(self, accepted: list[int]) -> None:
        await (self._send_chunk() if self._manner.chunking else self._send_data())
        self._step = f"after the end of data: {outcomes.LOST_AFTER_DATA}"
        manner, ending = self._manner, False
        for number in accepted if manner.lmtp else accepted[:1]:
            reply = await self._dialogue.reply(END_OF_DATA_TIME)
            if reply.code < 400 and not reply.positive:
                raise BadReply(reply.text)
            self._outcomes[number] = outcomes.of_reply(reply, manner.mta, reports=manner.reports)
            ending = ending or reply.code == 421  # of LMTP the others may still be answered
        if not manner.lmtp:
            self._outcomes.update(dict.fromkeys(accepted, self._outcomes[accepted[0]]))
        self.reset = not reply.positive
        if ending:
            self._cut()

    async def _send_data(self) -> None:
        connection, size = self._dialogue.connection, self._content.size
        self._step = "during the data"
        stuffer = commands.DotStuffer()
        piece, position = self._first, len(self._first)
        self._first = b""
        while position < size:
            connection.write(stuffer.feed(piece))
            await self._pause()
            piece = await self._read(position)
            position += len(piece)
        await self._listen()
        connection.write(stuffer.feed(piece) + stuffer.finish())
        self._dialogue.transcript.add(f"-- {size} octets of data")

    async def _send_chunk(self) -> None:
        connection, size = self._dialogue.connection, self._content.size
        self._step = "during the data"
        piece, position = self._first, len(self._first)
        self._first = b""
        ending = piece[-2:] if position >= size else await self._content.read(max(size - 2, 0), size)
        end = b"" if ending == b"\r\n" else b"\r\n"
        await self._listen()
        self._dialogue.say(commands.bdat(size + len(end)))
        while position < size:
            connection.write(piece)
            await self._pause()
            piece = await self._read(position)
            position += len(piece)
        connection.write(piece + end)
        self._dialogue.transcript.add(f"-- {size} octets of data")

    async def _pause(self) -> None:
        """Wait until the server has taken what was sent. Raises: as `_listen`."""
        connection = self._dialogue.connection
        connection.timeout = BLOCK_TIME
        await connection.drain()
        await self._listen()

    async def _listen(self) -> None:
        """What comes before the end of data is no answer to it. Raises: BadReply; _Over, when the server refuses,
        which saves both the rest."""
        if not self._dialogue.quiet:
            reply = await self._reply(BLOCK_TIME, "during the data")
            if reply.code < 400:
                raise BadReply(f"{reply.text!r} before the end")
            raise _Over(outcomes.of_reply(reply, self._manner.mta))

    async def _read(self, position: int) -> bytes:
        """Raises: OSError."""
        end = min(position + PIECE, self._content.size)
        piece = await self._content.read(position, end)
        if len(piece) != end - position:
            raise OSError(f"it has {position + len(piece)} octets, not {self._content.size}")
        return piece

    async def _reply(self, seconds: float, step: str, code: int = 0) -> Reply:
        """Raises: _Over, and BadReply if it is not this code."""
        self._step = step
        reply = await self._dialogue.reply(seconds)
        if reply.code == 421:
            outcome = outcomes.of_session(reply, self._manner.mta)
            if self._manner.reused and not self._heard:
                self._end(outcome)
                raise HopFailed(outcome, stale=True)
            raise _Over(outcome)
        if code and reply.code != code:
            raise BadReply(f"{reply.text!r} {step}")
        self._heard = True
        return reply


def _too_many(reply: Reply) -> bool:
    """Whether a recipient is one too many for this transaction, and may be in the next (RFC 5321 §4.5.3.1.10:
    452, or 552 as of RFC 821)."""
    return (reply.code == 452 and reply.status in ("", "4.5.3")) or (
        reply.code == 552 and reply.status in ("", "5.5.3")
    )
