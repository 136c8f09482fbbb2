"""Which message is waited for, and which of those that came is most like it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mailstack.testing.live import telling
from mailstack.testing.live.message import Message, Text, has, said

Match = Callable[[Message], bool]
_PARAMETERS = {"subject": "subject", "sender": "from", "to": "to", "body": "body"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is given has to be true: a text is a part in any case, `sender` and `to` with @ are whole addresses."""

    subject: Text | None = None
    sender: Text | None = None
    to: Text | None = None
    body: Text | None = None
    match: Match | None = None

    def query(self) -> dict[str, str]:
        """What the server can decide."""
        return {name: value for each, name in _PARAMETERS.items() if isinstance(value := getattr(self, each), str)}

    @property
    def decides_here(self) -> bool:
        """Whether there is more to it than that."""
        return self.match is not None or len(self.query()) < len(self._given())

    def fits(self, message: Message) -> bool:
        """Whether what the server cannot decide is true, too."""
        for name, wanted in self._given():
            if not isinstance(wanted, str) and not any(has(wanted, value) for value in _values(name, message)):
                return False
        return self.match is None or bool(self.match(message))

    def said(self) -> str:
        """In words: "with subject 'hello' and sender 'a@example.org'"."""
        parts = [f"{name} {said(wanted)}" for name, wanted in self._given()]
        if self.match is not None:
            parts.append(f"what {getattr(self.match, '__name__', 'match')!r} wants")
        return f" with {' and '.join(parts)}" if parts else ""

    def nearest(self, messages: Sequence[Message]) -> Message | None:
        """The one that is most like it, if there is any."""
        return max(messages, key=self._likeness, default=None) if self._given() else next(iter(messages), None)

    def difference(self, message: Message) -> str:
        """Why it is not the one, a line or more for each reason."""
        told = []
        for name, wanted in self._given():
            values = _values(name, message)
            if self._is(name, wanted, values):
                continue
            shown = " ".join(values) if name == "body" else ", ".join(values)
            if isinstance(wanted, str) and name != "body":
                near = max(values, key=lambda each: _ratio(wanted, each), default="")
                told.append(f"  {name}: expected {wanted!r}\n{telling.difference(wanted, near)}")
            elif isinstance(wanted, str):
                near_line = telling.nearest_line(wanted, "\n".join(values))
                told.append(f"  body: {wanted!r} is not in it{near_line}")
            else:
                told.append(f"  {name}: {said(wanted)} is not found in {telling.cut(shown)!r}")
        if not told and self.match is not None:
            told.append(f"  {getattr(self.match, '__name__', 'match')!r} does not want it")
        return "\n".join(told)

    def _given(self) -> list[tuple[str, Text]]:
        return [(name, value) for name in _PARAMETERS if (value := getattr(self, name)) is not None]

    def _likeness(self, message: Message) -> float:
        total = 0.0
        for name, wanted in self._given():
            values = _values(name, message)
            if self._is(name, wanted, values):
                total += 2.0
            elif isinstance(wanted, str):
                total += max((_ratio(wanted, each) for each in values), default=0.0)
        return total

    def _is(self, name: str, wanted: Text, values: Sequence[str]) -> bool:
        if name in ("sender", "to") and isinstance(wanted, str) and "@" in wanted:
            return any(each.lower().endswith(wanted.lower()) if wanted[0] == "@" else each.lower() == wanted.lower()
                       for each in values)  # fmt: skip
        return any(has(wanted, each) for each in values)


def _values(name: str, message: Message) -> list[str]:
    if name == "subject":
        return [message.subject]
    if name == "sender":
        return [*dict.fromkeys([str(message.sender), message.sender.name, message.envelope_from])]
    if name == "to":
        people = [*message.to, *message.cc]
        return [*dict.fromkeys([*map(str, people), *(each.name for each in people if each.name), *message.envelope_to])]
    return [message.text, message.html]


def _ratio(wanted: str, value: str) -> float:
    return difflib.SequenceMatcher(None, wanted.lower()[:200], value.lower()[:200]).ratio()
