"""Where everything listens, as a file that appears when it does."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Ready:
    """What the ready file says: `services` maps a service to its host and port."""

    services: Mapping[str, tuple[str, int]]
    pid: int
    data: Path
    ca: Path | None
    started: float = 0.0
    """In seconds since the epoch; 0: not said."""

    def document(self) -> dict[str, object]:
        """As the file has it."""
        places: dict[str, object] = {name: {"host": host, "port": port} for name, (host, port) in self.services.items()}
        places |= {"pid": self.pid, "data": str(self.data), "ca": str(self.ca) if self.ca else None}
        return places | ({"started": self.started} if self.started else {})

    def write(self, path: Path) -> None:
        """Atomically: who sees the file sees all of it. Raises: OSError."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_text(json.dumps(self.document(), indent=2) + "\n")
            temporary.rename(path)
        except OSError as error:
            raise OSError(f"ready file {path}: {error.strerror}") from error

    def withdraw(self, path: Path) -> None:
        """Remove the file, unless a process that came later has written its own there."""
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):  # it is gone, or somebody else's
            if json.loads(path.read_text())["pid"] == self.pid:
                path.unlink()
