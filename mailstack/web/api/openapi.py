"""The API's own description."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailstack.web.mail_api import MailApi
from mailstack.web.rows import Row
from mailstack.web.values import JSON, Answer, Call, answer


def rows(resources: Callable[[], Sequence[Row]]) -> tuple[Row, ...]:
    """`resources` are all of them, this one too."""

    async def openapi(api: MailApi, call: Call) -> Answer:
        from mailstack.web.description import description

        return answer(description(resources()))

    about = "This API as an OpenAPI 3.1 document."
    return (Row("GET", "/api/v1/openapi.json", openapi, about, {JSON: {"type": "object"}}),)
