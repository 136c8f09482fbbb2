"""A development server for the tests of its HTTP API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from api_client import ApiClient
from server_process import Server


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    arguments = ("dev", "--ephemeral", "--ports", "0", "--password", "right")
    with Server(tmp_path_factory.mktemp("api"), arguments) as server:
        yield server


@pytest.fixture
def api(running: Server) -> Iterator[ApiClient]:
    """With no mail there."""
    client = ApiClient(running.host("http"), running.port("http"))
    client.post("reset", status=200)
    yield client
    client.close()
