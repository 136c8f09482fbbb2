"""docs/api.md: its examples work, and its tables are complete."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from api_client import ApiClient
from server_process import REPOSITORY

from mailstack.web.api import RESOURCES
from mailstack.web.filters import FILTERS

DOCUMENT = (REPOSITORY / "docs" / "api.md").read_text()
EXAMPLES = [example for example in re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL) if "curl" in example]


@pytest.mark.processes
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_every_example_works(tmp_path: Path) -> None:
    script = tmp_path / "examples"
    script.write_text('set -eu\ncurl() { command curl "$@"; echo; }\n' + "".join(EXAMPLES))
    command = [sys.executable, "-m", "mailstack", "dev", "--exec", "sh", str(script)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, encoding="latin-1", timeout=60)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr
    said = [line for line in ended.stdout.split("\n") if line.startswith("{")]
    answers = [json.loads(line) for line in said]
    assert len(answers) == sum(example.count("curl -sf") for example in EXAMPLES) - 4  # an id, raw, html and a part
    waited = answers[2]["messages"]
    assert [message["subject"] for message in waited] == ["Your code is 123456"]
    assert waited[0]["links"] == ["https://example.com/confirm?code=123456"]
    assert [answer["deleted"] for answer in answers if "deleted" in answer] == [1, 1, 1]


def test_every_resource_and_filter_is_there(api: ApiClient) -> None:
    described = {(method.upper(), path) for path, row in api.document["paths"].items() for method in row}
    assert described == {(row.method, row.path) for row in RESOURCES}
    for method, path in described:
        words = re.sub(r"\{\w+\}", '[^ "]+', path.removeprefix("/api/v1"))
        assert re.search(f'/api/v1{words}[\\s"?`]', DOCUMENT), (method, path)
    for parameter in FILTERS:
        assert f"`{parameter.name}`" in DOCUMENT


def test_every_kind_of_problem_is_there() -> None:
    sources = "".join(path.read_text() for path in (REPOSITORY / "mailstack" / "web").rglob("*.py"))
    kinds = set(re.findall(r'HttpProblem\(\s*\d+, "([a-z-]+)"', sources))
    assert len(kinds) > 10
    for kind in kinds:
        assert f"`{kind}`" in DOCUMENT, kind
