"""What the resources of the API work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mailstack.auth.anyone import AnyAccounts
from mailstack.faults.book import FaultBook
from mailstack.net.listener import Service
from mailstack.observe.recent import RecentJournal
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
    journal: RecentJournal
    submission: Callable[[], Service]
    """What is offered for submission now."""
    ready: Callable[[], dict[str, Any]]
    """What the ready file says."""
    max_message: int
    """Octets of a message."""
    faults: FaultBook
    resets: list[Callable[[], None]] = field(default_factory=list)
    """What else is undone by a reset."""
