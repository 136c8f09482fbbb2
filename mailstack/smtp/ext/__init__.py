"""All service extensions, in the order of their lines in the reply to EHLO."""

from __future__ import annotations

from mailstack.smtp.ext import (
    rfc1870_size,
    rfc2034_enhanced_codes,
    rfc2920_pipelining,
    rfc3030_chunking,
    rfc3207_starttls,
    rfc4954_auth,
    rfc6152_8bitmime,
    rfc6531_smtputf8,
)
from mailstack.smtp.registry import Extension

EXTENSIONS: tuple[Extension, ...] = (
    rfc2920_pipelining.PIPELINING,
    rfc1870_size.SIZE,
    rfc3207_starttls.STARTTLS,
    rfc4954_auth.AUTH,
    rfc2034_enhanced_codes.ENHANCEDSTATUSCODES,
    rfc6152_8bitmime.EIGHTBITMIME,
    rfc6531_smtputf8.SMTPUTF8,
    rfc3030_chunking.CHUNKING,
)
