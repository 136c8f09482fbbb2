"""All capabilities (RFC 2449), in the order of their lines in the reply to CAPA.

There is no APOP (RFC 1939 §7). It needs the password itself on the server, where only what verifies it is kept; its
MD5 of a challenge and a password lets who listens guess the password, and who chooses the challenge find it
(CVE-2007-1558). TLS with any of the mechanisms of AUTH does what it was for, SCRAM without the password leaving
the client."""

from __future__ import annotations

from mailstack.pop3.ext import (
    rfc1939_top,
    rfc1939_uidl,
    rfc1939_user,
    rfc2449_capa,
    rfc2449_expire,
    rfc2449_login_delay,
    rfc2595_stls,
    rfc3206_auth_resp_code,
    rfc5034_sasl,
    rfc6856_lang,
    rfc6856_utf8,
)
from mailstack.pop3.registry import Extension

EXTENSIONS: tuple[Extension, ...] = (
    rfc1939_top.TOP,
    rfc1939_uidl.UIDL,
    rfc2449_capa.PIPELINING,
    rfc2449_capa.RESP_CODES,
    rfc3206_auth_resp_code.AUTH_RESP_CODE,
    rfc2449_expire.EXPIRE,
    rfc2449_login_delay.LOGIN_DELAY,
    rfc6856_utf8.UTF8,
    rfc6856_lang.LANG,
    rfc2449_capa.IMPLEMENTATION,
    rfc1939_user.USER,
    rfc5034_sasl.SASL,
    rfc2595_stls.STLS,
    rfc2449_capa.CAPA,
)
