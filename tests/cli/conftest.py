"""Places and a production server for the command line's tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from production import configuration, given_to_nobody, prepare, production
from server_process import Server


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that belongs to the account which production servers of tests run as; pytest's own lie
    in one that only its user may enter."""
    directory = Path(tempfile.mkdtemp(prefix="mailstack-test-"))
    given_to_nobody(directory)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration with its certificate and accounts, made once."""
    return prepare(tmp_path_factory.mktemp("template") / "etc").parent


@pytest.fixture
def config(template: Path, tmp_path: Path) -> Path:
    """A configuration with the accounts alice and bob of example.org, and no server."""
    directory = shutil.copytree(template, tmp_path / "etc")
    path = directory / "mailstack.toml"
    path.write_text(configuration(directory))
    return path


@pytest.fixture(scope="package")
def server() -> Iterator[Server]:
    """One that runs on such a configuration, `mailstack.toml` in its directory."""
    directory = Path(tempfile.mkdtemp(prefix="mailstack-test-"))
    with production(directory) as running:
        yield running
    shutil.rmtree(directory)


@pytest.fixture(scope="package")
def server_config(server: Server) -> Path:
    return server.directory / "mailstack.toml"


@pytest.fixture(scope="package")
def development(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A development server for b.test alone."""
    arguments = ("dev", "--ephemeral", "--ports", "0", "--domain", "b.test")
    with Server(tmp_path_factory.mktemp("development"), arguments) as running:
        yield running
