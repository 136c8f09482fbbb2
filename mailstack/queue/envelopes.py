"""An envelope as a JSON document, and back. What is not there has its default, so that documents of
older versions are read, and what a version does not know is left out of what it reads."""

from __future__ import annotations

from typing import Any

from mailstack.mail.address import Address
from mailstack.mail.parameters import (
    NOTHING_SAID_OF_RECIPIENT,
    DeliverBy,
    MailParameters,
    Notify,
    RcptParameters,
    Return,
)
from mailstack.ports import AccountName, Envelope

VERSION = 1
"""Of the form. Another number is for a form that this code would read wrongly."""


def document(envelope: Envelope, arrived: float) -> dict[str, Any]:
    """The document. Of parameters only what was said is in it."""
    asked = envelope.parameters
    found: dict[str, Any] = {
        "version": VERSION,
        "arrived": arrived,
        "sender": _pair(envelope.sender) if envelope.sender else None,
        "recipients": [_pair(address) for address in envelope.recipients],
        "account": envelope.account,
        "smtputf8": envelope.smtputf8,
        "body_8bit": envelope.body_8bit,
        "ret": asked.ret.value if asked.ret else None,
        "envid": asked.envid,
        "require_tls": asked.require_tls,
        "deliver_by": [asked.deliver_by.time, asked.deliver_by.or_return, asked.deliver_by.trace]
        if asked.deliver_by
        else None,
        "hold_until": asked.hold_until,
        "priority": asked.priority,
        "submitter": asked.submitter,
        "journey": envelope.journey,
        "rcpt_parameters": [_of_recipient(each) for each in envelope.rcpt_parameters],
    }
    must = ("version", "arrived", "sender", "recipients", "account", "smtputf8", "body_8bit")
    return {key: value for key, value in found.items() if value or key in must}


def envelope_of(found: dict[str, Any]) -> Envelope:
    """The envelope of a document. Raises: ValueError, KeyError, TypeError."""
    if found["version"] != VERSION:
        raise ValueError(f"version {found['version']} is not {VERSION}")
    sender, account, ret, by = found["sender"], found["account"], found.get("ret"), found.get("deliver_by")
    recipients = tuple(Address(*pair) for pair in found["recipients"])
    asked = tuple(_recipient(each) for each in found.get("rcpt_parameters", ()))
    if asked and len(asked) != len(recipients):
        raise ValueError(f"parameters of {len(asked)} recipients, not of {len(recipients)}")
    return Envelope(
        sender=Address(*sender) if sender else None,
        recipients=recipients,
        account=AccountName(account) if account else None,
        smtputf8=found["smtputf8"],
        body_8bit=found["body_8bit"],
        parameters=MailParameters(
            ret=Return(ret) if ret else None,
            envid=found.get("envid", ""),
            require_tls=found.get("require_tls", False),
            deliver_by=DeliverBy(*by) if by else None,
            hold_until=found.get("hold_until"),
            priority=found.get("priority", 0),
            submitter=found.get("submitter", ""),
        ),
        rcpt_parameters=asked,
        journey=found.get("journey", ""),
    )


def _pair(address: Address) -> list[str]:
    return [address.local_part, address.domain]


def _of_recipient(asked: RcptParameters) -> dict[str, Any]:
    notify = None if asked.notify is None else sorted(word.value for word in asked.notify)
    return {key: value for key, value in (("notify", notify), ("orcpt", asked.orcpt)) if value}


def _recipient(found: dict[str, Any]) -> RcptParameters:
    if not found:
        return NOTHING_SAID_OF_RECIPIENT
    notify = found.get("notify")
    return RcptParameters(
        None if notify is None else frozenset(Notify(word) for word in notify), found.get("orcpt", "")
    )
