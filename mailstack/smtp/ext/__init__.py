"""All service extensions, in the order of their lines in the reply to EHLO."""

from __future__ import annotations

from mailstack.smtp.ext import (
    postfix_xclient,
    rfc1870_size,
    rfc1985_etrn,
    rfc2034_enhanced_codes,
    rfc2852_deliverby,
    rfc2920_pipelining,
    rfc3030_binarymime,
    rfc3030_chunking,
    rfc3207_starttls,
    rfc3461_dsn,
    rfc4468_burl,
    rfc4865_futurerelease,
    rfc4954_auth,
    rfc5321_vrfy,
    rfc6152_8bitmime,
    rfc6531_smtputf8,
    rfc6710_mt_priority,
    rfc8689_requiretls,
    rfc9422_limits,
)
from mailstack.smtp.registry import Extension

EXTENSIONS: tuple[Extension, ...] = (
    rfc2920_pipelining.PIPELINING,
    rfc1870_size.SIZE,
    rfc3207_starttls.STARTTLS,
    rfc4954_auth.AUTH,
    rfc2034_enhanced_codes.ENHANCEDSTATUSCODES,
    rfc6152_8bitmime.EIGHTBITMIME,
    rfc3030_binarymime.BINARYMIME,
    rfc6531_smtputf8.SMTPUTF8,
    rfc3461_dsn.DSN,
    rfc8689_requiretls.REQUIRETLS,
    rfc2852_deliverby.DELIVERBY,
    rfc4468_burl.BURL,
    rfc4865_futurerelease.FUTURERELEASE,
    rfc6710_mt_priority.MT_PRIORITY,
    rfc9422_limits.LIMITS,
    rfc1985_etrn.ETRN,
    postfix_xclient.XCLIENT,
    postfix_xclient.XFORWARD,
    rfc5321_vrfy.VRFY,
    rfc5321_vrfy.EXPN,
    rfc3030_chunking.CHUNKING,
)
