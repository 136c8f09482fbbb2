"""What a client may call itself (RFC 5321 §2.3.5, §4.1.1.1, §4.1.4). A name that does not resolve is no reason
to refuse mail; a name or address that is ours is a lie."""

from __future__ import annotations

import re
from ipaddress import ip_address

from mailstack.config.policy import Judgement
from mailstack.smtp.checks.frame import Check, Mark, Opinion, Stage
from mailstack.smtp.checks.strangers import is_exempt
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import Role, SmtpResources

IS_OURS = Reply(550, "5.7.1", "EHLO with our own name; you are somebody else")
MALFORMED = Reply(550, "5.7.1", "EHLO needs your host's full name, or your own address in brackets")
_HOST = re.compile(r"(?!-)[^.]{1,63}(?<!-)(?:\.(?!-)[^.]{1,63}(?<!-))+")
_ALL_DIGITS = re.compile(r"[0-9.]+")
MAX_HOST = 253
"""Octets of a host name (RFC 1035 §2.3.4, without the dot at its end)."""


async def helo_ours(facts: Facts, _: SmtpResources) -> Opinion:
    """550 5.7.1, or the mark "helo-ours", for our own name or an address literal of ours."""
    judgement = facts.settings.policy.helo_ours
    if judgement is Judgement.OFF or is_exempt(facts) or not _is_ours(facts):
        return None
    return IS_OURS if judgement is Judgement.REJECT else Mark("helo-ours", facts.helo)


async def helo_malformed(facts: Facts, _: SmtpResources) -> Opinion:
    """550 5.7.1, or the mark "helo-malformed", for what cannot be the client's name or address."""
    judgement = facts.settings.policy.helo_malformed
    if judgement is Judgement.OFF or is_exempt(facts) or not _is_malformed(facts):
        return None
    return MALFORMED if judgement is Judgement.REJECT else Mark("helo-malformed", facts.helo)


def _is_ours(facts: Facts) -> bool:
    said = facts.helo.lower().rstrip(".")
    if said.startswith("["):
        # Client and server have one address where both are behind one translator: then it is the client's as well.
        return facts.local not in ("", facts.peer.host) and _is_address(said, facts.local)
    return said in (facts.settings.hostname.lower(), "localhost", "localhost.localdomain")


def _is_malformed(facts: Facts) -> bool:
    said = facts.helo
    if said.startswith("["):
        return not _is_address(said.lower(), facts.peer.host)
    name = said.rstrip(".")
    return len(name) > MAX_HOST or _HOST.fullmatch(name) is None or _ALL_DIGITS.fullmatch(name) is not None


def _is_address(literal: str, host: str) -> bool:
    try:
        return ip_address(literal.strip("[]").removeprefix("ipv6:")) == ip_address(host)
    except ValueError:  # General-address-literal
        return False


ROLES = frozenset({Role.RECEIVE})
OURS = Check("helo ours", Stage.HELO, helo_ours, ROLES)
MALFORMED_NAME = Check("helo malformed", Stage.HELO, helo_malformed, ROLES)
