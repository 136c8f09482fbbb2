"""`mailstack load`: its arithmetic, and a run in each protocol."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from server_process import Server

from mailstack.cli.load import load
from mailstack.load.figures import Figures, histogram, percentile, report


def test_percentiles_are_nearest_ranks() -> None:
    ordered = [float(each) for each in range(1, 101)]
    assert [percentile(ordered, each) for each in (1, 50, 90, 99, 99.9, 100)] == [1, 50, 90, 99, 100, 100]
    assert percentile([7.0], 50) == 7.0 and percentile([], 50) == 0.0


def test_a_histogram_has_a_line_for_each_doubling() -> None:
    assert histogram([0.0001, 0.0002, 0.0002, 0.0008]) == [
        "       0.1 ms        1  " + "#" * 20,
        "       0.2 ms        2  " + "#" * 40,
        "       0.4 ms        0",
        "       0.8 ms        1  " + "#" * 20,
    ]
    assert histogram([]) == []


def test_a_report_of_nothing_divides_by_nothing() -> None:
    assert report("messages", Figures()) == ["0 messages in 0.00 s: 0.0 a second, 0.00 MB/s, 0 failed"]


def run(server: Server, protocol: str, *options: str) -> tuple[int, str]:
    place = f"{server.host(protocol)}:{server.port(protocol)}"
    result = CliRunner().invoke(load, [protocol, place, "--connections", "3", *options])
    return result.exit_code, result.output


def test_each_protocol_does_as_much_as_it_is_told(server: Server) -> None:
    status, said = run(server, "smtp", "--operations", "20", "--json")
    figures = json.loads(said)
    assert (status, figures["operations"], figures["failed"]) == (0, 20, 0)
    assert 20 * 3000 < figures["octets"] < 20 * 4200
    assert 0 < figures["milliseconds"]["min"] <= figures["milliseconds"]["p50"] <= figures["milliseconds"]["max"]
    assert len(list(Path(server.data).rglob("load@localhost/**/new/*"))) == 20
    for protocol in ("imap", "pop3"):
        figures = json.loads(run(server, protocol, "--operations", "20", "--json")[1])
        assert (figures["operations"], figures["failed"]) == (20, 0), figures
        assert figures["octets"] > 20 * 3000, "messages were fetched"


def test_it_ends_when_its_time_is_over(server: Server) -> None:
    status, said = run(server, "imap", "--seconds", "0.1")
    assert status == 0 and re.match(r"[1-9][0-9]* commands in 0\.[0-9]+ s: ", said), said


def test_what_fails_is_counted_and_told(server: Server) -> None:
    status, said = run(server, "smtp", "--operations", "9", "--to", "refused@example.org")
    assert status == 1
    assert said.startswith("7 messages in ") and "2 failed" in said.splitlines()[0]
    assert said.endswith("2 times: 451 4.3.0 Local error in processing\n")


@pytest.mark.parametrize("place", ["192.0.2.1:25", "mail.example.org:25"])
def test_other_machines_are_left_alone(place: str) -> None:
    result = CliRunner().invoke(load, ["smtp", place])
    assert result.exit_code == 2 and "is not on loopback" in result.output
