"""Users: they exist as soon as mail or a login for them comes; here they can be made, given a password, and removed."""

from __future__ import annotations

from mailstack.ports import AccountName
from mailstack.store.clearing import remove_account
from mailstack.web.filters import named
from mailstack.web.mail_api import MailApi
from mailstack.web.rows import Body, Row
from mailstack.web.schemas import ref
from mailstack.web.values import JSON, Answer, Call, HttpProblem, answer


async def users(api: MailApi, call: Call) -> Answer:
    """All that exist."""
    names = await api.library.accounts()
    return answer({"users": [_document(api, name) for name in names]})


async def make_user(api: MailApi, call: Call) -> Answer:
    """With its usual mailboxes. One that exists gets the password, if there is one."""
    document = call.json()
    given, password = document.get("name"), document.get("password", "")
    if not isinstance(given, str) or not isinstance(password, str) or set(document) - {"name", "password"}:
        raise HttpProblem(400, "bad-user", 'expected {"name": "alice@example.org"}, with or without a "password"')
    name = named("name", given)
    await api.store.account(name)
    if password:
        api.accounts.set_password(name, password)
    return answer(_document(api, name), 201)


async def remove_user(api: MailApi, call: Call) -> Answer:
    """With all mail and the password."""
    name = named("name", call.path["name"])
    await remove_account(api.store, name)
    api.accounts.set_password(name, "")
    return answer({"removed": name})


def _document(api: MailApi, name: AccountName) -> dict[str, object]:
    return {"name": name, "own_password": api.accounts.has_own_password(name)}


ROWS = (
    Row("GET", "/api/v1/users", users, "The users that exist.", {JSON: ref("Users")}),
    Row(
        "POST", "/api/v1/users", make_user,
        "Make a user before there is mail for it, or give it a password of its own: then no other one logs in.",
        {JSON: ref("User")}, status=201, body=Body({JSON: ref("NewUser")}), problems=(400,),
    ),
    Row(
        "DELETE", "/api/v1/users/{name}", remove_user, "Remove a user with all its mail.", {JSON: ref("Removed")},
        names=("An address, or a name without domain.",), problems=(400, 404),
    ),
)  # fmt: skip
