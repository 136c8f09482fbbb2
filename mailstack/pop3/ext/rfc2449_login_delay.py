"""LOGIN-DELAY: how soon an account may log in again (RFC 2449 §6.5, §8.1.1). `Pop3Session.log_in` sees to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mailstack.pop3.registry import Extension

if TYPE_CHECKING:
    from mailstack.pop3.session import Pop3Session


def capability(session: Pop3Session) -> str:
    """Whole seconds, the same for everybody."""
    delay = session.settings.login_delay
    return f"LOGIN-DELAY {math.ceil(delay)}" if delay else ""


LOGIN_DELAY = Extension(capability)
