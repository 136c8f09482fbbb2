"""All mailboxes and how much is in them."""

from __future__ import annotations

from mailstack.web.filters import FILTERS, Filter
from mailstack.web.mail_api import MailApi
from mailstack.web.rows import Row
from mailstack.web.schemas import ref
from mailstack.web.values import JSON, Answer, Call, answer


async def mailboxes(api: MailApi, call: Call) -> Answer:
    """Of all accounts, or of one."""
    counted = await api.library.counted(Filter.read(call.query).account)
    rows = [
        {"account": account, "mailbox": mailbox, "messages": messages, "unread": unread}
        for account, mailbox, messages, unread in counted
    ]
    return answer({"mailboxes": rows})


ROWS = (
    Row(
        "GET", "/api/v1/mailboxes", mailboxes, "All mailboxes, with how many messages they have.",
        {JSON: ref("Mailboxes")}, query=FILTERS[:1],
    ),
)  # fmt: skip
