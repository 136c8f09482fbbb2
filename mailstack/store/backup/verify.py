"""Whether a backup is whole: every message read, and what the files say of each other compared."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

from mailstack.queue.database import DATABASE
from mailstack.store.backup import places
from mailstack.store.backup.places import Manifest
from mailstack.store.maildir import names
from mailstack.store.maildir.uidlist import FILE as UIDLIST
from mailstack.store.maildir.uidlist import Broken, UidList
from mailstack.store.measure import read_sizes

Progress = Callable[[str, int], None]


def write_sums(backup: Path, progress: Progress) -> list[str]:
    """Read every message; write SHA256SUMS, as `sha256sum --check` reads it. Returns what is wrong.
    Raises: OSError."""
    problems: list[str] = []
    lines: list[str] = []
    for path, digest, _ in _read_all(backup, problems, progress):
        lines.append(_line(path, digest))
    problems += _uidlists(backup)
    sums = backup / places.SUMS
    with sums.open("w", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    return problems


def verify(backup: Path, manifest: Manifest, progress: Progress) -> list[str]:
    """What is wrong with a backup, one line each. Raises: OSError."""
    problems: list[str] = []
    expected = _sums(backup) if manifest.verified else None
    found: dict[str, tuple[int, int]] = {}
    for path, digest, octets in _read_all(backup, problems, progress):
        directory = Path(path).parts[1]
        messages, total = found.get(directory, (0, 0))
        found[directory] = (messages + 1, total + octets)
        if expected is not None and expected.pop(path, "") != digest:
            problems.append(f"{path}: not the octets that were copied")
    problems += [f"{path}: missing" for path in expected or ()]
    for name, counts in manifest.accounts.items():
        messages, octets = found.get(counts.directory, (0, 0))
        if (messages, octets) != (counts.messages, counts.octets):
            said = f"the manifest says {counts.messages} messages, {counts.octets} octets"
            problems.append(f"{name}: {messages} messages, {octets} octets, but {said}")
    return problems + _uidlists(backup) + _databases(backup)


def _folders(backup: Path) -> Iterator[Path]:
    for account in sorted((backup / "mail").iterdir()):
        yield from (path for path in (account, *sorted(account.glob(".*"))) if (path / "cur").is_dir())


def _read_all(backup: Path, problems: list[str], progress: Progress) -> Iterator[tuple[str, str, int]]:
    """Path below the backup, SHA-256 and octets of each message that can be read."""
    count = 0
    for folder in _folders(backup):
        for directory in ("cur", "new"):
            for name in sorted(os.listdir(folder / directory)):
                path = folder / directory / name
                below = str(path.relative_to(backup))
                digest = sha256()
                try:
                    found = read_sizes(path, digest)
                except OSError as error:
                    problems.append(f"{below}: {error.strerror}")
                    continue
                said = names.sizes(names.split(name)[0])
                if said.octets not in (-1, found.octets) or said.with_crlf not in (-1, found.with_crlf):
                    problems.append(f"{below}: {found.octets} octets ({found.with_crlf} with CRLF), not as in its name")
                count += 1
                if count % 100 == 0:
                    progress("reading", count)
                yield below, digest.hexdigest(), found.octets


def _uidlists(backup: Path) -> list[str]:
    """Records without a message."""
    problems: list[str] = []
    for folder in _folders(backup):
        below = (folder / UIDLIST).relative_to(backup)
        try:
            loaded = UidList(folder / UIDLIST).load()
        except Broken as broken:
            problems.append(f"{below}: {broken}")
            continue
        there = {name.partition(":")[0] for directory in ("cur", "new") for name in os.listdir(folder / directory)}
        lost = [uid for uid, base in loaded.records if base not in there] if loaded else []
        if lost:
            problems.append(f"{below}: no message for UID {', '.join(map(str, lost[:10]))}")
    return problems


def _databases(backup: Path) -> list[str]:
    return [
        line for path in (*sorted(backup.glob("*.sqlite3")), backup / "queue" / DATABASE) for line in _database(path)
    ]


def _database(path: Path) -> list[str]:
    if not path.exists():
        return []
    try:
        database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            found = [str(row[0]) for row in database.execute("PRAGMA integrity_check")]
        finally:
            database.close()
    except sqlite3.Error as error:
        return [f"{path.name}: {error}"]
    return [] if found == ["ok"] else [f"{path.name}: {line}" for line in found[:10]]


def _line(path: str, digest: str) -> str:
    # sha256sum escapes LF and backslash in names, and says so by a backslash before the line.
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n")
    return f"{'' if escaped == path else chr(92)}{digest}  {escaped}\n"


def _sums(backup: Path) -> dict[str, str]:
    """Path → digest. Raises: OSError."""
    found: dict[str, str] = {}
    with (backup / places.SUMS).open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for line in file:
            escaped = line.startswith("\\")
            digest, _, path = line.removeprefix("\\").removesuffix("\n").partition("  ")
            found[path.replace("\\n", "\n").replace("\\\\", "\\") if escaped else path] = digest
    return found
