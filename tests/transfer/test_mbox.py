"""The mbox format: quoting, From_ lines, flags, odd files; Python's own module as the judge."""

from __future__ import annotations

import io
import mailbox
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailstack.mail.lines import with_crlf
from mailstack.ports import Flag, Flags
from mailstack.transfer import mbox
from mailstack.transfer.file_targets import MboxBox, _Note
from mailstack.transfer.outgoing import Exported, Outgoing

DATE = 1_700_000_000
EXPORTED = Exported("INBOX", "id", 1, "", True)
LINE = st.sampled_from(
    [
        b"",
        b"text",
        b"From ",
        b"From x Thu Jan  1 00:00:00 2004",
        b"From",
        b" From ",
        b"Status: RO",
        b"X-Keywords: a",
        b">",
        b"\xff\x00",
    ]
)
QUOTED = st.builds(lambda depth, line: b">" * depth + line, st.integers(0, 12), LINE)
MESSAGE = st.lists(QUOTED, max_size=12).map(lambda lines: b"".join(line + b"\r\n" for line in lines))
FLAGS = st.builds(
    Flags,
    st.integers(0, 31).map(Flag),
    st.frozensets(st.sampled_from(["$Forwarded", "work", "a-b", "N"]), max_size=3),
)


def written(messages: list[tuple[bytes, Flags]]) -> io.BytesIO:
    file = _Unnamed()
    box = MboxBox(file, _Note(None, EXPORTED), "x")
    for uid, (octets, flags) in enumerate(messages, 1):
        box.put(Outgoing(uid, flags, DATE + uid, octets))
    return file


class _Unnamed(io.BytesIO):
    def fileno(self) -> int:
        return 0  # something that a mode can be given to


def read(octets: bytes, *, mboxo: bool = False) -> list[tuple[bytes, Flags, float | None]]:
    file = io.BytesIO(octets)
    found = []
    for entry in mbox.entries(file, len(octets)):
        content = mbox.content(file, entry, mboxo=mboxo)
        found.append((b"".join(content.pieces), content.flags, entry.date))
    return found


@pytest.fixture(autouse=True)
def no_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fchmod", lambda fd, mode: None)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(MESSAGE, FLAGS), max_size=5))
def test_what_is_written_is_read(messages: list[tuple[bytes, Flags]]) -> None:
    octets = written(messages).getvalue()
    found = [(with_crlf(data), flags, date) for data, flags, date in read(octets)]
    assert found == [(data, flags, DATE + uid) for uid, (data, flags) in enumerate(messages, 1)]


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(MESSAGE, FLAGS), max_size=5))
def test_with_crlf_line_ends_too(messages: list[tuple[bytes, Flags]]) -> None:
    octets = with_crlf(written(messages).getvalue())
    assert [with_crlf(data) for data, _, _ in read(octets)] == [data for data, _ in messages]


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(MESSAGE, FLAGS), min_size=1, max_size=4))
def test_python_reads_what_is_written(tmp_path: Path, messages: list[tuple[bytes, Flags]]) -> None:
    path = tmp_path / "oracle.mbox"
    path.write_bytes(written(messages).getvalue())
    theirs = mailbox.mbox(path)
    assert len(theirs) == len(messages)
    for found, (_, flags) in zip(theirs, messages, strict=True):
        letters = {
            "R": Flag.SEEN,
            "F": Flag.FLAGGED,
            "A": Flag.ANSWERED,
            "D": Flag.DELETED,
        }
        assert {letter for letter in found.get_flags() if letter in letters} == {
            letter for letter, flag in letters.items() if flags.system & flag
        }
    theirs.close()


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(bodies=st.lists(st.lists(QUOTED, max_size=8), min_size=1, max_size=4))
def test_what_python_writes_is_read(tmp_path: Path, bodies: list[list[bytes]]) -> None:
    path = tmp_path / "theirs.mbox"
    path.unlink(missing_ok=True)
    theirs = mailbox.mbox(path)
    for number, lines in enumerate(bodies):
        message = mailbox.mboxMessage(b"Subject: %d\n\n" % number + b"".join(line + b"\n" for line in lines))
        message.set_from("x@y.test", (2004, 1, 1, 0, 0, number, 0, 1, 0))
        theirs.add(message)
    theirs.close()
    found = read(path.read_bytes(), mboxo=True)  # it quotes "From " and nothing else
    assert [date for _, _, date in found] == [1072915200 + number for number in range(len(bodies))]
    for (octets, _, _), lines in zip(found, bodies, strict=True):
        unquoted = [line.removeprefix(b">") if line.startswith(b">From ") else line for line in lines]
        assert octets.split(b"\n\n", 1)[1] == b"".join(line + b"\n" for line in unquoted)


