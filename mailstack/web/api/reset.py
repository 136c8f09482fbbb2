"""Everything as at the beginning, between two tests."""

from __future__ import annotations

from mailstack.store.clearing import clear
from mailstack.web.mail_api import MailApi
from mailstack.web.rows import Row
from mailstack.web.schemas import ref
from mailstack.web.values import JSON, Answer, Call, answer


async def reset(api: MailApi, call: Call) -> Answer:
    """All mail is gone, mailboxes stay; IMAP sessions are told before this is answered."""
    deleted = await clear(api.store)
    api.catch.forget()
    api.journal.forget()
    for undo in api.resets:
        undo()
    return answer({"deleted": deleted})


ROWS = (
    Row(
        "POST", "/api/v1/reset", reset,
        "Delete all messages of all accounts, and end all faults. Mailboxes, users and sessions stay.",
        {JSON: ref("Deleted")},
    ),
)  # fmt: skip
