"""What happened to a message, from its arrival to each of its recipients."""

from __future__ import annotations

from mailstack.web.content import timestamp
from mailstack.web.mail_api import MailApi
from mailstack.web.rows import Row
from mailstack.web.schemas import ref
from mailstack.web.values import JSON, Answer, Call, HttpProblem, answer


async def journey(api: MailApi, call: Call) -> Answer:
    """By Message-ID, by the transaction's id, or by the API's id of one of its copies."""
    asked = call.path["id"]
    arrival = api.catch.arrival(asked)
    found = api.journal.find(arrival.id if arrival else asked)
    if not found:
        raise HttpProblem(404, "no-such-journey", f"nothing is known of {asked[:200]!r}")
    events = [
        {
            "at": timestamp(event.at),
            "transaction": event.journey,
            "step": event.step.value,
            "recipient": event.recipient,
            "sender": event.sender,
            "message_id": event.message_id,
            "where": event.where,
            "status": event.status,
            "reason": event.reason,
        }
        for event in found
    ]
    return answer({"events": events})


ROWS = (
    Row(
        "GET", "/api/v1/journeys/{id}", journey, "What happened to a message, also to one that was refused.",
        {JSON: ref("Journey")}, problems=(404,),
        names=("A Message-ID, with or without angle brackets; a transaction's id; or the id of a message here.",),
    ),
)  # fmt: skip
