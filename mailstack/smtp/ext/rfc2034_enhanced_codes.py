"""ENHANCEDSTATUSCODES: replies begin with a code of RFC 3463 (RFC 2034). `replies.py` has them."""

from __future__ import annotations

from mailstack.smtp.registry import Extension

ENHANCEDSTATUSCODES = Extension(lambda facts: "ENHANCEDSTATUSCODES")
