"""What waits, as the columns of a row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mailstack.handover import Outcome, Verdict
from mailstack.ports import Envelope
from mailstack.queue.envelopes import envelope_of
from mailstack.queue.items import Item, Waiting


def waiting_of(row: Any, envelopes: dict[str, Envelope]) -> Waiting:
    """What a row of `database._WAITING` says. `envelopes` are those of items that were read before. Raises: ValueError,
    KeyError, TypeError, AttributeError."""
    (item, destination, recipients, due, attempts, priority, held, warn_at, last, last_at,
     arrived, expires, start, size, text) = row  # fmt: skip
    envelope = envelopes.get(item)
    if envelope is None:
        envelope = envelopes[item] = envelope_of(json.loads(text))
    numbers = tuple(json.loads(recipients))
    if not numbers or any(number not in range(len(envelope.recipients)) for number in numbers):
        raise ValueError(f"recipients {recipients} of {len(envelope.recipients)}")
    return Waiting(
        Item(item, envelope, arrived, expires, start, size), destination, numbers, due, attempts, priority,
        held, warn_at, outcomes_of(last), last_at,
    )  # fmt: skip


def numbers_text(numbers: Sequence[int]) -> str:
    """As json.dumps has it."""
    return f"[{', '.join(map(str, numbers))}]"


def outcomes_text(outcomes: dict[int, Outcome]) -> str:
    if not outcomes:
        return ""
    return json.dumps(
        [
            [number, each.verdict.value, each.status, each.text, each.mta, each.remote]
            for number, each in outcomes.items()
        ]
    )


def outcomes_of(text: str) -> dict[int, Outcome]:
    if not text:
        return {}
    return {
        number: Outcome(Verdict(verdict), status, what, mta, remote)
        for number, verdict, status, what, mta, remote in json.loads(text)
    }
