"""A development server that the tests of transcripts and load share."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from server_process import Server

FAULT = {"protocol": "smtp", "at": "MESSAGE", "reply": 451, "times": 2, "recipient": "refused@*"}


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("server")
    arguments = ("--data", str(directory / "data"), "--ports", "0", "--transcripts", str(directory / "said"))
    with Server(directory, ("dev", *arguments, "--fault", json.dumps(FAULT))) as server:
        yield server
