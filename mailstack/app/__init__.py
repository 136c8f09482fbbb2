"""The composition root: from a configuration to running services.

run.py          a process from start to end: log, reactor, signals, ready file
services.py     Config and resources → one listener a service
listening.py    sockets: bound here, or passed by systemd
development.py  the configuration of the development mode, and its start
production.py   `mailstack serve`
certification.py  [acme]: a thread for the certificate, and what answers the authority
processes.py    who serves a data directory now
status.py       `mailstack status`: a server as it is seen from outside
"""

from __future__ import annotations

import os
from pathlib import Path

from mailstack.net.systemd import passed_sockets


def serve(config_path: Path, ready_file: Path | None) -> int:
    """Run production until told to stop; the exit status. Imports the reactor."""
    # Before anything else is imported: twisted.internet.endpoints takes systemd's variables out of the environment.
    passed = passed_sockets(os.environ)
    from mailstack.app.production import serve as run

    return run(config_path, ready_file, passed)
