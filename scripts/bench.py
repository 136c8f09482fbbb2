"""Measures this server on loopback: start-up, memory, and what each protocol does in a second.

    scripts/bench                      everything, in about two minutes
    scripts/bench --only smtp --messages 2000
    scripts/bench --json result.json   also as JSON
    scripts/bench serve --peer-file F  a production server with user0001..user1000 for other harnesses

A part is a module `bench_<part>.py` that measures and reports. Beside each rate of deliveries stands
what the file system alone can do in the same run: compare the ratios, the machine's own speed
varies. What a part did is counted afterwards; a lost message fails the run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

PARTS = ("start", "smtp", "steps", "imap", "pop3", "idle", "silent")


def measure(options: argparse.Namespace) -> int:
    root = Path(tempfile.mkdtemp(prefix="mailstack-bench-", dir=options.directory))
    results: dict[str, dict[str, Any]] = {}
    try:
        for part in options.only or PARTS:
            module = import_module(f"bench_{part}")
            results[part] = module.measure(root, options)
            for line in module.report(results[part]):
                print(line, flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; may be given again")
    parser.add_argument("--messages", type=int, default=5000, help="a number of connections (default %(default)s)")
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--size", type=int, default=4096, help="octets of a message that is sent")
    parser.add_argument("--mailbox", type=int, default=20_000, help="messages of the mailbox that is read")
    parser.add_argument("--directory", type=Path, help="where the store is to be; on the disk to measure")
    parser.add_argument("--json", type=Path, metavar="FILE")
    commands = parser.add_subparsers(dest="command")
    serve = commands.add_parser("serve", help="start a production server for another harness, until SIGTERM")
    serve.add_argument("--peer-file", type=Path, required=True, help="JSON that tells the harness where everything is")
    serve.add_argument("--users", type=int, default=1000)
    serve.add_argument(
        "--directory", type=Path, help="where the store is to be; as root, one that the user nobody may enter"
    )
    options = parser.parse_args()
    if options.command == "serve":
        import bench_serve

        return bench_serve.serve(options.peer_file, options.users, options.directory)
    return measure(options)


if __name__ == "__main__":
    sys.exit(main())
