"""Whether the server is there, and where it listens."""

from __future__ import annotations

import mailstack
from mailstack.web.mail_api import MailApi
from mailstack.web.rows import Row
from mailstack.web.schemas import ref
from mailstack.web.values import JSON, Answer, Call, answer


async def ready(api: MailApi, call: Call) -> Answer:
    """What the ready file says."""
    return answer({"ready": True, "version": mailstack.__version__, **api.ready()})


ROWS = (Row("GET", "/api/v1/ready", ready, "Whether the server is there, and where it listens.", {JSON: ref("Ready")}),)
