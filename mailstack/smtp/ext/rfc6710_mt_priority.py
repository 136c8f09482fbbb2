"""MT-PRIORITY: how urgent a message is on its way (RFC 6710). It is kept in the envelope and said in Received."""

from __future__ import annotations

import re
from dataclasses import replace

from mailstack.errors import BadSyntax
from mailstack.smtp.facts import Facts
from mailstack.smtp.registry import Extension


def priority(facts: Facts, value: str | None) -> None:
    """MT-PRIORITY= of MAIL. Who has not logged in may not be more urgent than others (§4.1); the reply to MAIL
    says what became of it."""
    # priority-value = "0" / (["-"] NZDIGIT)   ; RFC 6710 §7
    if value is None or not re.fullmatch("0|-?[1-9]", value):
        raise BadSyntax("MT-PRIORITY=-9 to 9")
    wanted = int(value)
    given = min(wanted, 0) if facts.login is None else wanted
    facts.priority_changed = given != wanted
    facts.parameters = replace(facts.parameters, priority=given)


MT_PRIORITY = Extension(lambda facts: "MT-PRIORITY", mail_parameters=(("MT-PRIORITY", priority),))
