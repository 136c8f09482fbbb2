"""Reports on queued mail: what they look like to the octet (tests/golden/reports), that others' code can read them, and
who is told what. `MAILSTACK_GOLDEN=write` in the environment writes the golden files anew; look at the difference."""

from __future__ import annotations

import os
import re
from collections.abc import Coroutine
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstack.handover import Outcome, Verdict
from mailstack.mail.address import Address
from mailstack.mail.parameters import DeliverBy, MailParameters, Notify, RcptParameters, Return
from mailstack.mail.report import MAX_HEADER
from mailstack.ports import MEMORY_LIMIT, AccountName, Envelope
from mailstack.queue.reasons import REASONS, reason
from mailstack.queue.reports import (
    DEFAULTS,
    MAX_TOLD,
    Fate,
    Kind,
    Prepared,
    Reported,
    ReportLimit,
    header_of,
    may_report,
    prepare,
    wanted,
    write,
)

GOLDEN = Path(__file__).parent.parent / "golden" / "reports"
HOST = "mx.example.org"
ARRIVED, NOW = 1_700_000_000.0, 1_700_432_000.0
ALICE = Address("alice", "example.org")
BOB, CAROL, DAVE = (Address(name, "example.net") for name in ("bob", "carol", "dave"))
MESSAGE = (
    b"Received: from [192.0.2.1] by mx.example.org with ESMTPSA id 18c2;\r\n\tTue, 14 Nov 2023 22:13:20 +0000\r\n"
    b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: =?utf-8?q?caf=C3=A9?= at nine\r\n"
    b"Message-ID: <1@example.org>\r\n\r\nHello Bob,\r\n--\r\nAlice\r\n"
)
ENVELOPE = Envelope(ALICE, (BOB, CAROL, DAVE), AccountName("alice@example.org"))
NO_USER = Outcome(Verdict.NEVER, "5.1.1", "550 5.1.1 <bob@example.net>: no such user here", "mx.example.net")
SILENT = Outcome(Verdict.LATER, "4.4.1", "connection to mx2.example.net timed out", "mx2.example.net", remote=False)
TAKEN = Outcome(Verdict.DONE, "2.0.0", "250 2.0.0 ok 1234", "mx.example.net")


def asked(*each: frozenset[Notify] | None, orcpt: str = "") -> tuple[RcptParameters, ...]:
    return tuple(RcptParameters(notify, orcpt) for notify in each)


class Octets:
    """Implements `handover.Content`; remembers how much was read at once."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.size = len(octets)
        self.reads: list[int] = []

    async def read(self, start: int, end: int) -> bytes:
        self.reads.append(end - start)
        return self.octets[start:end]


class Kept:
    """Implements `ports.Sink` as far as a report needs it."""

    def __init__(self) -> None:
        self.octets = bytearray()

    async def write(self, data: bytes) -> None:
        self.octets += data


def result(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that never waits."""
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    return stopped.value.value


def reported(envelope: Envelope = ENVELOPE, message: bytes = MESSAGE) -> Reported:
    return Reported("18c2f1ab", envelope, ARRIVED, result(header_of(Octets(message))), len(message))


def octets_of(prepared: Prepared | None, message: bytes = MESSAGE) -> bytes:
    assert prepared is not None
    sink = Kept()
    result(write(prepared, Octets(message), sink))  # type: ignore[arg-type]
    return bytes(sink.octets)


def said(envelope: Envelope = ENVELOPE, *fates: Fate, kind: Kind = Kind.FAILED, message: bytes = MESSAGE) -> bytes:
    return octets_of(prepare(reported(envelope, message), fates, kind, NOW, HOST), message)


