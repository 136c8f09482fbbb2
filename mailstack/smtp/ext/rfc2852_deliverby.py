"""DELIVERBY: by when a message is to be there, and what happens if it is not (RFC 2852). What comes to a
mailbox of ours is there in time; for others it is kept in the envelope."""

from __future__ import annotations

import re
from dataclasses import replace

from mailstack.errors import BadSyntax
from mailstack.mail.parameters import DeliverBy
from mailstack.smtp.facts import Facts
from mailstack.smtp.registry import Extension

_VALUE = re.compile(r"(-?[0-9]{1,9});([NR])(T?)", re.IGNORECASE)


def by(facts: Facts, value: str | None) -> None:
    """BY= of MAIL (RFC 2852 §4)."""
    # by-value = by-time ";" by-mode [by-trace], by-time = ["-" / "+"] 1*9digit, by-mode = "N" / "R"
    match = _VALUE.fullmatch((value or "").removeprefix("+"))
    if match is None:
        raise BadSyntax("BY=seconds;N, BY=seconds;R, or the same with T")
    seconds, or_return = int(match[1]), match[2].upper() == "R"
    if or_return and seconds <= 0:
        raise BadSyntax("BY= of more than 0 seconds with R")  # RFC 2852 §4: it would be returned at once
    wish = DeliverBy(int(facts.now) + seconds, or_return, bool(match[3]))
    facts.parameters = replace(facts.parameters, deliver_by=wish)


DELIVERBY = Extension(lambda facts: "DELIVERBY", mail_parameters=(("BY", by),))
