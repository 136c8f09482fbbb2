"""Directories in memory where there are some: what these tests ask is not how fast a disk syncs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MEMORY = "/dev/shm"


@pytest.fixture(scope="session")
def make_directory() -> Iterator[Callable[[], Path]]:
    where = MEMORY if os.access(MEMORY, os.W_OK) else None
    root = Path(tempfile.mkdtemp(prefix="mailstack-test-", dir=where))
    yield lambda: Path(tempfile.mkdtemp(dir=root))
    shutil.rmtree(root)


@pytest.fixture
def tmp_path(make_directory: Callable[[], Path]) -> Path:
    return make_directory()
