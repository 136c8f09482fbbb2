"""Delivery status notifications as messages (RFC 3464, RFC 6522; RFC 6533 for addresses in UTF-8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from mailstack.mail import trace
from mailstack.mail.address import Address

MAX_HEADER = 32 * 1024
"""Octets of the reported message's header that are given back; whole lines of it."""


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
    server said, in one line, "" if none did."""

    final: Address
    action: Action
    status: str
    orcpt: str = ""
    diagnostic: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """One report. `mta` is the host that reports, `id` unique to it, `when` the time of the report and `arrived`
    that of the message, in seconds since the epoch; `subject` and `text` (lines) are for people; `header` is the
    message's, in CRLF lines."""

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

    @property
    def needs_utf8(self) -> bool:
        """Whether it has an address that only UTF-8 can write (RFC 6533 §4)."""
        return (
            not all(each.isascii() for status in self.recipients for each in (str(status.final), status.orcpt))
            or not str(self.to).isascii()
        )


def message(report: Report) -> bytes:
    """The whole message, which goes out with the null reverse-path."""
    boundary = f"{report.id}.{int(report.when)}/{report.mta}"
    wide = report.needs_utf8
    status = "message/global-delivery-status" if wide else "message/delivery-status"
    returned = _cut(report.header)
    returned_type = "message/global-headers" if wide else "text/rfc822-headers"
    head = (
        f"From: Mail Delivery System <postmaster@{report.mta}>",
        f"To: <{report.to}>",
        f"Subject: {report.subject}",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"',
        *(("Content-Transfer-Encoding: 8bit",) if wide or not returned.isascii() else ()),
        "",
        f"--{boundary}",
        f"Content-Type: text/plain; charset={'utf-8' if wide else 'us-ascii'}",
        *(("Content-Transfer-Encoding: 8bit",) if wide else ()),
        "",
        *report.text,
        "",
        f"--{boundary}",
        f"Content-Type: {status}",
        *(("Content-Transfer-Encoding: 8bit",) if wide else ()),
        "",
        *_status(report),
        f"--{boundary}",
        f"Content-Type: {returned_type}",
        *(("Content-Transfer-Encoding: 8bit",) if not returned.isascii() else ()),
        "",
        "",
    )
    return b"".join(
        (
            trace.date(report.when),
            trace.message_id(report.id, report.when, report.mta),
            "\r\n".join(head).encode(),
            returned,
            f"\r\n--{boundary}--\r\n".encode(),
        )
    )


def _status(report: Report) -> list[str]:
    # delivery-status-content = per-message-fields 1*( CRLF per-recipient-fields )   ; RFC 3464 §2.1
    lines = [f"Original-Envelope-Id: {report.envid}"] if report.envid else []
    lines += [f"Reporting-MTA: dns; {report.mta}", f"Arrival-Date: {trace.date_time(report.arrived)}", ""]
    for each in report.recipients:
        if each.orcpt:
            kind, _, address = each.orcpt.partition(";")
            lines.append(f"Original-Recipient: {kind}; {address}")
        lines.append(f"Final-Recipient: {'rfc822' if each.final.is_ascii else 'utf-8'}; {each.final}")
        lines += [f"Action: {each.action.value}", f"Status: {each.status}"]
        if each.diagnostic:
            lines.append(f"Diagnostic-Code: smtp; {each.diagnostic}")
        lines.append("")
    return lines


def _cut(header: bytes) -> bytes:
    return header if len(header) <= MAX_HEADER else header[: header.rfind(b"\n", 0, MAX_HEADER) + 1]
