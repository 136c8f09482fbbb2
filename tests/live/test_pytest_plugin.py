"""The plugin in test runs of somebody else's, and what docs/testing.md shows."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from mailstack.testing import Mailbox

pytest_plugins = ["pytester"]
REPOSITORY = Path(__file__).parents[2]
DOCUMENT = REPOSITORY / "docs" / "testing.md"
RECIPE = re.compile(r"^```python\n# (test_\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FAILING = """
import os
import signal

from mailstack.testing import MailServerTestCase

class Case(MailServerTestCase):
    def test_of_unittest(self):
        self.mailbox.send("For unittest")
        self.fail("no")

def test_that_fails(mailbox):
    mailbox.send("Welcom", "Hello")
    assert mailbox.messages[0].subject == "Welcome"

def test_that_does_not(mailbox):
    mailbox.send("Welcome")

def test_of_a_server_that_ends(mailserver_factory, request):
    server = mailserver_factory(way="process")
    os.kill(server.pid, signal.SIGKILL)
"""


def plugin() -> list[str]:
    """The options for pytest to have it, whether mailstack is installed with it or not."""
    known = {each.name for each in entry_points(group="pytest11")}
    return [] if "mailstack" in known else ["-p", "mailstack.pytest_plugin"]


@pytest.fixture
def runs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return pytester


def outcomes(result: pytest.RunResult) -> dict[str, int]:
    return {word: number for word, number in result.parseoutcomes().items() if word != "warnings"}


def test_the_recipes_and_the_report_of_a_failure(runs: pytest.Pytester) -> None:
    """In a thread, all but the one for Twisted, by two workers of xdist. In one run: each takes its time to start."""
    recipes = [(name, text) for name, text in RECIPE.findall(DOCUMENT.read_text()) if name != "test_twisted.py"]
    assert len(recipes) >= 8
    for name, text in recipes:
        (runs.path / name).write_text(text)
    runs.makepyfile(test_failing=FAILING)
    result = runs.runpytest_subprocess(
        *plugin(), "-p", "no:cacheprovider", "-p", "no:twisted", "-W", "error::ResourceWarning", "-n", "2"
    )
    tests = sum(text.count("def test_") for _, text in [*recipes, ("", FAILING)])
    assert outcomes(result) == {"passed": tests - 2, "failed": 2, "errors": 1}
    result.stdout.fnmatch_lines([
        "*MailServerError: the mail server had ended with SIGKILL before it was stopped*",
        "*- mail of test-that-fails.*@example.test -*",
        "1 message",
        "  | Subject: Welcom",
        "    C: rcpt TO:<test-that-fails.*>",
        "    S: 250 *",
        "the server's log since this mailbox was made:",
        "  * mail accepted *",
    ])  # fmt: skip
    result.stdout.fnmatch_lines(["*- mail of test-of-unittest.*@example.test -*", "1 message", "*'For unittest'*"])
    assert str(result.stdout).count("- mail of ") == 2


@pytest_twisted.ensureDeferred
async def test_the_recipe_for_twisted(box: Mailbox) -> None:
    """In this process, whose tests run with pytest-twisted."""
    names: dict[str, Any] = {}
    exec(dict(RECIPE.findall(DOCUMENT.read_text()))["test_twisted.py"], names)
    await names["test_with_twisted"](mailbox=box)


def test_who_does_not_use_it_imports_nothing() -> None:
    """Neither the server nor its parts, nor what is slow to import."""
    script = (
        "import sys, pytest; before = set(sys.modules); import mailstack.pytest_plugin, mailstack.testing;"
        "print(*sorted(set(sys.modules) - before))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert found.stdout.split() == ["mailstack", "mailstack.pytest_plugin", "mailstack.testing"]


def test_it_is_installed_as_a_plugin_and_pytest_is_not() -> None:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    assert setup["options.entry_points"]["pytest11"].split() == ["mailstack", "=", "mailstack.pytest_plugin"]
    assert "pytest" not in setup["options"]["install_requires"]


def test_the_public_names_are_there() -> None:
    import mailstack.testing

    for name in mailstack.testing.__all__:
        assert getattr(mailstack.testing, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Letterbox'"):
        _ = mailstack.testing.Letterbox


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("mailstack_way = fork", "mailstack_way: expected auto, thread or process, not 'fork'"),
        ("mailstack_timeout = soon", "mailstack_timeout: expected seconds, not 'soon'"),
    ],
)
def test_wrong_options_are_told(line: str, says: str) -> None:
    from mailstack import pytest_plugin

    class Options:
        def getini(self, asked: str) -> str:
            return {name: value}[asked]

    name, _, value = line.partition(" = ")
    read = pytest_plugin._way if name == "mailstack_way" else pytest_plugin._timeout
    with pytest.raises(pytest.UsageError, match=says):
        read(Options())  # type: ignore[arg-type]
