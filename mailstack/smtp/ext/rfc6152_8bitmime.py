"""8BITMIME: octets above 127 in a message (RFC 6152). We take them always."""

from __future__ import annotations

from mailstack.errors import BadSyntax
from mailstack.smtp.facts import Facts
from mailstack.smtp.registry import Extension


def body(facts: Facts, value: str | None) -> None:
    """BODY= of MAIL. BINARYMIME (RFC 3030 §3) is not offered."""
    # body-value = "7BIT" / "8BITMIME"   ; RFC 6152 §2
    word = (value or "").upper()
    if word not in ("7BIT", "8BITMIME"):
        raise BadSyntax("BODY=7BIT or BODY=8BITMIME")
    facts.body_8bit = word == "8BITMIME"


EIGHTBITMIME = Extension(lambda facts: "8BITMIME", mail_parameters=(("BODY", body),))
