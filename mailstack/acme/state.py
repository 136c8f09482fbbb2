"""What [acme] has on disk, in the data directory's `acme`. Blocking.

account.key         the key of the account with the authority, 0600
state.json          what is known of the last attempt and of the next one
lock                held by the process that renews
current             a symbolic link to the certificate in use: changed at once, never half
certificates/000001/
                        cert.pem (leaf first) and key.pem, 0600; the newest few are kept
self-signed/        the same, until there is one
challenges/         proofs for orders under way
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mailstack.acme.challenges import Challenges
from mailstack.acme.files import replace_file, sync_directory
from mailstack.config.sections import Config
from mailstack.net.certificates import CERTIFICATE, KEY, usable, write_self_signed

DIRECTORY = "acme"
"""In the data directory."""
KEPT = 3
"""Certificates that are kept, the one in use among them."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Of getting the certificate that is wanted. Times are seconds since the epoch; 0: never, or not known."""

    wanted: str = ""
    """The authority and the hosts that all of this is about."""
    contact: str = ""
    """The address that the authority knows."""
    attempted: float = 0.0
    failures: int = 0
    """In a row."""
    error: str = ""
    """Of the last attempt; "": it went well."""
    not_before_again: float = 0.0
    """No attempt is made before."""
    asked: float = 0.0
    """When the authority was last asked for its window."""
    ask_again: float = 0.0
    window_start: float = 0.0
    window_end: float = 0.0
    renew_at: float = 0.0
    """A time in the window."""
    window_of: str = ""
    """The certificate that the window is for."""
    explanation: str = ""
    """Where the authority says why the window is so (RFC 9773 §4.2)."""


class State:
    """The directory. Methods raise OSError."""

    def __init__(self, data: Path) -> None:
        self.directory = data / DIRECTORY
        self.current = self.directory / "current"
        self.certificate, self.key = self.current / CERTIFICATE, self.current / KEY
        self.challenges = Challenges(self.directory / "challenges")

    def make(self) -> None:
        """The directory, if it is not there."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin_with_self_signed(self, hosts: tuple[str, ...]) -> None:
        """A certificate that nobody trusts, so that there is one at all; only if there is none."""
        self.make()
        if self.is_there() and not self.is_self_signed():
            return
        place = self.directory / "self-signed"
        if not usable(place):
            write_self_signed(place, hosts)
        self._point_to(place)

    def is_there(self) -> bool:
        """Whether there is a certificate in use, if only a self-signed one."""
        return self.certificate.exists() and self.key.exists()

    def is_self_signed(self) -> bool:
        """Whether the one in use is only that of the beginning."""
        return os.path.basename(os.path.realpath(self.current)) == "self-signed"

    def keep(self, chain: bytes, key: bytes) -> None:
        """Take a new certificate into use. Called by who has `sole`."""
        certificates = self.directory / "certificates"
        certificates.mkdir(mode=0o700, exist_ok=True)
        last = max((int(path.name) for path in certificates.iterdir() if path.name.isdigit()), default=0)
        place = certificates / f"{last + 1:06d}"  # a number, not the time: clocks are set back
        place.mkdir(mode=0o700)
        replace_file(place / KEY, key, 0o600)
        replace_file(place / CERTIFICATE, chain, 0o644)
        sync_directory(certificates)
        self._point_to(place)
        for old in sorted(certificates.iterdir())[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def account_key(self) -> bytes | None:
        """As PEM; None: there is none yet."""
        with contextlib.suppress(FileNotFoundError):
            return (self.directory / "account.key").read_bytes()
        return None

    def keep_account_key(self, pem: bytes) -> None:
        replace_file(self.directory / "account.key", pem, 0o600)

    def progress(self) -> Progress:
        """What is known; nothing, if the file is not there or not one of ours."""
        try:
            document: Any = json.loads((self.directory / "state.json").read_bytes())
            kinds = {key: type(value) for key, value in asdict(Progress()).items()}
            known = {key: kinds[key](value) for key, value in document.items() if key in kinds}
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            return Progress()
        return Progress(**known)

    def note(self, progress: Progress) -> None:
        text = json.dumps(asdict(progress), indent=1) + "\n"
        replace_file(self.directory / "state.json", text.encode(), 0o600)

    @contextmanager
    def sole(self) -> Iterator[bool]:
        """Be the one that renews, of all processes; False: another one is."""
        fd = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(fd)  # which gives the lock back

    def _point_to(self, place: Path) -> None:
        temporary = self.directory / f".current.{os.getpid()}.tmp"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(place.relative_to(self.directory))
        temporary.rename(self.current)
        sync_directory(self.directory)


def served(config: Config) -> list[tuple[Path, Path]]:
    """Certificates and keys that a server with this configuration uses: that of [acme], if there is one, then the
    configured ones in their order. One that [acme] has signed itself is only for when there is no other."""
    files = [(pair.cert, pair.key) for pair in config.tls.certificates]
    state = State(config.data)
    if config.acme.is_on and state.is_there() and not (files and state.is_self_signed()):
        files.insert(0, (state.certificate, state.key))
    return files
