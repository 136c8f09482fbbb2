"""Delivery status notifications as messages (RFC 3464, RFC 6522; RFC 6533 for addresses in UTF-8)."""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from mailstack.mail import header as headers
from mailstack.mail import trace
from mailstack.mail.address import Address
from mailstack.mail.message_ids import message_ids

MAX_HEADER = 32 * 1024
"""Octets of the reported message's header that are given back; whole lines of it."""
MAX_DIAGNOSTIC = 2000
"""Characters of what another server said."""
MAX_BOUNDARY = 70
"""RFC 2046 §5.1.1."""
LINE = 76
"""Characters, after which a field is folded."""


class Action(Enum):
    """What became of the message for one recipient (RFC 3464 §2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """One recipient: `status` is an enhanced status code, `orcpt` as of RcptParameters, `diagnostic` what another
    server said, or, if `remote` is "", what we say, in one line, "" if nothing is to be said; `remote` is the host name
    of that server. Times in seconds since the epoch, None where there is none: `last_attempt`, and `retry_until`, when
    a delayed message is given up."""

    final: Address
    action: Action
    status: str
    orcpt: str = ""
    diagnostic: str = ""
    remote: str = ""
    last_attempt: float | None = None
    retry_until: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """One report. `mta` is the host that reports, `id` unique to it, `when` the time of the report and `arrived`
    that of the message, in seconds since the epoch; `subject` and `text` (lines) are for people; `header` is the
    message's, in CRLF lines. `queue_id` is what the log calls the message, "" if it was in no queue. `whole`: the
    message follows, and not only its header. `smtputf8` and `eight_bit` are said of the message."""

    to: Address
    mta: str
    id: str
    when: float
    arrived: float
    subject: str
    text: Sequence[str]
    recipients: Sequence[RecipientStatus]
    envid: str = ""
    header: bytes = b""
    queue_id: str = ""
    deliver_by: float | None = None
    """When the message should have been there, in seconds since the epoch, if its sender said so (RFC 2852)."""
    whole: bool = False
    smtputf8: bool = False
    eight_bit: bool = False

    @property
    def needs_utf8(self) -> bool:
        """Whether it has an address that only UTF-8 can write (RFC 6533 §4)."""
        return (
            not all(each.isascii() for status in self.recipients for each in (str(status.final), status.orcpt))
            or not str(self.to).isascii()
        )


class Frame(NamedTuple):
    """A report around a message that lies elsewhere: what goes before it, and behind it. `eight_bit` is said of
    the three together."""

    prefix: bytes
    suffix: bytes
    eight_bit: bool


def message(report: Report) -> bytes:
    """The whole message, which goes out with the null reverse-path. It has the header of the other one."""
    assert not report.whole, "a message that is given back as a whole is not in memory"
    prefix, suffix, _ = frame(report)
    return prefix + suffix


def frame(report: Report) -> Frame:
    """What goes around the message, if it is given back as a whole; if only its header is, that is in the prefix."""
    boundary = f"{report.id}.{int(report.when)}/{report.mta}"[:MAX_BOUNDARY]
    wide = report.needs_utf8
    returned = b"" if report.whole else _cut(report.header)
    eight_bit_part = report.eight_bit if report.whole else not returned.isascii()
    text_fields, text = _text(report.text, wide)
    head = (
        f"From: Mail Delivery System <postmaster@{report.mta}>",
        f"To: <{report.to}>",
        f"Subject: {report.subject}",
        *_about(report.header),
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"',
        *_encoding(wide or eight_bit_part),
        "",
        f"--{boundary}",
        *text_fields,
        "",
        text,
        "",
        f"--{boundary}",
        f"Content-Type: {'message/global-delivery-status' if wide else 'message/delivery-status'}",
        *_encoding(wide),
        "",
        *_status(report, wide),
        f"--{boundary}",
        f"Content-Type: {_returned_type(report, wide)}",
        *_encoding(eight_bit_part),
        "",
        "",
    )
    prefix = b"".join(
        (
            trace.date(report.when),
            trace.message_id(report.id, report.when, report.mta),
            "\r\n".join(head).encode(),
            returned,
        )
    )
    return Frame(prefix, f"\r\n--{boundary}--\r\n".encode(), wide or eight_bit_part)


def _encoding(eight_bit: bool) -> tuple[str, ...]:
    return ("Content-Transfer-Encoding: 8bit",) if eight_bit else ()


def _text(lines: Sequence[str], wide: bool) -> tuple[list[str], str]:
    """The fields of the part for people, and its text: in UTF-8 only where it must be, and then in 7 bits where the
    rest has no more."""
    text = "\r\n".join(lines)
    if text.isascii():
        return ["Content-Type: text/plain; charset=us-ascii"], text
    octets = text.encode("utf-8", "replace")
    if wide:
        return ["Content-Type: text/plain; charset=utf-8", *_encoding(True)], octets.decode()
    printable = binascii.b2a_qp(octets).decode()
    return ["Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: quoted-printable"], printable


def _returned_type(report: Report, wide: bool) -> str:
    # RFC 6533 §4.4: where all is ASCII, the traditional types may be used
    if report.whole:
        return "message/global" if report.smtputf8 and not report.header.isascii() else "message/rfc822"
    return "message/global-headers" if wide or not report.header.isascii() else "text/rfc822-headers"


def _about(header: bytes) -> list[str]:
    """Which message this answers (RFC 3834 §3.1.5), so that it is shown beside it."""
    value = b"".join(headers.values(header).get(b"message-id", [])[:1])
    found = message_ids(headers.unfold(value))
    if len(found) != 1 or len(found[0]) > MAX_BOUNDARY * 10 or not re.fullmatch(rb"[!-;=?-~]+", found[0]):
        return []
    about = found[0].decode()
    return [f"In-Reply-To: <{about}>", f"References: <{about}>"]


def _status(report: Report, wide: bool) -> list[str]:
    # delivery-status-content = per-message-fields 1*( CRLF per-recipient-fields )   ; RFC 3464 §2.1
    lines = [f"Original-Envelope-Id: {report.envid}"] if report.envid else []
    lines += [f"Reporting-MTA: dns; {report.mta}", f"Arrival-Date: {trace.date_time(report.arrived)}"]
    if report.deliver_by is not None:
        # deliver-by-date-field = "Deliver-by-date" ":" date-time   ; RFC 2852 §5
        lines.append(f"Deliver-By-Date: {trace.date_time(report.deliver_by)}")
    if report.queue_id:  # RFC 3464 §2.4: the name of the program comes first
        lines.append(f"X-Mailstack-Queue-ID: {report.queue_id}")
    lines.append("")
    for each in report.recipients:
        lines += [*_of_recipient(each, wide), ""]
    return lines


def _of_recipient(each: RecipientStatus, wide: bool) -> list[str]:
    # per-recipient-fields   ; RFC 3464 §2.3, in the order of its grammar
    lines = []
    if each.orcpt:
        kind, _, address = each.orcpt.partition(";")
        lines.append(f"Original-Recipient: {kind}; {address}")
    lines.append(f"Final-Recipient: {'rfc822' if each.final.is_ascii else 'utf-8'}; {each.final}")
    lines += [f"Action: {each.action.value}", f"Status: {each.status}"]
    if each.remote:
        lines.append(f"Remote-MTA: dns; {_one_line(each.remote, False)}")
    if each.diagnostic:
        kind = "smtp" if each.remote else "x-mailstack"
        lines.append(_folded(f"Diagnostic-Code: {kind}; {_one_line(each.diagnostic, wide)}"))
    if each.last_attempt is not None:
        lines.append(f"Last-Attempt-Date: {trace.date_time(each.last_attempt)}")
    if each.retry_until is not None and each.action is Action.DELAYED:
        lines.append(f"Will-Retry-Until: {trace.date_time(each.retry_until)}")
    return lines


def _one_line(text: str, wide: bool) -> str:
    """What others said, without what would end the field or could not be written in it."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", " ", text).strip()[:MAX_DIAGNOSTIC]
    return text if wide else text.encode("ascii", "replace").decode()


def _folded(field: str) -> str:
    """With line ends before spaces (RFC 5322 §2.2.3), so that unfolding gives the same text; what has no space
    for too long is cut where a line may not go on (RFC 5322 §2.1.1)."""
    lines, rest = list[str](), field
    while len(rest) > LINE:
        at = rest.rfind(" ", 1, LINE)
        if at < 0 or not rest[:at].strip():
            at = rest.find(" ", LINE)
        if at < 0 or at > 900:
            at = 900 if len(rest) > 900 else len(rest)
        lines.append(rest[:at])
        rest = rest[at:] if not rest[at:] or rest[at] == " " else f" {rest[at:]}"
    if rest.strip():
        lines.append(rest)
    return "\r\n".join(lines)


def _cut(header: bytes) -> bytes:
    return header if len(header) <= MAX_HEADER else header[: header.rfind(b"\n", 0, MAX_HEADER) + 1]
