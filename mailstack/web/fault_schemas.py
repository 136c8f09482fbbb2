"""The JSON Schemas of faults."""

from __future__ import annotations

from typing import Any

from mailstack.faults.documents import MOST_OCTETS, MOST_SECONDS, PRESETS, WHERE
from mailstack.faults.rules import BadTls

_TEXT = {"type": "string"}
_SECONDS = {"type": "number", "minimum": 0, "maximum": MOST_SECONDS}
_ACTIONS: dict[str, Any] = {
    "reply": {"type": ["integer", "string", "boolean"], "description": "Refused with these words."},
    "delay": _SECONDS | {"description": "Done so many seconds later."},
    "drop": {"enum": [True, "reset"], "description": "The connection closes, or is reset."},
    "cut": {
        "type": ["integer", "string"],
        "description": "The connection closes after so many octets of the reply, or in its first line or literal.",
    },
    "throttle": {"type": "integer", "minimum": 1, "maximum": MOST_OCTETS, "description": "Octets a second."},
    "garbage": {"type": "integer", "minimum": 1, "maximum": 1 << 20, "description": "Octets of chance."},
    "hang": {"const": True, "description": "Nothing is read or said any more."},
    "certificate": {"enum": [each.value for each in BadTls]},
}
_COMMON: dict[str, Any] = {
    "protocol": {"enum": ["smtp", "imap", "pop3"]},
    "at": _TEXT | {"description": "A command, CONNECT, MESSAGE or *."},
    "times": {"type": ["integer", "null"], "minimum": 1},
    "each": {"type": "boolean", "description": "Count `times` for each client, sender and recipient."},
    "probability": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    "seed": {"type": "integer", "minimum": 0},
    **dict.fromkeys(WHERE, _TEXT),
    **_ACTIONS,
}
NEW_FAULT: dict[str, Any] = {
    "type": "object",
    "properties": _COMMON | {"preset": {"enum": list(PRESETS)}, "seconds": _SECONDS},
    "required": ["protocol"],
    "additionalProperties": False,
}
FAULT: dict[str, Any] = {
    "type": "object",
    "properties": _COMMON
    | {
        "id": _TEXT,
        "hits": {"type": "integer", "description": "How often it has struck."},
        "left": {"type": ["integer", "null"], "description": "How often it will yet; null: for ever, or not known."},
    },
    "required": ["id", "protocol", "at", "hits", "left"],
    "additionalProperties": False,
}
