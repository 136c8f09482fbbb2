"""`[mta_sts]`: what our own domains say of TLS to those who send them mail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from mailstack.mail.mta_sts import StsMode

Seconds = Annotated[float, "duration"]


@dataclass(frozen=True, slots=True)
class MtaSts:
    """`[mta_sts]`: the policy of our domains (RFC 8461), which `mailstack dns records` shows."""

    mode: StsMode = StsMode.TESTING
    """"testing" has others report what goes against it; "enforce" has them send nothing to a server whose certificate
    is wrong; "none" takes it back."""
    max_age: Seconds = 7 * 86400.0
    """Seconds for which others remember it."""
    mx: tuple[str, ...] = ()
    """Mail exchangers, as "mx.example.org" or "*.example.org". None: `hostname`."""
