"""`mailstack queue suppressed`: list, add, clear."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import invoke
from production import configuration


def suppressed(config: Path, *words: str) -> tuple[int, str, str]:
    result = invoke("queue", "suppressed", *words, "--config", config)
    return result.exit_code, result.stdout, result.stderr


def test_added_listed_cleared(config: Path) -> None:
    assert suppressed(config, "list") == (0, "", "")
    status, said, warned = suppressed(config, "add", "Bob@Example.net", "carol@example.net", "--reason", "asked")
    assert (status, said) == (0, "added bob@example.net\nadded carol@example.net\n")
    assert "the list is not in use" in warned
    lines = suppressed(config, "list")[1].splitlines()
    assert len(lines) == 2 and lines[0].startswith("bob@example.net 20") and lines[0].endswith(" 5.1.0 0 asked")
    [bob, carol] = json.loads(suppressed(config, "list", "--json")[1])
    assert (bob["address"], bob["reason"], bob["failures"]) == ("bob@example.net", "asked", 0)
    assert suppressed(config, "clear", "bob@example.net", "dave@example.net") == (
        1, "cleared bob@example.net\n", "Error: not on the list: dave@example.net\n",
    )  # fmt: skip
    assert suppressed(config, "clear", "--all") == (0, "cleared 1\n", "")
    assert suppressed(config, "list", "--json")[1] == "[]\n"


def test_no_warning_when_it_is_in_use(config: Path) -> None:
    config.write_text(configuration(config.parent, tables="[reports]\nsuppress = true\n"))
    assert suppressed(config, "add", "bob@example.net") == (0, "added bob@example.net\n", "")


def test_wrong_usage(config: Path) -> None:
    assert suppressed(config, "clear")[0] == 2 and suppressed(config, "clear", "--all", "bob@example.net")[0] == 2
    assert suppressed(config, "add")[0] == 2
    status, _, said = suppressed(config, "add", "bob")
    assert status == 2 and "expected an address as alice@example.org" in said
