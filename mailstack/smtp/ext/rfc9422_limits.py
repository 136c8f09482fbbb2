"""LIMITS: what this session will refuse to do more of (RFC 9422)."""

from __future__ import annotations

from mailstack.smtp.facts import Facts
from mailstack.smtp.registry import Extension


def keyword(facts: Facts) -> str:
    """RCPTMAX (§4.2). There is no MAILMAX, since messages of one connection are not counted."""
    # limits-param = [limit-name "=" limit-value *( SP ... )]
    return f"LIMITS RCPTMAX={facts.settings.max_recipients}"


LIMITS = Extension(keyword)
