"""One connection to one milter: each step that it wants is told, and its answer awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from mailstack.config.policy import Milter
from mailstack.ports import Clock
from mailstack.smtp.milter.stream import Broken, Dial, Stream
from mailstack.smtp.wire import milter as wire
from mailstack.smtp.wire.milter import (
    ALL_ACTIONS,
    NEEDED,
    Action,
    Answer,
    Garbage,
    Manner,
    Modification,
    Options,
    Packets,
    Said,
    Step,
    Verdict,
)

LONGEST = 540.0
"""Seconds that a milter may take for one answer, however often it says that it goes on: the client waits ten minutes
for the end of its message (RFC 5321 §4.5.3.2.6)."""
Macros = Iterable[tuple[str, str]]
Judgement = Verdict | Said


class Conversation:
    """Of one SMTP connection with one milter. Everything that waits raises Broken."""

    __slots__ = ("_clock", "_milter", "_packets", "_skipped", "_stream", "options")

    def __init__(self, milter: Milter, stream: Stream, clock: Clock) -> None:
        self._milter = milter
        self._stream = stream
        self._clock = clock
        self._packets = Packets()
        self._skipped: set[Step] = set()
        self.options = Options(wire.VERSION, Action(0), Manner(0))

    @classmethod
    async def begin(cls, milter: Milter, dial: Dial, clock: Clock, withheld: Action) -> Conversation:
        """Connect, and agree on how to talk; it may do everything but what is `withheld`."""
        begun = cls(milter, await dial(milter.address, milter.connect_timeout), clock)
        offered = ALL_ACTIONS & ~withheld
        try:
            begun._stream.write(wire.negotiate(offered))
            options = await begun._answer(milter.connect_timeout)
            if not isinstance(options, Options):
                raise Broken(f"options were expected, not {_shown(options)}")
            if options.actions & withheld:
                raise Broken(f"it insists on {options.actions & withheld!r}, which was not offered")
        except BaseException:
            begun._stream.close()
            raise
        begun.options = options
        return begun

    async def tell(self, step: Step, data: bytes, macros: Macros = ()) -> Judgement:
        """A step, and what the milter thinks of it: CONTINUE for one that it does not want or answer."""
        if step is Step.MAIL:
            self._skipped.clear()
        if step in self._skipped or not self.options.wants(step):
            return Verdict.CONTINUE
        self._send(step, data, macros)
        timeout = self._milter.command_timeout
        if step in (Step.FIELD, Step.END_OF_HEADER, Step.BODY):
            timeout = self._milter.message_timeout
            await self._stream.drain(timeout)
        if not self.options.answers(step):
            return Verdict.CONTINUE
        judgement = _judged(await self._answer(timeout))
        if judgement is Verdict.SKIP:
            self._skipped.add(step)
            return Verdict.CONTINUE
        return judgement

    def wants(self, step: Step) -> bool:
        """Whether it would be told of one more of these."""
        return step not in self._skipped and self.options.wants(step)

    async def end_of_message(self, macros: Macros) -> AsyncIterator[Modification | Judgement]:
        """What the milter wants to be done with the message, then what it thinks of it."""
        self._send(Step.END_OF_MESSAGE, b"", macros)
        while True:
            answer = await self._answer(self._milter.message_timeout)
            if isinstance(answer, Verdict | Said | Options):
                yield _judged(answer)
                return
            if not self.options.actions & NEEDED[type(answer)]:
                raise Broken(f"{_shown(answer)} was not agreed on")
            yield answer

    def abort(self) -> None:
        """The message that it was told of will not come to its end."""
        self._stream.write(wire.ABORT)

    def begin_anew(self) -> bool:
        """Whether the same connection can be used for another one of SMTP; then CONNECT may follow."""
        if self.options.version < wire.QUIT_NC_SINCE:
            return False
        self._stream.write(wire.QUIT_NC)
        return True

    def close(self, *, orderly: bool = True) -> None:
        """The end; `orderly` says that the milter may still listen."""
        if orderly:
            self._stream.write(wire.QUIT)
        self._stream.close()

    # --- inside

    def _send(self, step: Step, data: bytes, macros: Macros) -> None:
        if not self._packets.is_empty:  # or it would be taken for the answer to this
            raise Broken("it says more than it was asked")
        wanted = self.options.macros.get(step)
        chosen = [pair for pair in macros if pair[1] and (wanted is None or pair[0] in wanted)]
        self._stream.write((wire.macros(step, chosen) if chosen else b"") + wire.packet(step.value, data))

    async def _answer(self, timeout: float) -> Answer:
        """The next answer that is not PROGRESS."""
        begun = self._clock.now()
        while True:
            try:
                packet = self._packets.next()
                answer = wire.answer(*packet) if packet is not None else None
            except Garbage as garbage:
                raise Broken(str(garbage)) from garbage
            if answer is not None and answer is not Verdict.PROGRESS:
                return answer
            left = begun + LONGEST - self._clock.now()
            if left <= 0:
                raise Broken(f"no answer within {LONGEST:.0f} seconds")
            if answer is None:
                self._packets.feed(await self._stream.receive(min(timeout, left)))


def _judged(answer: Answer) -> Judgement:
    if isinstance(answer, Said):
        return answer
    if not isinstance(answer, Verdict):
        raise Broken(f"{_shown(answer)} out of its place")
    if answer is Verdict.CONNECTION_FAILED:
        raise Broken("it wants the connection to fail")
    return answer


def _shown(answer: Answer) -> str:
    return answer.name if isinstance(answer, Verdict) else type(answer).__name__
