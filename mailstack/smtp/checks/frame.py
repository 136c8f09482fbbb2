"""What a check is: at one stage of a session it looks at the facts and has an opinion."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import ANY_ROLE, Role, SmtpResources


class Stage(Enum):
    """When a check is asked. Each stage knows the facts of those before it."""

    CONNECT = "connect"
    GREETING = "greeting"
    """When the client has waited for its greeting, as far as checks of the stage before let it wait."""
    HELO = "helo"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    """DATA or the first BDAT, before the message is sent: no opinion of a single recipient helps any more."""
    END_OF_DATA = "end of data"
    ERROR = "error"
    """Before a reply of 5xx: only a Delay has an effect."""


CONNECTION_STAGES = frozenset({Stage.CONNECT, Stage.GREETING})
"""What is noticed there holds for all messages of the connection; of EHLO, until the next one."""
MAX_DELAY = 30.0
"""Seconds that a client waits at most for one reply, whatever the checks say; RFC 5321 §4.5.3.2 lets it wait
five minutes."""


@dataclass(frozen=True, slots=True)
class Delay:
    """The client has to wait so many seconds for its reply."""

    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Mark:
    """The message is taken, and what was noticed is written above it: a word of the check's, and more."""

    word: str
    detail: str = ""


Opinion = Reply | Delay | Mark | None
"""None accepts; a Reply (4xx or 5xx) refuses with these words."""

Ask = Callable[[Facts, SmtpResources], Awaitable[Opinion]]


@dataclass(frozen=True, slots=True)
class Check:
    """One check: `ask` is called at `stage` in sessions of these roles. May raise Refused."""

    name: str
    stage: Stage
    ask: Ask
    roles: frozenset[Role] = ANY_ROLE