SUCCESS = frozenset({Notify.SUCCESS})
WIDE = Envelope(
    Address("jörg", "example.org"), (Address("büro", "example.net"),), AccountName("jörg@example.org"), smtputf8=True,
    body_8bit=True, rcpt_parameters=asked(None, orcpt="utf-8;büro@bücher.example"),
)  # fmt: skip
WIDE_MESSAGE = "From: jörg@example.org\r\nSubject: Grüße\r\n\r\nschöne Grüße\r\n".encode()
CASES: dict[str, tuple[Envelope, bytes, Kind, tuple[Fate, ...]]] = {
    "failed": (
        ENVELOPE, MESSAGE, Kind.FAILED,
        (Fate(0, NO_USER, 1, NOW - 1), Fate(2, SILENT, 41, NOW - 2, NOW - 2)),
    ),
    "failed-headers": (
        replace(
            ENVELOPE, parameters=MailParameters(ret=Return.HEADERS, envid="QQ 314", require_tls=True),
            rcpt_parameters=asked(frozenset({Notify.FAILURE}), None, None, orcpt="rfc822;Bob@Example.Net"),
        ),
        MESSAGE, Kind.FAILED,
        (Fate(0, Outcome(Verdict.NEVER, "5.7.30", "no STARTTLS", "mx.example.net", remote=False), 1, NOW - 1),),
    ),
    "delayed": (ENVELOPE, MESSAGE, Kind.DELAYED, (Fate(1, SILENT, 9, NOW - 60, NOW + 86400),)),
    "relayed": (replace(ENVELOPE, rcpt_parameters=asked(SUCCESS, SUCCESS, None)), MESSAGE, Kind.RELAYED,
                (Fate(0, TAKEN, 1, NOW), Fate(1, replace(TAKEN, reports=True), 1, NOW), Fate(2, TAKEN, 1, NOW))),
    "delivered": (replace(ENVELOPE, rcpt_parameters=asked(SUCCESS, None, None)), MESSAGE, Kind.DELIVERED,
                  (Fate(0, Outcome(Verdict.DONE, "2.1.5", "", remote=False), 2, NOW),)),
    "late": (
        replace(ENVELOPE, parameters=MailParameters(deliver_by=DeliverBy(1_700_003_600, False))), MESSAGE, Kind.LATE,
        (Fate(0, SILENT, 3, NOW - 5, NOW + 3600),),
    ),
    "traced": (
        replace(ENVELOPE, parameters=MailParameters(deliver_by=DeliverBy(1_700_003_600, False, True))), MESSAGE,
        Kind.TRACED, (Fate(0, TAKEN, 1, NOW),),
    ),
    "utf8": (WIDE, WIDE_MESSAGE, Kind.FAILED, (Fate(0, replace(NO_USER, text="550 5.1.1 büro: unbekannt"), 1, NOW),)),
    "utf8-headers": (
        replace(WIDE, parameters=MailParameters(ret=Return.HEADERS)), WIDE_MESSAGE, Kind.FAILED, (Fate(0, NO_USER),),
    ),
}  # fmt: skip


def made(case: str) -> bytes:
    envelope, message, kind, fates = CASES[case]
    return octets_of(prepare(reported(envelope, message), fates, kind, NOW, HOST), message)


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    path = GOLDEN / f"{case}.eml"
    if os.environ.get("MAILSTACK_GOLDEN") == "write":
        path.write_bytes(made(case))
    assert made(case) == path.read_bytes()


def test_every_golden_file_has_its_case() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