@pytest.mark.parametrize(
    ("line", "date"),
    [
        (b"From a@b Mon Jan  1 10:00:00 2024\n", 1704103200),
        (b"From - Mon Jan 01 10:00:00 2024\n", 1704103200),
        (b"From a@b Mon Jan  1 10:00:00 +0100 2024\r\n", 1704099600),
        (b"From a@b Mon Jan  1 10:00 GMT 2024\n", 1704103200),
        (b"From a@b Mon Jan  1 10:00:00 2024 -0530\n", 1704123000),
        (b"From two words Mon, 01 Jan 2024 10:00:00 +0100\n", 1704099600),
        (b"From  Mon Jan  1 10:00:00 2024\n", 1704103200),
        (b"From a@b Mon Foo  1 10:00:00 2024\n", None),
        (b"From here on it gets better\n", None),
        (b"From a@b\n", None),
    ],
)
def test_from_line(line: bytes, date: float | None) -> None:
    assert mbox.from_date(line) == date


def test_text_that_looks_like_a_from_line_stays_text() -> None:
    octets = b"From a Mon Jan  1 10:00:00 2024\nSubject: x\n\nfirst\n\nFrom here on\nit is text\nFrom me\n"
    assert [data for data, _, _ in read(octets)] == [octets.partition(b"\n")[2]]


def test_a_from_line_without_a_date_begins_a_message_if_a_field_follows() -> None:
    octets = b"From a Mon Jan  1 10:00:00 2024\nSubject: x\n\nfirst\n\nFrom a@b\nSubject: y\n\nsecond\n"
    assert [(data, date) for data, _, date in read(octets)] == [
        (b"Subject: x\n\nfirst\n", 1704103200), (b"Subject: y\n\nsecond\n", None),
    ]  # fmt: skip


def test_a_missing_blank_line_and_a_wrong_content_length() -> None:
    one = b"From a Mon Jan  1 10:00:00 2024\nContent-Length: 99999\n\nfirst\n"
    assert [data for data, _, _ in read(one + one)] == [b"Content-Length: 99999\n\nfirst\n"] * 2


@pytest.mark.parametrize("before", [b"", b"x\n"])
def test_from_lines_at_the_edge_of_what_is_looked_through_at_once(
    before: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mbox, "WINDOW", 4096)
    second = b"From b Mon Jan  1 10:00:01 2024\nSubject: y\n\nsecond\n"
    for shift in range(-40, 12):
        head = b"From a Mon Jan  1 10:00:00 2024\nSubject: x\n\n" + before
        filling = b"z" * (mbox.WINDOW - len(head) - 2 + shift) + b"\n\n"
        assert len(read(head + filling + second)) == 2, shift


def test_quoting_at_the_edge_of_what_is_read_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mbox, "WINDOW", 4096)
    for shift in range(-8, 8):
        octets = b"Subject: x\r\n\r\n" + b"z" * (mbox.WINDOW - 20 + shift) + b"\r\n>>From y\r\nFrom z\r\n" * 2
        (found,) = read(written([(octets, Flags())]).getvalue())
        assert with_crlf(found[0]) == octets, shift


def test_a_header_line_of_ten_megabytes() -> None:
    octets = b"X-Long: " + b"z" * 10_000_000 + b"\r\nSubject: x\r\n\r\nx\r\n"
    assert [with_crlf(data) for data, _, _ in read(written([(octets, Flags())] * 2).getvalue())] == [octets] * 2


def test_thunderbird_s_flags_and_the_first_message_of_uw_imap() -> None:
    octets = b"From - Mon Jan  1 10:00:00 2024\nX-Mozilla-Status: 0007\nSubject: x\n\nx\n"
    ((data, flags, _),) = read(octets)
    assert data == octets.partition(b"\n")[2]
    assert flags.system == Flag.SEEN | Flag.ANSWERED | Flag.FLAGGED
    internal = (
        b"From MAILER-DAEMON Mon Jan  1 10:00:00 2024\n"
        b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1 2\nStatus: RO\n\nx\n"
    )
    file = io.BytesIO(internal)
    (entry,) = mbox.entries(file, len(internal))
    assert mbox.is_internal(mbox.content(file, entry))


@pytest.mark.parametrize(
    ("head", "date"),
    [
        (b"Date: Mon, 01 Jan 2024 10:00:00 +0000\r\n\r\n", 1704103200),
        (b"Subject: x\r\n\r\nDate: Mon, 01 Jan 2024 10:00:00 +0000\r\n", None),
        (b"Date: yesterday\r\n\r\n", None),
    ],
)
def test_header_date(head: bytes, date: float | None) -> None:
    assert mbox.header_date(head) == date
