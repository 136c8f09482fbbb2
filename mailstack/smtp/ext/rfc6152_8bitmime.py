"""8BITMIME: octets above 127 in a message (RFC 6152). We take them always."""

from __future__ import annotations

from mailstack.errors import BadSyntax
from mailstack.smtp.facts import Facts
from mailstack.smtp.registry import Extension


def body(facts: Facts, value: str | None) -> None:
    """BODY= of MAIL."""
    # body-value = "7BIT" / "8BITMIME"   ; RFC 6152 §2; "BINARYMIME"   ; RFC 3030 §3
    word = (value or "").upper()
    if word not in ("7BIT", "8BITMIME", "BINARYMIME"):
        raise BadSyntax("BODY=7BIT, BODY=8BITMIME or BODY=BINARYMIME")
    facts.body_8bit = word != "7BIT"
    facts.binary = word == "BINARYMIME"


EIGHTBITMIME = Extension(lambda facts: "8BITMIME", mail_parameters=(("BODY", body),))
