"""All checks, in the order in which they are asked; the first that refuses decides."""

from __future__ import annotations

from collections.abc import Sequence

from mailstack.smtp.checks import (
    bare_newline,
    connection_rate,
    delivered_already,
    early_talker,
    helo,
    mailbox_full,
    max_recipients,
    message_rate,
    milters,
    null_sender,
    recipient_exists,
    recipient_rate,
    relay_allowed,
    routing_loop,
    sender_belongs,
    sender_domain,
    sending_limits,
    size,
    tarpit,
)
from mailstack.smtp.checks.frame import Check, Stage
from mailstack.smtp.settings import Role

CHECKS: tuple[Check, ...] = (
    connection_rate.CHECK,
    early_talker.DELAY,
    early_talker.CHECK,
    helo.OURS,
    helo.MALFORMED_NAME,
    size.DECLARED,
    sender_belongs.CHECK,
    connection_rate.ACCOUNT,
    message_rate.CHECK,
    sending_limits.MESSAGES,
    sender_domain.CHECK,
    max_recipients.CHECK,
    null_sender.CHECK,
    recipient_exists.CHECK,
    relay_allowed.CHECK,
    mailbox_full.CHECK,
    recipient_rate.CHECK,
    sending_limits.RECIPIENTS,
    size.TRUE,
    bare_newline.CHECK,
    routing_loop.CHECK,
    delivered_already.CHECK,
    tarpit.CHECK,
    *milters.CHECKS,
)


def by_stage(role: Role, first: Sequence[Check] = ()) -> dict[Stage, tuple[Check, ...]]:
    """The checks of one role by stage, those first that are given."""
    checks = [check for check in (*first, *CHECKS) if role in check.roles]
    return {stage: tuple(check for check in checks if check.stage is stage) for stage in Stage}
