"""What programs/package.json names, installed by npm."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "programs" / "package.json"
LIMIT = 60


def node_libraries() -> Path:
    """The directory that has them in its node_modules: $MAILSTACK_NODE, or else one in the user's cache, which is
    filled if there is none of this package.json. Skips the test when that cannot be done."""
    if given := os.environ.get("MAILSTACK_NODE"):
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = f"node-{hashlib.sha256(PACKAGE.read_bytes()).hexdigest()[:12]}"
    directory = cache / "mailstack-tests" / name
    if not directory.exists():
        filling = directory.with_name(f"{name}.{os.getpid()}")
        filling.mkdir(parents=True)
        shutil.copy(PACKAGE, filling)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(filling)]
        try:
            subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT)
            filling.rename(directory)
        except (OSError, subprocess.SubprocessError) as error:
            shutil.rmtree(filling)
            if not directory.exists():  # another worker may have been faster
                pytest.skip(f"npm cannot install {PACKAGE.name}: {error}")
    return directory
