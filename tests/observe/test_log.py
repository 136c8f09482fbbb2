"""Lines of the log, in both forms."""

from __future__ import annotations

import io
import json

import pytest

from mailstack.observe.log import FORMATS, MAX_VALUE, Level, StructuredLog, Target


def line(form: str, what: str = "mail accepted", level: Level = Level.INFO, **fields: object) -> str:
    stream = io.StringIO()
    StructuredLog(Target(stream, FORMATS[form], level), {"conn": "a-1"}, clock=lambda: 1_790_000_000.25).event(
        what, **fields
    )
    return stream.getvalue()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"size": 12}, "size=12"),
        ({"tls": True}, "tls=yes"),
        ({"sender": None}, ""),
        ({"sender": "a@b.example"}, "sender=a@b.example"),
        ({"why": "two words"}, 'why="two words"'),
        ({"why": ""}, 'why=""'),
        ({"why": "a\nINFO forged=yes"}, 'why="a\\nINFO forged=yes"'),
    ],
)
def test_text(fields: dict[str, object], text: str) -> None:
    expected = f"2026-09-21T14:13:20.250Z info  mail accepted conn=a-1 {text}".rstrip() + "\n"
    assert line("text", **fields) == expected


def test_json_is_one_object_a_line() -> None:
    record = json.loads(line("json", size=12, why="a\nb", tls=False))
    assert record == {
        "time": "2026-09-21T14:13:20.250Z", "level": "info", "event": "mail accepted", "conn": "a-1",
        "size": 12, "why": "a\nb", "tls": False,
    }  # fmt: skip


def test_a_long_value_is_cut() -> None:
    assert len(line("text", sender="x" * 100_000)) < MAX_VALUE + 200


def test_below_the_level_nothing_is_written() -> None:
    assert line("text", level=Level.WARNING) == ""


def test_a_failure_carries_its_traceback() -> None:
    stream = io.StringIO()
    log = StructuredLog(Target(stream, FORMATS["text"])).bind(conn="b-2")
    try:
        raise KeyError("lost")
    except KeyError:
        log.failure("command failed", command="NOOP")
    assert "command failed conn=b-2 command=NOOP" in stream.getvalue()
    assert "Traceback" in stream.getvalue()