def parsed(octets: bytes) -> EmailMessage:
    found = message_from_bytes(octets, policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


def groups(report: EmailMessage) -> list[dict[str, str]]:
    """The groups of fields of its delivery status."""
    status = list(report.iter_parts())[1]
    if status.get_content_type() == "message/delivery-status":
        return [dict(group.items()) for group in status.get_payload() if isinstance(group, Message)]
    [inner] = status.get_payload()
    assert isinstance(inner, EmailMessage)
    text = inner.as_bytes(policy=policy.SMTPUTF8)
    found = [message_from_bytes(group, policy=policy.SMTPUTF8) for group in text.strip().split(b"\r\n\r\n")]
    return [dict(group.items()) for group in found]


@pytest.mark.parametrize("case", CASES)
def test_others_read_it(case: str) -> None:
    envelope, _, kind, fates = CASES[case]
    octets = made(case)
    report = parsed(octets)
    parts = list(report.iter_parts())
    assert not report.defects and not any(part.defects for part in parts)
    assert report.get_content_type() == "multipart/report" and report.get_param("report-type") == "delivery-status"
    assert report["Auto-Submitted"] == "auto-replied" and report["To"] == str(envelope.sender)
    assert parts[0].get_content_type() == "text/plain" and "mx.example.org" in parts[0].get_content()
    types = {part.get_content_type() for part in parts}
    assert types <= {"text/plain", "message/delivery-status", "message/rfc822", "text/rfc822-headers",
                     "message/global-delivery-status", "message/global", "message/global-headers"}  # fmt: skip
    told = wanted(envelope, fates, kind)
    first, *others = groups(report)
    assert first["Reporting-MTA"] == "dns; mx.example.org" and first["Arrival-Date"]
    assert [each["Final-Recipient"].partition("; ")[2] for each in others] == [
        str(envelope.recipients[fate.recipient]) for fate in told
    ]
    assert all(len(line) <= 998 for line in octets.split(b"\r\n"))
    assert b"\n" not in octets.replace(b"\r\n", b"") and b"\r" not in octets.replace(b"\r\n", b"")


def test_fields_of_a_failure() -> None:
    first, bob, dave = groups(parsed(made("failed")))
    assert first["X-Mailstack-Queue-ID"] == "18c2f1ab"
    assert bob == {
        "Final-Recipient": "rfc822; bob@example.net", "Action": "failed", "Status": "5.1.1",
        "Remote-MTA": "dns; mx.example.net",
        "Diagnostic-Code": "smtp; 550 5.1.1 <bob@example.net>: no such user here",
        "Last-Attempt-Date": "Sun, 19 Nov 2023 22:13:19 +0000",
    }  # fmt: skip
    assert "Remote-MTA" not in dave and "Will-Retry-Until" not in dave
    assert dave["Diagnostic-Code"] == "x-mailstack; connection to mx2.example.net timed out"
    assert dave["Status"] == "4.4.1"


def test_the_whole_message_comes_back_octet_for_octet() -> None:
    returned = made("failed").partition(b"Content-Type: message/rfc822\r\n\r\n")[2]
    assert returned.startswith(MESSAGE + b"\r\n--")


def test_it_answers_the_message_it_is_about() -> None:
    report = parsed(made("delayed"))
    assert report["In-Reply-To"] == report["References"] == "<1@example.org>"


def test_how_much_comes_back() -> None:
    fate = Fate(0, NO_USER)

    def whole(size: int, ret: Return | None, kind: Kind = Kind.FAILED, *, tls: bool = False) -> bool:
        envelope = replace(ENVELOPE, parameters=MailParameters(ret=ret, require_tls=tls))
        prepared = prepare(replace(reported(envelope), size=size), [fate], kind, NOW, HOST)
        assert prepared is not None
        return prepared.whole

    assert whole(DEFAULTS.full_size, None) and not whole(DEFAULTS.full_size + 1, None)
    assert whole(DEFAULTS.full_size_asked, Return.FULL) and not whole(DEFAULTS.full_size_asked + 1, Return.FULL)
    assert not whole(1, Return.HEADERS)
    assert not whole(1, Return.FULL, tls=True), "RFC 8689 §5"
    assert not whole(1, Return.FULL, Kind.DELAYED), "RFC 3461 §6.2: only for a failure"


def test_a_large_message_is_never_in_memory() -> None:
    message = MESSAGE + b"0123456789abcd\r\n" * (3 * MEMORY_LIMIT // 16)
    envelope = replace(ENVELOPE, parameters=MailParameters(ret=Return.FULL))
    prepared = prepare(reported(envelope, message), [Fate(0, NO_USER)], Kind.FAILED, NOW, HOST)
    assert prepared is not None and len(prepared.prefix) + len(prepared.suffix) < 10_000
    content, sink = Octets(message), Kept()
    result(write(prepared, content, sink))  # type: ignore[arg-type]
    assert max(content.reads) <= MEMORY_LIMIT
    assert sink.octets == prepared.prefix + message + prepared.suffix


def test_a_header_without_end_is_cut() -> None:
    message = b"X-Long: 0123456789\r\n" * 10_000
    octets = said(replace(ENVELOPE, parameters=MailParameters(ret=Return.HEADERS)), Fate(0, NO_USER), message=message)
    assert MAX_HEADER - 40 < octets.count(b"X-Long: 0123456789\r\n") * 20 <= MAX_HEADER


def test_its_envelope() -> None:
    prepared = prepare(reported(), [Fate(0, NO_USER)], Kind.FAILED, NOW, HOST)
    assert prepared is not None and prepared.to == ALICE
    assert prepared.envelope == Envelope(None, (ALICE,), rcpt_parameters=asked(frozenset({Notify.NEVER})))
    envelope, message, kind, fates = CASES["failed-headers"]
    tls = prepare(reported(envelope, message), fates, kind, NOW, HOST)
    assert tls is not None and tls.envelope.parameters == MailParameters(require_tls=True)
    wide = prepare(reported(WIDE, WIDE_MESSAGE), [Fate(0, NO_USER)], Kind.FAILED, NOW, HOST)
    assert wide is not None and wide.envelope.smtputf8 and wide.envelope.body_8bit


NEVER = frozenset({Notify.NEVER})
ALL = frozenset({Notify.SUCCESS, Notify.FAILURE, Notify.DELAY})


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Kind.FAILED, [None, ALL]),
        (Kind.DELAYED, [None, ALL]),
        (Kind.RELAYED, [SUCCESS, ALL]),
        (Kind.DELIVERED, [SUCCESS, ALL]),
        (Kind.LATE, [None, ALL]),
        (Kind.TRACED, [None, SUCCESS, ALL]),
    ],
)
def test_who_wants_to_hear(kind: Kind, told: list[frozenset[Notify] | None]) -> None:
    wishes = (None, NEVER, SUCCESS, ALL)
    envelope = Envelope(ALICE, (BOB,) * 4, rcpt_parameters=asked(*wishes))
    fates = [Fate(number, TAKEN) for number in range(4)]
    assert [wishes[fate.recipient] for fate in wanted(envelope, fates, kind)] == told


