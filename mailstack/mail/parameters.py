"""What a sender asks of those who carry a message: parameters of MAIL and RCPT, which travel with it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Notify(Enum):
    """When the sender of a message wants to hear of a recipient (RFC 3461 §4.1)."""

    NEVER = "NEVER"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DELAY = "DELAY"


class Return(Enum):
    """How much of the message a report of failure has (RFC 3461 §4.3)."""

    FULL = "FULL"
    HEADERS = "HDRS"


@dataclass(frozen=True, slots=True)
class DeliverBy:
    """BY= (RFC 2852 §4): `time` in seconds since the epoch, in whole ones. After it the message is returned if
    `or_return`, else delivered late, and its sender notified. `trace`: the sender hears of each relay that
    cannot carry this on."""

    time: int
    or_return: bool
    trace: bool = False


@dataclass(frozen=True, slots=True)
class MailParameters:
    """Of the whole message.

    `ret` None: not said. `envid` is decoded, "" if not said. `hold_until`: not to be delivered earlier, in
    seconds since the epoch (RFC 4865). `priority` is -9 to 9 (RFC 6710). `submitter` is who submitted it, as
    AUTH= has it, where that is believed; "" if nobody knows (RFC 4954 §5)."""

    ret: Return | None = None
    envid: str = ""
    require_tls: bool = False
    deliver_by: DeliverBy | None = None
    hold_until: int | None = None
    priority: int = 0
    submitter: str = ""


@dataclass(frozen=True, slots=True)
class RcptParameters:
    """Of one recipient. `notify` None: not said, which is to hear of failures and, maybe, of delays.
    `orcpt` is "address-type;address", decoded, "" if not said (RFC 3461 §4.2; RFC 6533 §3)."""

    notify: frozenset[Notify] | None = None
    orcpt: str = ""

    def asks(self, what: Notify) -> bool:
        """Whether the sender is to hear of this."""
        return what is Notify.FAILURE if self.notify is None else what in self.notify


NOTHING_SAID = MailParameters()
NOTHING_SAID_OF_RECIPIENT = RcptParameters()
