"""Whether an answer could be sent to the sender: its domain has to have a mail exchanger or an address (RFC 5321
§2.3.5, §5.1), and must not say that it accepts no mail (RFC 7505 §4.2)."""

from __future__ import annotations

from enum import Enum

from mailstack.config.policy import Judgement
from mailstack.errors import Problem, Refused
from mailstack.mail.address import Address
from mailstack.names import BadName, NoData, NoRecords, TemporaryFailure
from mailstack.ports import Remote, Resolver
from mailstack.smtp.checks.frame import Check, Mark, Opinion, Stage
from mailstack.smtp.checks.strangers import is_exempt
from mailstack.smtp.facts import Facts
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import Role, SmtpResources

NO_SUCH_DOMAIN = Reply(550, "5.1.8", "The sender's domain cannot receive mail: it has no MX and no address in DNS")
NO_MAIL = Reply(550, "5.7.27", "The sender's domain accepts no mail (null MX)")
UNKNOWN = Reply(451, "4.4.3", "DNS does not say now whether the sender's domain exists; try again")


class _Domain(Enum):
    """What DNS says of it. The values are words of Mailstack-Marks."""

    THERE = ""
    NONE = "sender-domain-none"
    NULL_MX = "sender-domain-null-mx"
    UNKNOWN = "sender-domain-unknown"


_REPLIES = {_Domain.NONE: NO_SUCH_DOMAIN, _Domain.NULL_MX: NO_MAIL, _Domain.UNKNOWN: UNKNOWN}


async def sender_domain(facts: Facts, resources: SmtpResources) -> Opinion:
    """550 5.1.8, 550 5.7.27 or 451 4.4.3, or a mark. The null reverse-path has no domain, an address literal none in
    DNS, and one of ours need not be there."""
    policy, sender, resolver = facts.settings.policy, facts.sender, resources.resolver
    if resolver is None or policy.sender_domain is Judgement.OFF:
        return None
    if sender is None or facts.login is not None or is_exempt(facts):
        return None
    if not sender.domain or sender.domain.startswith("[") or await _is_ours(sender, resources):
        return None
    found = await _look_up(resolver, sender.domain)
    if found is _Domain.THERE:
        return None
    judgement = policy.sender_domain_unknown if found is _Domain.UNKNOWN else policy.sender_domain
    if judgement is Judgement.OFF:
        return None
    return _REPLIES[found] if judgement is Judgement.REJECT else Mark(found.value, sender.domain)


async def _is_ours(sender: Address, resources: SmtpResources) -> bool:
    """Raises: Refused."""
    try:
        return not isinstance(await resources.directory.route(sender), Remote)
    except Refused as refused:
        if refused.problem is not Problem.NO_SUCH_RECIPIENT:
            raise
        return True


async def _look_up(resolver: Resolver, domain: str) -> _Domain:
    try:
        return _Domain.NULL_MX if (await resolver.mx(domain)).is_null else _Domain.THERE
    except NoData:
        pass  # then the domain is its own exchanger
    except NoRecords:
        return _Domain.NONE
    except TemporaryFailure:
        return _Domain.UNKNOWN
    except BadName:
        # What ours is too old to encode (IDNA 2003) may be a name all the same.
        return _Domain.NONE if domain.isascii() else _Domain.UNKNOWN
    try:
        await resolver.addresses(domain)
    except NoRecords:
        return _Domain.NONE
    except TemporaryFailure:
        return _Domain.UNKNOWN
    return _Domain.THERE


CHECK = Check("sender domain", Stage.MAIL, sender_domain, frozenset({Role.RECEIVE}))