def test_nobody_is_told_who_must_not_be() -> None:
    never = replace(ENVELOPE, rcpt_parameters=asked(NEVER, NEVER, NEVER))
    assert prepare(reported(never), [Fate(0, NO_USER)], Kind.FAILED, NOW, HOST) is None
    assert prepare(reported(replace(ENVELOPE, sender=None)), [Fate(0, NO_USER)], Kind.FAILED, NOW, HOST) is None
    assert prepare(reported(), [], Kind.FAILED, NOW, HOST) is None


def test_only_those_are_told_who_brought_it() -> None:
    stranger = Envelope(Address("made", "up.example"), (BOB,))
    forwarded = Envelope(Address("SRS0=aaaa=bb=up.example=made", "example.org"), (BOB,))

    def ours(sender: Address) -> bool:
        return sender.local_part.startswith("SRS0=")

    assert may_report(ENVELOPE, ours) and may_report(forwarded, ours)
    assert not may_report(stranger, ours)
    assert not may_report(replace(ENVELOPE, sender=None), ours)


def test_reports_to_one_sender_are_limited() -> None:
    limit = ReportLimit(per_hour=2)
    now = 3600.0 * 1000
    assert [limit.take(ALICE, now), limit.take(Address("Alice", "example.org"), now), limit.take(ALICE, now)] == [
        True, True, False,
    ]  # fmt: skip
    assert limit.take(BOB, now) and limit.take(ALICE, now + 7200)
    assert all(ReportLimit(per_hour=0).take(ALICE, now) for _ in range(100))


def test_what_others_said_cannot_write_fields() -> None:
    evil = replace(NO_USER, text="550 no\r\nAction: delivered\r\n\r\n--x\x00 \x85" + "y" * 3000, mta="a\r\nb")
    octets = said(ENVELOPE, Fate(0, evil, 1, NOW))
    _, group = groups(parsed(octets))
    assert group["Action"] == "failed" and group["Remote-MTA"] == "dns; a  b"
    assert b"\r\nAction: delivered" not in octets and b"\r\n--x" not in octets
    assert max(len(line) for line in octets.split(b"\r\n")) <= 998


