"""Sending: a message comes into mailboxes as if a program had submitted it."""

from __future__ import annotations

from mailstack.web.filters import TEXT
from mailstack.web.injection import inject
from mailstack.web.mail_api import MailApi
from mailstack.web.rows import Body, Parameter, Row
from mailstack.web.schemas import ref
from mailstack.web.values import JSON, Answer, Call, HttpProblem, answer

RFC822 = "message/rfc822"


async def send(api: MailApi, call: Call) -> Answer:
    """As JSON, or as the message itself."""
    from mailstack.web import drafts  # and `email`, which nobody needs who does not send

    kind = call.content_type.partition(";")[0].strip().lower()
    if kind == JSON:
        draft = drafts.from_json(call.json())
    elif kind == RFC822:
        draft = drafts.from_octets(call.body, call.query.get("from"), call.query.get("to"))
    else:
        raise HttpProblem(415, "unknown-content-type", f"expected Content-Type {JSON} or {RFC822}, not {kind!r}")
    if len(draft.octets) > api.max_message:
        raise HttpProblem(413, "too-large", f"a message has at most {api.max_message} octets")
    sent = await inject(api.submission(), draft.sender, draft.recipients, draft.octets)
    if not sent.delivered:
        replies = [reply for _, reply in sent.refused] or [sent.reply]
        raise HttpProblem(422, "refused", replies[0], replies=replies)
    document = {
        "transaction": sent.transaction,
        "accepted": list(sent.accepted),
        "refused": [{"address": address, "reply": reply} for address, reply in sent.refused],
        "messages": api.catch.messages_of(sent.transaction),
    }
    return answer(document, 201)


ROWS = (
    Row(
        "POST", "/api/v1/messages", send,
        "Send a message: described in JSON, or as it is (message/rfc822). It is in the mailboxes when this is "
        "answered.",
        {JSON: ref("Sent")}, status=201,
        query=(
            Parameter("to", "Of message/rfc822: recipients, parted by commas; To, Cc and Bcc if not given.", TEXT),
            Parameter("from", "Of message/rfc822: the reverse-path; From if not given, null if empty.", TEXT),
        ),
        body=Body({JSON: ref("Draft"), RFC822: {"type": "string", "format": "binary"}}),
        problems=(400, 413, 415, 422),
    ),
)  # fmt: skip
