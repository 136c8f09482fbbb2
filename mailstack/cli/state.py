"""Where the development mode keeps its mail, and says where it listens."""

from __future__ import annotations

import os
from pathlib import Path

READY_FILE = "dev.json"
"""In the state directory: where the development mode of this user listens now."""


def default_state_directory() -> Path:
    """`$XDG_STATE_HOME/mailstack`, by default `~/.local/state/mailstack` (XDG Base Directory 0.8)."""
    base = os.environ.get("XDG_STATE_HOME", "")
    if not base.startswith("/"):  # the specification: relative paths are ignored
        return Path.home() / ".local" / "state" / "mailstack"
    return Path(base) / "mailstack"
