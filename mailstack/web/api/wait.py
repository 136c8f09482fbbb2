"""Waiting for messages, without asking again and again."""

from __future__ import annotations

from functools import partial

from mailstack.web.catch import Waiter
from mailstack.web.documents import message_document, summary_document
from mailstack.web.filters import FILTERS, Filter, number, seconds
from mailstack.web.mail_api import MailApi
from mailstack.web.rows import Parameter, Row
from mailstack.web.schemas import ref
from mailstack.web.values import JSON, Answer, Call, HttpProblem, answer

TIMEOUT, LONGEST = 10.0, 600.0
"""Seconds: if nothing is said, and at most."""
MOST = 100
"""Messages that can be waited for at once."""
OTHERS = 10
"""Messages that are shown when those that were waited for did not come."""


async def wait(api: MailApi, call: Call) -> Answer:
    """Until there are `count` messages that match, those included which are there already."""
    wanted = Filter.read(call.query)
    count = number(call.query, "count", 1, MOST)
    timeout = seconds(call.query, "timeout", TIMEOUT, LONGEST)
    if api.catch.is_full:
        raise HttpProblem(503, "too-many-waiting", "too many clients wait for messages")
    waiter = Waiter(api.library, wanted, count)
    call.gone.append(lambda: waiter.end(False))
    enough = await api.catch.wait(waiter, timeout)
    found = sorted(waiter.found.values(), key=lambda each: each.listed.order, reverse=True)
    if not enough:
        scope = Filter(account=wanted.account, mailbox=wanted.mailbox, since=wanted.since, after=wanted.after)
        others, _ = await api.library.search(scope, OTHERS)
        raise HttpProblem(
            408, "timeout",
            f"{len(found)} of {count} messages with {wanted.said or 'any content'} came within {timeout:g} s",
            messages=[summary_document(each) for each in found],
            others=[summary_document(each) for each in others if each.listed.id not in waiter.found],
        )  # fmt: skip
    read = await api.library.read_all(found)
    documents = [
        await api.library.made(each, partial(message_document, each, api.catch.arrival(each.found.listed.id)))
        for each in read
    ]
    return answer({"messages": documents})


ROWS = (
    Row(
        "GET", "/api/v1/wait", wait,
        "Wait until messages that match all filters are there, and get them, the newest first. Those that are there "
        "already count. If they do not come in time, the problem (408) lists what did.",
        {JSON: ref("WholeMessages")},
        query=(
            *FILTERS,
            Parameter("count", "How many; 1 if not given.", {"type": "integer", "minimum": 1, "maximum": MOST}),
            Parameter(
                "timeout", f"Seconds; {TIMEOUT:g} if not given.", {"type": "number", "minimum": 0, "maximum": LONGEST}
            ),
        ),
        problems=(400, 408, 503),
    ),
)  # fmt: skip
