"""The alerts in etc/prometheus ask for what is on the page of a running server."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import pytest
from production import configuration, production

from mailstack.observe.metrics import COUNTERS

pytestmark = pytest.mark.processes

RULES = Path(__file__).parents[2] / "etc/prometheus/mailstack.rules.yml"
SELECTOR = re.compile(r'(mailstack_\w+)(?:\{(\w+)="([^"]*)"\})?')


def alerts() -> dict[str, dict[str, str]]:
    """Alert → key → text, of the one form of YAML in which the file is written."""
    found: dict[str, dict[str, str]] = {}
    rule: dict[str, str] = {}
    key = ""
    for line in RULES.read_text().splitlines():
        if start := re.fullmatch(r"      - alert: (\w+)", line):
            rule = found.setdefault(start[1], {})
        elif pair := re.fullmatch(r" {8,10}(\w+):(?: (.*))?", line):
            key = pair[1]
            rule[key] = (pair[2] or "").removeprefix(">-")
        elif line.startswith(" " * 10):
            rule[key] += " " + line.strip()
    return found


def test_every_alert_has_an_expression_a_severity_and_words() -> None:
    assert len(alerts()) == RULES.read_text().count("alert:") >= 5
    for name, rule in alerts().items():
        assert {"expr", "severity", "summary", "description"} <= rule.keys(), name
        assert rule["severity"] in ("critical", "warning"), name
        assert rule["expr"].count("(") == rule["expr"].count(")"), name


def test_what_an_alert_asks_for_is_on_the_page_from_the_start(reachable: Path) -> None:
    with production(reachable, configuration(reachable, tables="[metrics]\nport = 0")) as server:
        url = f"http://{server.host('metrics')}:{server.port('metrics')}/metrics"
        with urllib.request.urlopen(url, timeout=10) as page:
            lines = page.read().decode().splitlines()
    series = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    names = {name.partition("{")[0] for name in series}
    asked = [found for rule in alerts().values() for found in SELECTOR.findall(rule["expr"])]
    assert {name for name, _, _ in asked} <= names
    assert {f'{name}{{{label}="{value}"}}' for name, label, value in asked if label} <= set(series)


def test_labels_in_words_are_those_of_the_counters() -> None:
    label_of = {f"mailstack_{counter.name}_total": counter.label for counter in COUNTERS}
    label_of["mailstack_certificate_expiry_seconds"] = "name"
    for name, rule in alerts().items():
        used = set(re.findall(r"\$labels\.(\w+)", rule["summary"] + rule["description"]))
        known = {label_of.get(metric, "") for metric, _, _ in SELECTOR.findall(rule["expr"])}
        assert used <= known | {"instance"}, name
