"""What the API's JSON looks like (JSON Schema 2020-12). Every member that is named here is always there, unless it is
said that it may be missing."""

from __future__ import annotations

from typing import Any

from mailstack.web.fault_schemas import FAULT, NEW_FAULT

_TEXT = {"type": "string"}
_NUMBER = {"type": "integer", "minimum": 0}
_TIME = {"type": ["string", "null"], "format": "date-time"}
_OPTIONAL_TEXT = {"type": ["string", "null"]}


def ref(name: str) -> dict[str, str]:
    """One of SCHEMAS."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(members: dict[str, Any], *, open_: bool = False, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    made = {"type": "object", "properties": members, "required": [name for name in members if name not in optional]}
    return made if open_ else made | {"additionalProperties": False}


def _list(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


_SUMMARY: dict[str, Any] = {
    "id": _TEXT | {"description": "Stays the same for as long as the message is in its mailbox."},
    "account": _TEXT,
    "mailbox": _TEXT,
    "received": _TIME | {"description": "When it came into the mailbox."},
    "size": {"type": ["integer", "null"], "description": "Octets."},
    "flags": _list(_TEXT) | {"description": "IMAP's system flags."},
    "unread": {"type": "boolean"},
    "subject": _TEXT,
    "from": _or_null(ref("Person")),
    "to": _list(ref("Person")),
    "cc": _list(ref("Person")),
    "date": _TIME | {"description": "What the Date field says."},
    "message_id": _TEXT | {"description": "With its angle brackets; empty if there is none."},
}
_MESSAGE: dict[str, Any] = _SUMMARY | {
    "bcc": _list(ref("Person")),
    "reply_to": _list(ref("Person")),
    "text": _TEXT | {"description": "The first text/plain part, decoded, its lines ending in LF; empty if none."},
    "html": _TEXT | {"description": "The first text/html part, as it was sent; empty if none."},
    "links": _list(_TEXT) | {"description": "The http and https URLs of text and HTML."},
    "headers": _list(_object({"name": _TEXT, "value": _TEXT})) | {"description": "In their order, decoded."},
    "attachments": _list(ref("Attachment")) | {"description": "All parts but the text and the HTML."},
    "envelope": _object({"from": _TEXT, "to": _list(_TEXT)})
    | {"description": "MAIL FROM and RCPT TO; of mail from before the server's start, what its trace fields tell."},
    "delivered_to": _OPTIONAL_TEXT | {"description": "The address that brought this copy here."},
    "tls": _or_null(_object({"version": _TEXT, "cipher": _TEXT})),
    "auth_user": _OPTIONAL_TEXT | {"description": "Who had logged in to send it."},
    "smtp": _or_null(ref("Transaction")),
    "raw_url": _TEXT,
    "html_url": _OPTIONAL_TEXT,
}
_ONE_ADDRESS = [_TEXT, _object({"name": _TEXT, "address": _TEXT}, optional=("name",))]
_ADDRESSES: dict[str, Any] = {"anyOf": [*_ONE_ADDRESS, _list({"anyOf": _ONE_ADDRESS})]}
SCHEMAS: dict[str, dict[str, Any]] = {
    "Person": _object({"name": _TEXT, "address": _TEXT}),
    "Summary": _object(_SUMMARY),
    "Message": _object(_MESSAGE),
    "Messages": _object({"messages": _list(ref("Summary")), "more": {"type": "boolean"}}),
    "WholeMessages": _object({"messages": _list(ref("Message"))}),
    "Attachment": _object(
        {
            "part": _TEXT,
            "name": _TEXT,
            "type": _TEXT,
            "disposition": _TEXT,
            "cid": _TEXT,
            "size": _NUMBER | {"description": "Octets, decoded."},
            "url": _TEXT,
        }
    ),
    "Transaction": _object(
        {
            "transaction": _TEXT | {"description": "The id in the Received field and in the log."},
            "protocol": _TEXT | {"description": "As ESMTPSA (RFC 3848)."},
            "helo": _TEXT,
            "peer": _object({"host": _TEXT, "port": _NUMBER}),
            "at": _TIME,
            "dialogue": _list(_TEXT) | {"description": 'What was said: "C: …" and "S: …".'},
        }
    ),
    "Mailboxes": _object(
        {
            "mailboxes": _list(
                _object({"account": _TEXT, "mailbox": _TEXT, "messages": _NUMBER, "unread": _NUMBER}),
            )
        }
    ),
    "Draft": _object(
        {
            "from": _ADDRESSES,
            "to": _ADDRESSES,
            "cc": _ADDRESSES,
            "bcc": _ADDRESSES,
            "reply_to": _ADDRESSES,
            "subject": _TEXT,
            "text": _TEXT,
            "html": _TEXT,
            "headers": {"type": "object", "additionalProperties": _TEXT, "description": "Further fields."},
            "attachments": _list(
                _object(
                    {"name": _TEXT, "type": _TEXT, "cid": _TEXT, "content": _TEXT | {"contentEncoding": "base64"}},
                    optional=("name", "type", "cid"),
                )
            ),
            "envelope_from": _TEXT | {"description": "MAIL FROM, if it is not From; empty for the null one."},
            "envelope_to": _ADDRESSES | {"description": "RCPT TO, if it is not To, Cc and Bcc."},
        },
        optional=(
            "from",
            "to",
            "cc",
            "bcc",
            "reply_to",
            "subject",
            "text",
            "html",
            "headers",
            "attachments",
            "envelope_from",
            "envelope_to",
        ),
    ),  # fmt: skip
    "Sent": _object(
        {
            "transaction": _TEXT,
            "accepted": _list(_TEXT),
            "refused": _list(_object({"address": _TEXT, "reply": _TEXT})),
            "messages": _list(_TEXT) | {"description": "The ids of the copies."},
        }
    ),
    "NewUser": _object({"name": _TEXT, "password": _TEXT}, optional=("password",)),
    "User": _object({"name": _TEXT, "own_password": {"type": "boolean"}}),
    "Users": _object({"users": _list(ref("User"))}),
    "NewFault": NEW_FAULT,
    "Fault": FAULT,
    "Faults": _object({"faults": _list(ref("Fault"))}),
    "Removed": _object({"removed": _TEXT}),
    "Journey": _object(
        {
            "events": _list(
                _object(
                    {
                        "at": _TIME,
                        "transaction": _TEXT,
                        "step": _TEXT,
                        "recipient": _TEXT,
                        "sender": _TEXT,
                        "message_id": _TEXT,
                        "where": _TEXT,
                        "status": _TEXT,
                        "reason": _TEXT,
                    }
                )
            )
        }
    ),
    "Deleted": _object({"deleted": _NUMBER}),
    "Place": _object({"host": _TEXT, "port": _NUMBER}),
    "Ready": _object(
        {"ready": {"const": True}, "version": _TEXT, "pid": _NUMBER, "data": _TEXT, "ca": _OPTIONAL_TEXT}, open_=True
    )
    | {"description": "And where each service listens, by its name.", "additionalProperties": ref("Place")},
    "Problem": _object(
        {
            "type": _TEXT,
            "title": _TEXT,
            "status": _NUMBER,
            "detail": _TEXT,
            "messages": _list(ref("Summary")),
            "others": _list(ref("Summary")),
            "replies": _list(_TEXT),
        },
        optional=("messages", "others", "replies"),
    ),
}
