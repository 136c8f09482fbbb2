"""DSN: which reports the sender wants (RFC 3461). What was asked goes into the envelope; a recipient whose
mail is in his mailbox is reported at once (`smtp/success.py`), all else by those who carry it on."""

from __future__ import annotations

from dataclasses import replace

from mailstack.errors import BadSyntax
from mailstack.mail.parameters import Notify, Return
from mailstack.smtp.facts import Facts
from mailstack.smtp.registry import Extension
from mailstack.smtp.wire.xtext import decode_unitext, decode_xtext

MAX_ENVID = 100
"""Characters of ENVID's value, encoded (RFC 3461 §4.4)."""
MAX_ORCPT = 500
"""Of ORCPT's (RFC 3461 §4.2)."""
_ADDRESS_TYPE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
_WORDS = {word.value: word for word in Notify}


def ret(facts: Facts, value: str | None) -> None:
    """RET= of MAIL (RFC 3461 §4.3)."""
    # ret-value = "FULL" / "HDRS"
    try:
        facts.parameters = replace(facts.parameters, ret=Return((value or "").upper()))
    except ValueError:
        raise BadSyntax("RET=FULL or RET=HDRS") from None


def envid(facts: Facts, value: str | None) -> None:
    """ENVID= of MAIL (RFC 3461 §4.4)."""
    if not value or len(value) > MAX_ENVID:
        raise BadSyntax(f"ENVID=xtext of at most {MAX_ENVID} characters")
    facts.parameters = replace(facts.parameters, envid=decode_xtext(value))


def notify(facts: Facts, value: str | None) -> None:
    """NOTIFY= of RCPT (RFC 3461 §4.1)."""
    # notify-esmtp-value = "NEVER" / 1#notify-list-element, of "SUCCESS" / "FAILURE" / "DELAY"
    words = (value or "").upper().split(",")
    if any(word not in _WORDS for word in words) or ("NEVER" in words and words != ["NEVER"]):
        raise BadSyntax("NOTIFY=NEVER or a list of SUCCESS, FAILURE, DELAY")
    facts.rcpt_parameters = replace(facts.rcpt_parameters, notify=frozenset(_WORDS[word] for word in words))


def orcpt(facts: Facts, value: str | None) -> None:
    """ORCPT= of RCPT (RFC 3461 §4.2; RFC 6533 §3 for the address type utf-8)."""
    # original-recipient-address = addr-type ";" xtext
    kind, semicolon, address = (value or "").partition(";")
    if not kind or not set(kind) <= _ADDRESS_TYPE or not semicolon or not address or len(value or "") > MAX_ORCPT:
        raise BadSyntax(f"ORCPT=type;xtext of at most {MAX_ORCPT} characters")
    if kind.lower() == "utf-8":
        if not address.isascii() and not facts.smtputf8:
            raise BadSyntax("SMTPUTF8 for an ORCPT in UTF-8")
        plain = decode_unitext(address)
    else:
        plain = decode_xtext(address)
    facts.rcpt_parameters = replace(facts.rcpt_parameters, orcpt=f"{kind};{plain}")


DSN = Extension(
    lambda facts: "DSN",
    mail_parameters=(("RET", ret), ("ENVID", envid)),
    rcpt_parameters=(("NOTIFY", notify), ("ORCPT", orcpt)),
)
