"""REQUIRETLS: the message goes on by verified TLS or not at all (RFC 8689). It is kept in the envelope."""

from __future__ import annotations

from dataclasses import replace

from mailstack.errors import BadSyntax
from mailstack.smtp import replies
from mailstack.smtp.facts import Facts
from mailstack.smtp.registry import Extension
from mailstack.smtp.replies import Reply


def require_tls(facts: Facts, value: str | None) -> Reply | None:
    """REQUIRETLS of MAIL; this session must have TLS, too (RFC 8689 §2)."""
    if value is not None:
        raise BadSyntax("REQUIRETLS without a value")
    if not facts.tls:
        return replies.REQUIRETLS_NEEDS_TLS
    facts.parameters = replace(facts.parameters, require_tls=True)
    return None


REQUIRETLS = Extension(lambda facts: "REQUIRETLS" if facts.tls else "", mail_parameters=(("REQUIRETLS", require_tls),))