@settings(max_examples=25)
@given(st.text(max_size=1500), st.sampled_from(["", "w" * 1200, "a b " * 400]))
def test_what_others_said_is_there_word_for_word(text: str, more: str) -> None:
    octets = said(ENVELOPE, Fate(0, replace(NO_USER, text=f"550 {text} {more}"), 1, NOW))
    _, group = groups(parsed(octets))
    found = group["Diagnostic-Code"].removeprefix("smtp; ").split()
    expected = re.sub(
        r"[^ -~]", lambda match: " " if ord(match[0]) < 160 else "?", f"550 {text} {more}".strip()
    ).split()
    assert "".join(expected).startswith("".join(found)) and len("".join(found)) >= min(len("".join(expected)), 500)
    assert max(len(line) for line in octets.split(b"\r\n")) <= 998 and b"\r\n \r\n" not in octets


def test_non_ascii_words_of_others_do_not_make_an_ascii_report_8_bit() -> None:
    prepared = prepare(reported(), [Fate(0, replace(NO_USER, text="550 für niemand"))], Kind.FAILED, NOW, HOST)
    assert prepared is not None and prepared.prefix.isascii() and not prepared.envelope.body_8bit
    report = parsed(octets_of(prepared))
    text = next(iter(report.iter_parts())).get_content()
    assert "550 für niemand" in text and "Subject: café at nine" in text
    assert groups(report)[1]["Diagnostic-Code"] == "smtp; 550 f?r niemand"


def test_a_boundary_is_no_longer_than_allowed() -> None:
    host = f"{'a' * 60}.{'b' * 60}.example"
    prepared = prepare(reported(), [Fate(0, NO_USER)], Kind.FAILED, NOW, host)
    boundary = parsed(octets_of(prepared)).get_boundary()
    assert boundary is not None and len(boundary) <= 70


def test_hundreds_of_recipients() -> None:
    many = Envelope(ALICE, tuple(Address(f"r{n}", "example.net") for n in range(300)), AccountName("alice@example.org"))
    report = parsed(said(many, *(Fate(n, NO_USER) for n in range(300))))
    text = next(iter(report.iter_parts())).get_content()
    assert text.count("There is no such address") == MAX_TOLD and "There are 200 more" in text
    assert len(groups(report)) == 301


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        ("5.1.1", "", "no such address"),
        ("5.1.2", "", "not the name of any mail system"),
        ("5.1.10", "", "takes no mail"),
        ("5.2.2", "", "is full"),
        ("4.2.2", "", "is full"),
        ("5.3.4", "", "too big"),
        ("5.2.3", "", "too big"),
        ("5.7.1", "", "by its rules"),
        ("5.7.1", "554 5.7.1 This looks like SPAM", "(spam)"),
        ("5.7.26", "", "SPF, DKIM, DMARC"),
        ("5.7.30", "", "only travel encrypted"),
        ("4.4.1", "", "could not be reached"),
        ("4.4.7", "", "time for the delivery is over"),
        ("5.4.6", "", "in a circle"),
        ("5.6.3", "", "plain ASCII"),
        ("5.6.7", "", "needs UTF-8"),
        ("5.7.99", "", "by its rules"),
        ("5.4.99", "", "could not be reached"),
        ("5.0.0", "", "could not be delivered"),
        ("5.9.9", "", "could not be delivered"),
        ("nonsense", "", "could not be delivered"),
    ],
)
def test_in_plain_words(status: str, text: str, words: str) -> None:
    found = reason(status, text)
    assert words in f"{found.what} {found.advice}"


def test_all_reasons_are_sentences() -> None:
    for code, found in REASONS.items():
        assert all(part.endswith(".") and part[0].isupper() for part in found), code
        assert all(number.isdigit() for number in code.split(".")), code


def test_codes_fit_the_action() -> None:
    def status(code: str, kind: Kind, wishes: frozenset[Notify] | None = None) -> str:
        envelope = replace(ENVELOPE, rcpt_parameters=asked(wishes, None, None))
        return groups(parsed(said(envelope, Fate(0, Outcome(Verdict.LATER, code, "x")), kind=kind)))[1]["Status"]

    assert status("2.0.0", Kind.FAILED) == "5.0.0" and status("4.4.1", Kind.FAILED) == "4.4.1"
    assert status("5.1.1", Kind.DELAYED) == "4.0.0" and status("4.4.1", Kind.LATE) == "4.4.7"
    assert status("", Kind.DELIVERED, SUCCESS) == "2.0.0"
