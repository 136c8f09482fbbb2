"""Messages: listed, searched, read and deleted."""

from __future__ import annotations

from functools import partial

from mailstack.ports import AccountName
from mailstack.store.clearing import clear
from mailstack.store.maildir.listing import Listed
from mailstack.web.content import with_parts
from mailstack.web.documents import message_document, place_of, summary_document
from mailstack.web.filters import FILTERS, TEXT, Filter, number
from mailstack.web.library import Read
from mailstack.web.mail_api import MailApi
from mailstack.web.rows import Parameter, Row
from mailstack.web.schemas import ref
from mailstack.web.values import JSON, Answer, Call, HttpProblem, answer

LIMIT, MOST = 50, 1000
"""Messages of one list: if nothing is said, and at most."""
OCTETS = {"type": "string", "format": "binary"}
_RAW = {"Content-Security-Policy": "sandbox; default-src 'none'"}
_PAGE = {
    # allow-same-origin lets images of the message itself load; without allow-scripts nothing runs.
    "Content-Security-Policy": "sandbox allow-same-origin; default-src 'none'; img-src 'self' data:; "
    "style-src 'unsafe-inline'; font-src data:; media-src 'self' data:; form-action 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
}
_SHOWN = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml", "text/plain", "application/pdf")
"""Types that a browser may show by itself; it downloads the others."""
LIMITED = Parameter(
    "limit", f"At most so many, the newest; {LIMIT} if not given.", {"type": "integer", "minimum": 1, "maximum": MOST}
)


async def messages(api: MailApi, call: Call) -> Answer:
    """The newest first."""
    most = number(call.query, "limit", LIMIT, MOST)
    found, more = await api.library.search(Filter.read(call.query), most)
    return answer({"messages": [summary_document(each) for each in found], "more": more})


async def message(api: MailApi, call: Call) -> Answer:
    """All of one."""
    read = await _read(api, call)
    arrival = api.catch.arrival(read.found.listed.id)
    return await api.library.made(read, lambda: answer(message_document(read, arrival)))


async def raw(api: MailApi, call: Call) -> Answer:
    """As it lies in the mailbox."""
    return Answer((await _read(api, call)).content.octets, "message/rfc822", headers=_RAW)


async def html(api: MailApi, call: Call) -> Answer:
    """Its HTML, as a page that can do nothing."""
    read = await _read(api, call)
    if read.content.html is None:
        raise HttpProblem(404, "no-html", "the message has no HTML")
    place = place_of(read.found.listed.id)
    page = await api.library.made(read, lambda: with_parts(read.content, place).encode("utf-8", "replace"))
    return Answer(page, "text/html; charset=utf-8", headers=_PAGE)


async def part(api: MailApi, call: Call) -> Answer:
    """One part, decoded."""
    read = await _read(api, call)
    leaf = read.content.leaf(call.path["part"])
    if leaf is None:
        known = ", ".join(leaf.number for leaf in read.content.leaves[:50])
        raise HttpProblem(404, "no-such-part", f"the message has no part {call.path['part']!r}; it has {known}")
    kind = f"{leaf.type}; charset={leaf.charset}" if leaf.charset else leaf.type
    shown = "inline" if leaf.type in _SHOWN else "attachment"
    named = f"; filename*=UTF-8''{_quoted(leaf.name)}" if leaf.name else ""
    content = await api.library.made(read, lambda: leaf.decoded(read.content.octets))
    return Answer(content, kind, headers=_RAW | {"Content-Disposition": shown + named})


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="", errors="replace")


async def delete_one(api: MailApi, call: Call) -> Answer:
    """For good, not into the trash."""
    found = await api.library.find(call.path["id"])
    if found is None:
        raise _unknown(call)

    def chosen(account: AccountName, listed: list[Listed]) -> list[Listed]:
        return [each for each in listed if each.id == call.path["id"]]

    return answer({"deleted": await clear(api.store, chosen, [found.account])})


async def delete(api: MailApi, call: Call) -> Answer:
    """All that match; without a filter all there are."""
    wanted = Filter.read(call.query)
    only = [] if wanted.account is None else [wanted.account]
    return answer({"deleted": await clear(api.store, partial(api.library.chosen, wanted), only)})


async def _read(api: MailApi, call: Call) -> Read:
    """Raises: HttpProblem."""
    read = await api.library.read(call.path["id"])
    if read is None:
        raise _unknown(call)
    return read


def _unknown(call: Call) -> HttpProblem:
    return HttpProblem(404, "no-such-message", f"there is no message {call.path['id']!r}")


_ONE = "/api/v1/messages/{id}"
_ID = ("The message's id, from a list.",)
ROWS = (
    Row(
        "GET", "/api/v1/messages", messages, "Messages that match all filters, the newest first.",
        {JSON: ref("Messages")}, query=(*FILTERS, LIMITED), problems=(400,),
    ),
    Row(
        "DELETE", "/api/v1/messages", delete, "Delete the messages that match all filters; without any, all there are.",
        {JSON: ref("Deleted")}, query=FILTERS, problems=(400,),
    ),
    Row("GET", _ONE, message, "One message, taken apart.", {JSON: ref("Message")}, names=_ID, problems=(404,)),
    Row("DELETE", _ONE, delete_one, "Delete one message.", {JSON: ref("Deleted")}, names=_ID, problems=(404,)),
    Row("GET", _ONE + "/raw", raw, "Its octets.", {"message/rfc822": OCTETS}, names=_ID, problems=(404,)),
    Row(
        "GET", _ONE + "/html", html,
        "Its HTML, with cid: URLs led to its parts. The page may run nothing and load nothing from elsewhere.",
        {"text/html": TEXT}, names=_ID, problems=(404,),
    ),
    Row(
        "GET", _ONE + "/parts/{part}", part, "One part, decoded, with its own type.", {"*/*": OCTETS},
        names=(*_ID, "The part's number, as 2 or 1.2; a message without parts has 1."), problems=(404,),
    ),
)  # fmt: skip
