"""What a check is: at one stage of a session it looks at the facts and has an opinion."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import Role, SmtpResources


class Stage(Enum):
    """When a check is asked. Each stage knows the facts of those before it."""

    CONNECT = "connect"
    HELO = "helo"
    MAIL = "mail"
    RCPT = "rcpt"
    END_OF_DATA = "end of data"


Opinion = Reply | None
"""None accepts; a Reply (4xx or 5xx) refuses with these words."""

Ask = Callable[[Facts, SmtpResources], Awaitable[Opinion]]

BOTH = frozenset(Role)


@dataclass(frozen=True, slots=True)
class Check:
    """One check: `ask` is called at `stage` in sessions of these roles. May raise Refused."""

    name: str
    stage: Stage
    ask: Ask
    roles: frozenset[Role] = BOTH
