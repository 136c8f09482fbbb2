"""Faults as JSON: the HTTP API's form, and that of the test fixtures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mailstack.faults import presets
from mailstack.faults.book import Standing
from mailstack.faults.rules import (
    TLS,
    Action,
    Answer,
    BadFault,
    Certificate,
    Cut,
    Delay,
    Drop,
    Garbage,
    Hang,
    Place,
    Protocol,
    Rule,
    Throttle,
    Where,
    stage_of,
)

WHERE = ("recipient", "sender", "client", "helo", "login")
ACTIONS = ("reply", "delay", "drop", "cut", "throttle", "garbage", "hang", "certificate")
PRESETS = ("greylist", "mailbox-full", "slow-login", "refuse-tls")
KNOWN = frozenset({"protocol", "at", "preset", "seconds", "times", "each", "probability", "seed", *ACTIONS, *WHERE})
MOST_SECONDS = 3600.0
MOST_OCTETS = 1 << 30


def rules_of(document: Mapping[str, Any]) -> list[Rule]:
    """The rules that a document asks for. Raises: BadFault."""
    if unknown := document.keys() - KNOWN:
        raise BadFault(f"unknown: {', '.join(sorted(unknown))}; expected some of {', '.join(sorted(KNOWN))}")
    protocol = _protocol(document)
    where = Where(**{name: _text(document, name) for name in WHERE if name in document})
    times = _number(document, "times", int, 1_000_000) if document.get("times") is not None else None
    if "preset" in document:
        return _preset(document, protocol, where, times)
    action = _action(document, protocol)
    if not isinstance(action, Certificate) and not _text(document, "at"):
        raise BadFault("at: expected where it happens, as RCPT, FETCH or RETR")
    stage = TLS if isinstance(action, Certificate) else stage_of(protocol, _text(document, "at"))
    return [
        Rule(
            protocol, stage, action, where, times,
            each=document.get("each") is True,
            probability=_number(document, "probability", float, 1.0) if "probability" in document else 1.0,
            seed=_number(document, "seed", int, 1 << 62) if "seed" in document else 0,
        )
    ]  # fmt: skip


def _protocol(document: Mapping[str, Any]) -> Protocol:
    try:
        return Protocol(document.get("protocol"))
    except ValueError:
        raise BadFault(f"protocol: expected smtp, imap or pop3, not {document.get('protocol')!r}") from None


def _preset(document: Mapping[str, Any], protocol: Protocol, where: Where, times: int | None) -> list[Rule]:
    match document["preset"]:
        case "greylist" if protocol is Protocol.SMTP:
            return presets.greylist(where, times or 1)
        case "mailbox-full":
            return presets.mailbox_full(protocol, where, times)
        case "slow-login":
            seconds = _number(document, "seconds", float, MOST_SECONDS) if "seconds" in document else 5.0
            return presets.slow_login(protocol, seconds, where, times)
        case "refuse-tls":
            return presets.refuse_tls(protocol, where, times)
    raise BadFault(f"preset: expected one of {', '.join(PRESETS)} (greylist in SMTP), not {document['preset']!r}")


def _action(document: Mapping[str, Any], protocol: Protocol) -> Action:
    given = [name for name in ACTIONS if name in document]
    if len(given) != 1:
        raise BadFault(f"expected one of {', '.join(ACTIONS)}, or a preset; there are {len(given)}")
    return _ACTIONS[given[0]](document, protocol)


def _reply(document: Mapping[str, Any], protocol: Protocol) -> Action:
    reply = document["reply"]
    if reply is not True and not isinstance(reply, int | str) or reply is False:
        raise BadFault("reply: expected a text, a code of SMTP, or true")
    return presets.answer(protocol, reply)


def _drop(document: Mapping[str, Any], _: Protocol) -> Action:
    if document["drop"] not in (True, "reset"):
        raise BadFault('drop: expected true or "reset"')
    return Drop(document["drop"] == "reset")


def _cut(document: Mapping[str, Any], _: Protocol) -> Action:
    after = document["cut"]
    if isinstance(after, str):
        try:
            return Cut(Place(after))
        except ValueError:
            raise BadFault('cut: expected octets, "line" or "literal"') from None
    return Cut(_number(document, "cut", int, MOST_OCTETS))


def _hang(document: Mapping[str, Any], _: Protocol) -> Action:
    if document["hang"] is not True:
        raise BadFault("hang: expected true")
    return Hang()


_ACTIONS: Mapping[str, Callable[[Mapping[str, Any], Protocol], Action]] = {
    "reply": _reply,
    "delay": lambda document, _: Delay(_number(document, "delay", float, MOST_SECONDS)),
    "drop": _drop,
    "cut": _cut,
    "throttle": lambda document, _: Throttle(_number(document, "throttle", int, MOST_OCTETS, least=1)),
    "garbage": lambda document, _: Garbage(_number(document, "garbage", int, 1 << 20, least=1)),
    "hang": _hang,
    "certificate": lambda document, _: Certificate(presets.bad_tls(document["certificate"])),
}


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name, "")
    if not isinstance(value, str):
        raise BadFault(f"{name}: expected a text")
    return value


def _number(document: Mapping[str, Any], name: str, kind: type, most: float, least: float = 0) -> Any:
    value = document[name]
    right = isinstance(value, int) if kind is int else isinstance(value, int | float)
    if isinstance(value, bool) or not right or not least <= value <= most:
        raise BadFault(f"{name}: expected a number from {least:g} to {most:g}")
    return kind(value)


def document_of(standing: Standing) -> dict[str, Any]:
    """The JSON of a rule that is set."""
    rule = standing.rule
    document: dict[str, Any] = {"id": standing.id, "protocol": rule.protocol.value, "at": rule.stage}
    document |= _said(rule.action)
    document |= {name: value for name in WHERE if (value := getattr(rule.where, name))}
    if rule.times is not None:
        document["times"] = rule.times
    if rule.each:
        document["each"] = True
    if rule.probability < 1.0:
        document |= {"probability": rule.probability, "seed": rule.seed}
    return document | {"hits": standing.hits, "left": standing.left}


def _said(action: Action) -> dict[str, Any]:
    match action:
        case Answer(text):
            return {"reply": text}
        case Delay(seconds):
            return {"delay": seconds}
        case Drop(reset):
            return {"drop": "reset" if reset else True}
        case Cut(after):
            return {"cut": after.value if isinstance(after, Place) else after}
        case Throttle(rate):
            return {"throttle": rate}
        case Garbage(octets):
            return {"garbage": octets}
        case Hang():
            return {"hang": True}
        case Certificate(kind):
            return {"certificate": kind.value}
