"""What the resources of the API work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mailstack.auth.anyone import AnyAccounts
from mailstack.net.listener import Service
from mailstack.observe.journal import RunningJournal
from mailstack.store.api import Store
from mailstack.web.catch import Catch
from mailstack.web.library import Library


@dataclass(slots=True)
class MailApi:
    """One development server."""

    store: Store
    library: Library
    catch: Catch
    accounts: AnyAccounts
    journal: RunningJournal | None
    submission: Callable[[], Service]
    """What is offered for submission now."""
    ready: Callable[[], dict[str, Any]]
    """What the ready file says."""
    data: Path
    max_message: int
    """Octets of a message."""
    resets: list[Callable[[], None]] = field(default_factory=list)
    """What else is undone by a reset."""
