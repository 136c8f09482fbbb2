"""What is written down of a dialogue can be played again, and has no passwords."""

from __future__ import annotations

from base64 import b64encode
from io import StringIO
from pathlib import Path

import pytest
import transcripts
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstack.transcripts.lines import BadTranscript, escape, matcher, parse, unescape
from mailstack.transcripts.secrets import Secrets
from mailstack.transcripts.writer import Writer

LINES = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
    st.sampled_from(
        [b"/x/", b"<...>", b"*close*", b"*until* x", b"<<EOF", b"\\x41", b"a <...> b", b"* 3 EXISTS", b"", b" x "]
    ),
).map(lambda line: line.replace(b"\r\n", b"").removesuffix(b"\r"))


@settings(max_examples=60)
@given(LINES)
def test_a_line_stands_for_its_octets_and_nothing_else(line: bytes) -> None:
    for client in (True, False):
        text = escape(line, client=client)
        assert unescape(text) == line and "\n" not in text and text.isprintable()
    accepts = matcher(escape(line, client=False))
    assert accepts(line) and not accepts(line + b"x") and not accepts(b"x" + line)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), LINES), max_size=8))
def test_a_file_is_read_as_it_was_written(said: list[tuple[bool, bytes]]) -> None:
    file = StringIO()
    writer = Writer(file, "title", secrets=True)
    for client, line in said:
        (writer.client if client else writer.server)(line + b"\r\n")
    writer.closed(by_server=True)
    *steps, last = parse(file.getvalue())
    assert last.text == "*close*" and not last.client
    assert [(step.client, unescape(step.text)) for step in steps] == said
    assert not any(step.is_event for step in steps if step.client)


def test_tests_read_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "smtp" / "x.txt"
    path.parent.mkdir()
    with path.open("w") as file:
        writer = Writer(file, "A title")
        writer.server(b"220 mx\r\n")
        writer.client(b"EHLO x\r\nNO")
        writer.server(b"250 mx\r\n")
        writer.client(b"OP\r\n")
        writer.event("starttls")
        writer.closed(by_server=False)
    assert path.read_text().splitlines() == [
        "# A title", "S: 220 mx", "C: EHLO x", "C- NO", "S: 250 mx", "C: OP", "C: *starttls*", "C: *close*",
    ]  # fmt: skip
    script = transcripts.parse(path)
    assert script.title == "A title" and [step.kind for step in script.steps] == [
        "S",
        "C",
        "C",
        "S",
        "C",
        "event",
        "event",
    ]


PLAIN = b64encode(b"\0joe\0secret")


@pytest.mark.parametrize(
    ("dialogue", "shown"),
    [
        ("C a LOGIN joe secret", ["a LOGIN joe ***"]),
        ('C a login "jo e" "se\\"cret"', ['a login "jo e" ***']),
        ("C a LOGIN {3+}|C joe secret|C b NOOP", ["a LOGIN {3+}", "***", "b NOOP"]),
        ("C a LOGIN joe {6}|S + go|C secret|S a OK|C b NOOP", ["a LOGIN joe {6}", "***", "b NOOP"]),
        (f"C AUTH PLAIN {PLAIN.decode()}", [f"AUTH PLAIN {b64encode(b'%sjoe%s***' % (bytes(1), bytes(1))).decode()}"]),
        ("C AUTH LOGIN|S 334 x|C am9l|S 334 y|C c2VjcmV0|S 235 ok|C NOOP", ["AUTH LOGIN", "am9l", "Kioq", "NOOP"]),
        ("C a AUTHENTICATE XOAUTH2|S +|C c2VjcmV0|S a NO|C b NOOP", ["a AUTHENTICATE XOAUTH2", "***", "b NOOP"]),
        ("C AUTH SCRAM-SHA-256 c2VjcmV0|S 334 x|C *|S 501 no", ["AUTH SCRAM-SHA-256 ***", "*"]),
        ("C USER joe|S +OK|C PASS sec ret|S +OK|C STAT", ["USER joe", "PASS ***", "STAT"]),
        ("C APOP joe c4c9334bac560ecc979e58001b3e22fb", ["APOP joe ***"]),
        ("C AUTH PLAIN secret!", ["AUTH PLAIN ***"]),
    ],
)
def test_passwords_are_not_written(dialogue: str, shown: list[str]) -> None:
    secrets = Secrets()
    written = []
    for said in dialogue.split("|"):
        if said.startswith("S"):
            secrets.server(said[2:].encode())
        else:
            written.append(secrets.client(said[2:].encode()).decode())
    assert written == shown
    assert not any(secret in line for line in written for secret in ("secret", "c2VjcmV0", PLAIN.decode()))


def test_what_is_no_transcript_is_said() -> None:
    with pytest.raises(BadTranscript, match="line 2: not a line of a transcript: 'Dear Sir'"):
        parse("# x\nDear Sir\n")
    with pytest.raises(BadTranscript, match="no EOF"):
        parse("C: <<EOF\nx\n")
