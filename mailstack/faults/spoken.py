"""Faults that an address asks for, so that no program needs to know anything but whom it writes to:
`alice+fault-rcpt-452@example.org`, or `alice@rcpt-452.fault.test` where a program takes no plus sign."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from mailstack.faults.presets import LOGIN_STAGES, answer, greylist, mailbox_full, slow_login
from mailstack.faults.rules import (
    ALL_CLIENTS,
    Action,
    Answer,
    BadFault,
    Cut,
    Delay,
    Drop,
    Garbage,
    Hang,
    Place,
    Protocol,
    Rule,
    Throttle,
    stage_of,
)

_PLUS = re.compile(r"\+fault-([a-z0-9.-]+)@")
_DOMAIN = re.compile(r"@(?:[a-z0-9-]+\.)*?([a-z0-9-]+(?:\.[0-9]+)?)\.fault\.test$")
_SPEC = re.compile(
    r"(?:(?P<stage>[a-z]+)-)?"
    r"(?P<action>[45][0-9]{2}|fail|delay|slow|drop|reset|cut|throttle|garbage|hang|greylist|full)"
    r"(?:-(?P<number>[0-9]+(?:\.[0-9]+)?))?(?:-x(?P<times>[1-9][0-9]{0,5}))?"
)
_WITHOUT_STAGE = {Protocol.SMTP: ("RCPT",), Protocol.IMAP: LOGIN_STAGES[Protocol.IMAP], Protocol.POP3: ("PASS", "AUTH")}
MOST_SECONDS = 3600.0


def rules_of(address: str) -> list[Rule]:
    """What an address, in lower case, asks for: rules of one fault in each protocol that has it; none if it asks for
    none. What cannot be read is a rule that says so at RCPT."""
    found = _PLUS.search(address) or _DOMAIN.search(address)
    if found is None:
        return []
    spec = _SPEC.fullmatch(found[1])
    rules = list(_rules(spec)) if spec else []
    if not rules:
        return [
            Rule(Protocol.SMTP, "RCPT", Answer(f"501 5.1.3 Cannot read the fault {found[1][:60]!r} in the address"))
        ]
    return [replace(rule, note=address) for rule in rules]


def _rules(spec: re.Match[str]) -> Iterator[Rule]:
    times = int(spec["times"]) if spec["times"] else None
    if spec["action"] == "greylist":
        yield from greylist(ALL_CLIENTS, times or 1)
    elif spec["action"] == "full":
        yield from mailbox_full(Protocol.SMTP, ALL_CLIENTS, times)
        yield from mailbox_full(Protocol.IMAP, ALL_CLIENTS, times)
    elif spec["action"] == "slow":
        for protocol in Protocol:
            yield from slow_login(protocol, _number(spec, 5.0), ALL_CLIENTS, times)
    else:
        for protocol in Protocol:
            try:
                action = _action(protocol, spec)
                stages = _stages(protocol, spec["stage"])
                rules = [Rule(protocol, stage, action, ALL_CLIENTS, times) for stage in stages]
            except BadFault:
                continue  # another protocol may have it
            yield from rules


def _stages(protocol: Protocol, word: str | None) -> tuple[str, ...]:
    if word is None:
        return _WITHOUT_STAGE[protocol]
    return LOGIN_STAGES[protocol] if word == "login" else (stage_of(protocol, word),)


def _number(spec: re.Match[str], default: float) -> float:
    return min(MOST_SECONDS, float(spec["number"])) if spec["number"] else default


def _action(protocol: Protocol, spec: re.Match[str]) -> Action:
    """Raises: BadFault."""
    number = spec["number"]
    match spec["action"]:
        case "fail":
            return answer(protocol, True)
        case "delay":
            return Delay(_number(spec, 5.0))
        case "drop" | "reset" as word:
            return Drop(word == "reset")
        case "cut":
            return Cut(int(float(number)) if number else Place.LINE)
        case "throttle":
            return Throttle(max(1, int(float(number or 100))))
        case "garbage":
            return Garbage()
        case "hang":
            return Hang()
    return answer(protocol, spec["action"])
