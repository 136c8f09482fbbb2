"""docs/operation.md speaks of what there is: events, metrics, keys that need a restart."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from mailstack.app.outgoing import GAUGES
from mailstack.config.changes import AT_START_ONLY
from mailstack.config.sections import Config, Listener
from mailstack.observe.metrics import COUNTERS

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/operation.md").read_text()
SOURCE = "".join(path.read_text() for path in (ROOT / "mailstack").rglob("*.py"))


def section(title: str) -> str:
    return DOCUMENT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Cells of the lines of tables."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_every_event_of_the_table_is_one() -> None:
    table = section("The log").partition("| event |")[2]
    events = [event for row in rows(table)[1:] for event in re.findall(r"`([^`]+)`", row[0])]
    assert len(events) > 15
    missing = [event for event in events if not re.search(rf'\.(event|warning|failure)\(\s*f?"{event}"', SOURCE)]
    # Two events are chosen between by their outcome.
    assert [event for event in missing if f'"{event}" if ' not in SOURCE and f'else "{event}"' not in SOURCE] == []


def test_every_metric_is_documented_and_no_other() -> None:
    names = {f"mailstack_{counter.name}_total" for counter in COUNTERS} | {"mailstack_open_connections"}
    names |= {f"mailstack_{name}" for name in GAUGES}
    names.add("mailstack_certificate_expiry_seconds")
    assert set(re.findall(r"`(mailstack_\w+)`", section("Metrics"))) == names
    for counter in COUNTERS:
        row = next(row for row in rows(section("Metrics")) if f"mailstack_{counter.name}_total`" in row[0])
        assert f"`{counter.label}`" in row[1] or not counter.label
        if counter.label == "outcome":
            assert row[1].endswith(", ".join(counter.known))


def test_every_key_is_taken_up_or_needs_a_restart() -> None:
    table = rows(section("Reload"))[2:]
    taken, waiting = (" ".join(row[column] for row in table) for column in (0, 1))
    for field in dataclasses.fields(Config):
        if field.name == "listeners":
            continue
        where = waiting if field.name in AT_START_ONLY else taken
        assert f"`{field.name}`" in where, field.name
    for field in dataclasses.fields(Listener):
        assert f"`{field.name}`" in taken + waiting, field.name


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((\.\./[^)#]+)\)", DOCUMENT):
        assert (ROOT / "docs" / target).exists(), target
