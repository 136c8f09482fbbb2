"""Faults on demand: what goes wrong, where and for whom."""

from __future__ import annotations

from mailstack.faults.book import Standing, TooManyFaults
from mailstack.faults.documents import document_of, rules_of
from mailstack.faults.rules import BadFault
from mailstack.web.mail_api import MailApi
from mailstack.web.rows import Body, Row
from mailstack.web.schemas import ref
from mailstack.web.values import JSON, Answer, Call, HttpProblem, answer


async def faults(api: MailApi, call: Call) -> Answer:
    """The oldest first."""
    return _answer(api.faults.standing)


async def set_fault(api: MailApi, call: Call) -> Answer:
    """One; a preset may be several."""
    try:
        rules = rules_of(call.json())
        return _answer([api.faults.add(rule) for rule in rules], 201)
    except BadFault as bad:
        raise HttpProblem(400, "bad-fault", str(bad)) from None
    except TooManyFaults as many:
        raise HttpProblem(409, "too-many-faults", str(many)) from None


async def remove_faults(api: MailApi, call: Call) -> Answer:
    """All."""
    standing = api.faults.standing
    api.faults.clear()
    return _answer(standing)


async def fault(api: MailApi, call: Call) -> Answer:
    """One."""
    return answer(document_of(_found(api, call)))


async def remove_fault(api: MailApi, call: Call) -> Answer:
    """One."""
    found = _found(api, call)
    api.faults.remove(found.id)
    return answer(document_of(found))


def _found(api: MailApi, call: Call) -> Standing:
    """Raises: HttpProblem."""
    found = api.faults.find(call.path["id"])
    if found is None:
        raise HttpProblem(404, "no-such-fault", f"there is no fault {call.path['id']!r}")
    return found


def _answer(standing: tuple[Standing, ...] | list[Standing], status: int = 200) -> Answer:
    return answer({"faults": [document_of(each) for each in standing]}, status)


_ID = ("The fault's id.",)
ROWS = (
    Row("GET", "/api/v1/faults", faults, "What is set, and how often it has struck.", {JSON: ref("Faults")}),
    Row(
        "POST", "/api/v1/faults", set_fault,
        "Make something go wrong (docs/faults.md). A preset becomes several faults.",
        {JSON: ref("Faults")}, status=201, body=Body({JSON: ref("NewFault")}), problems=(400, 409),
    ),
    Row("DELETE", "/api/v1/faults", remove_faults, "End all faults.", {JSON: ref("Faults")}),
    Row("GET", "/api/v1/faults/{id}", fault, "One fault.", {JSON: ref("Fault")}, names=_ID, problems=(404,)),
    Row("DELETE", "/api/v1/faults/{id}", remove_fault, "End one fault.", {JSON: ref("Fault")}, names=_ID,
        problems=(404,)),
)  # fmt: skip
