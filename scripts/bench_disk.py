"""What the file system can do: create, write, fsync, rename, fsync the directory."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path


def deliver(directory: Path, directory_descriptor: int, name: str, octets: bytes) -> None:
    """The system calls of one durable delivery into a Maildir."""
    temporary = directory / "tmp" / name
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(descriptor, octets)
    os.fsync(descriptor)
    os.close(descriptor)
    os.rename(temporary, directory / "new" / name)
    os.fsync(directory_descriptor)


def rate(root: Path, threads: int, messages: int, directories: int = 50, size: int = 4096) -> float:
    """Durable deliveries a second with so many threads over so many Maildirs."""
    octets = b"x" * size
    boxes = [root / f"box{number:03d}" for number in range(directories)]
    descriptors = []
    for box in boxes:
        (box / "tmp").mkdir(parents=True)
        (box / "new").mkdir()
        descriptors.append(os.open(box / "new", os.O_RDONLY | os.O_DIRECTORY))
    errors: list[OSError] = []

    def work(number: int) -> None:
        try:
            for i in range(number, messages, threads):
                box = i % directories
                deliver(boxes[box], descriptors[box], f"{i}.bench", octets)
        except OSError as error:
            errors.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    started = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds = time.monotonic() - started
    for descriptor in descriptors:
        os.close(descriptor)
    if errors:
        raise errors[0]
    return messages / seconds
