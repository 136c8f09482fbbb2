"""SMTPUTF8: addresses and header fields in UTF-8 (RFC 6531)."""

from __future__ import annotations

from mailstack.errors import BadSyntax
from mailstack.smtp.facts import Facts
from mailstack.smtp.registry import Extension


def smtputf8(facts: Facts, value: str | None) -> None:
    """SMTPUTF8 of MAIL (RFC 6531 §3.4)."""
    if value is not None:
        raise BadSyntax("SMTPUTF8 without a value")
    facts.smtputf8 = True


SMTPUTF8 = Extension(lambda facts: "SMTPUTF8", mail_parameters=(("SMTPUTF8", smtputf8),))
