"""A directory that a server of another account can reach."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def shared_directory() -> Iterator[Path]:
    """As `reachable`, for all tests of a module."""
    directory = Path(tempfile.mkdtemp(prefix="mailstack-test-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A temporary directory. pytest's own lie in one that only its user may enter, so a server
    that has become somebody else would not find its files."""
    directory = Path(tempfile.mkdtemp(prefix="mailstack-test-"))
    yield directory
    shutil.rmtree(directory)
