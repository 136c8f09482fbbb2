"""All checks, in the order in which they are asked; the first that refuses decides."""

from __future__ import annotations

from mailstack.smtp.checks import (
    bare_newline,
    delivered_already,
    mailbox_full,
    max_recipients,
    recipient_exists,
    relay_allowed,
    routing_loop,
    sender_belongs,
    size,
)
from mailstack.smtp.checks.frame import Check, Stage
from mailstack.smtp.settings import Role

CHECKS: tuple[Check, ...] = (
    size.DECLARED,
    sender_belongs.CHECK,
    max_recipients.CHECK,
    recipient_exists.CHECK,
    relay_allowed.CHECK,
    mailbox_full.CHECK,
    size.TRUE,
    bare_newline.CHECK,
    routing_loop.CHECK,
    delivered_already.CHECK,
)


def by_stage(role: Role) -> dict[Stage, tuple[Check, ...]]:
    """The checks of one role by stage."""
    return {stage: tuple(check for check in CHECKS if check.stage is stage and role in check.roles) for stage in Stage}
