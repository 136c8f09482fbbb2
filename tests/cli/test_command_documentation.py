"""docs/commands.md names every command and option, and none that is not there."""

from __future__ import annotations

import re

import click
import pytest
from server_process import REPOSITORY
from test_command_main import COMMANDS

from mailstack.cli import sendmail

PARTS = re.split(r"^## ", (REPOSITORY / "docs" / "commands.md").read_text(), flags=re.MULTILINE)
SECTIONS = {part.split()[1]: part for part in PARTS if part.startswith("mailstack ")}
README = (REPOSITORY / "README.md").read_text()


def options(words: str) -> set[str]:
    return {
        name
        for parameter in COMMANDS[words].params
        if isinstance(parameter, click.Option)
        for name in parameter.opts
        if name.startswith("--") and name != "--help"
    }


def without_brackets(text: str) -> str:
    return text.replace("[", "").replace("]", "")


@pytest.mark.parametrize("words", [words for words, found in COMMANDS.items() if not isinstance(found, click.Group)])
def test_every_command_and_option_is_there(words: str) -> None:
    section = SECTIONS[words.split()[0]]
    assert f"mailstack {words}" in section
    for option in options(words):
        assert re.search(rf"`{option}[ `]", section), option
    for parameter in COMMANDS[words].params:
        if isinstance(parameter, click.Argument) and words != "sendmail":
            assert without_brackets(parameter.human_readable_name) in without_brackets(section)


@pytest.mark.parametrize("group", SECTIONS)
def test_nothing_else_is_there(group: str) -> None:
    known = {option for words in COMMANDS if words.split()[0] == group for option in options(words)}
    named = set(re.findall(r"`(--[a-z-]+)", SECTIONS[group]))
    assert named - {"--data"} <= known


def test_every_status_of_sendmail_is_there() -> None:
    for name in dir(sendmail):
        if name.startswith("EX_"):
            assert f"\n| {getattr(sendmail, name)} |" in SECTIONS["sendmail"], name
            assert str(getattr(sendmail, name)) in sendmail.EPILOG


@pytest.mark.parametrize("words", COMMANDS)
def test_the_readme_s_table_has_each_command(words: str) -> None:
    if not isinstance(COMMANDS[words], click.Group):
        group, _, below = words.partition(" ")
        assert f"`mailstack {group}" in README
        assert below in README
