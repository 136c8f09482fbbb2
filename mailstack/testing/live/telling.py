"""Mail in the texts of failures."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailstack.testing.live.message import Message

TEXT_LINES, DIALOGUE_LINES, LIST = 30, 60, 20
"""That are shown of one message; messages of a list."""
WIDTH = 300
"""Characters of a line."""


def line(message: Message) -> str:
    """A message on one line."""
    came = message.received.strftime("%H:%M:%S.%f")[:12] if message.received else "?"
    where = "" if message.mailbox == "INBOX" else f" in {message.mailbox}"
    sender = message.sender or message.envelope_from or "nobody"
    to = ", ".join(message.to or message.envelope_to) or "nobody"
    return cut(f"{came}  {message.subject!r} from {sender} to {to}{where}")


def listed(messages: Sequence[Message]) -> str:
    """Several, numbered."""
    shown = [f"  {number}  {line(each)}" for number, each in enumerate(messages[:LIST], 1)]
    more = len(messages) - LIST
    return "\n".join(shown + ([f"  … and {more} more"] if more > 0 else []))


def whole(message: Message) -> str:
    """A message, and how it came. Never fails: it is called while something else has."""
    try:
        return f"{_content(message)}\n{dialogue(message)}"
    except Exception as error:
        return f"  (the message cannot be shown: {error})"


def dialogue(message: Message) -> str:
    """The SMTP dialogue, and what of its connection matters."""
    lines = _without_extensions(message.dialogue)
    if not lines:
        return "  no SMTP dialogue is known of it"
    login = f", {message.auth_user} had logged in" if message.auth_user else ""
    head = f"  SMTP dialogue ({message.tls or 'without TLS'}{login}):"
    shown = lines if len(lines) <= DIALOGUE_LINES else [*lines[: DIALOGUE_LINES - 10], "…", *lines[-9:]]
    return "\n".join([head, *(cut(f"    {each}") for each in shown)])


def _without_extensions(lines: Sequence[str]) -> list[str]:
    """Of the answer to EHLO, the first line and how many there are."""
    shown: list[str] = []
    hidden = 0
    for each in lines:
        if each.startswith("S: 250-") and shown and shown[-1].startswith("S: 250-"):
            hidden += 1
            continue
        if hidden:
            shown.append(f"   … {hidden} extensions")
            hidden = 0
        shown.append(each)
    return shown


def _content(message: Message) -> str:
    head = [
        f"From: {message.sender.shown}",
        f"To: {', '.join(each.shown for each in message.to)}",
        *([f"Cc: {', '.join(each.shown for each in message.cc)}"] if message.cc else []),
        f"Subject: {message.subject}",
        f"Envelope: from <{message.envelope_from}> to {', '.join(f'<{each}>' for each in message.envelope_to)}",
    ]
    body, kind = (message.text, "text") if message.text.strip() else (message.page.text, "HTML")
    lines = body.splitlines()
    more = [f"… and {len(lines) - TEXT_LINES} lines more"] if len(lines) > TEXT_LINES else []
    files = [f"[attachment {each.name!r} {each.type} of {each.size} octets]" for each in message.attachments]
    parts = [*head, f"({kind})" if lines else "(no text)", *lines[:TEXT_LINES], *more, *files]
    return "\n".join(cut(f"  | {each}") for each in parts)


def difference(expected: str, found: str) -> str:
    """Where two texts differ: - what was expected, + what there is."""
    lines = difflib.ndiff(expected.splitlines() or [""], found.splitlines() or [""])
    return "\n".join(cut(f"  {each.rstrip()}") for each in lines)


def nearest_line(wanted: str, text: str) -> str:
    """The line of a text that is most like what was looked for, as ", but: …"; "" if none is."""
    lines = [each.strip() for each in text.splitlines() if each.strip()]
    near = difflib.get_close_matches(wanted, lines, 1, 0.5)
    if not near:
        lowered = [each for each in lines if wanted.lower() in each.lower()]
        if not lowered:
            return ""
        near = lowered[:1]
    return f", but this is:\n{difference(wanted, near[0])}"


def cut(text: str) -> str:
    """At WIDTH, without control characters."""
    shown = "".join(each if each.isprintable() else "�" for each in text)
    return shown if len(shown) <= WIDTH else shown[: WIDTH - 1] + "…"
