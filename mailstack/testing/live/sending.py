"""Messages that a test sends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mailstack.testing.live.places import Place

if TYPE_CHECKING:
    from email.message import EmailMessage

Attached = str | Path | tuple[str, bytes] | tuple[str, bytes, str]
"""A file, or a name and octets, with a type if it is not what the name says."""
TIMEOUT = 30.0


def letter(
    sender: str,
    to: Sequence[str],
    cc: Sequence[str],
    subject: str,
    text: str,
    html: str | None,
    attachments: Iterable[Attached],
    headers: Mapping[str, str],
) -> EmailMessage:
    """A message with Date and Message-ID. `headers` stand for those that would be there otherwise."""
    from email.message import EmailMessage
    from email.utils import format_datetime, localtime, make_msgid

    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = sender, ", ".join(to), subject
    if cc:
        made["Cc"] = ", ".join(cc)
    made["Date"] = format_datetime(localtime())
    made["Message-ID"] = make_msgid(domain="example.org")
    for name, value in headers.items():
        del made[name]
        made[name] = value
    made.set_content(text)
    if html is not None:
        made.add_alternative(html, subtype="html")
    for each in attachments:
        name, octets, kind = _attached(each)
        main, _, sub = kind.partition("/")
        made.add_attachment(octets, maintype=main, subtype=sub, filename=name)
    return made


def submit(
    place: Place, login: tuple[str, str] | None, sender: str, recipients: Sequence[str], message: EmailMessage | bytes
) -> None:
    """By SMTP, on a connection of its own. Raises: smtplib.SMTPException, OSError."""
    import smtplib

    # a name is given: asking DNS for ours can take seconds
    with smtplib.SMTP(place.host, place.port, local_hostname="localhost", timeout=TIMEOUT) as client:
        if login is not None:
            client.login(*login)
        envelope = _address(sender)
        if isinstance(message, bytes):
            client.sendmail(envelope, [_address(each) for each in recipients], message)
        else:
            client.send_message(message, envelope, [_address(each) for each in recipients])


def _address(text: str) -> str:
    from email.utils import parseaddr

    return parseaddr(text)[1] or text


def _attached(given: Attached) -> tuple[str, bytes, str]:
    from mimetypes import guess_type

    if isinstance(given, str | Path):
        given = (Path(given).name, Path(given).read_bytes())
    name, octets, *kind = given
    return name, octets, str(kind[0]) if kind else guess_type(name)[0] or "application/octet-stream"
