"""A mail server for a test run."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import secrets
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

from mailstack.testing.live.control import ROOT, Control
from mailstack.testing.live.failures import MailServerError
from mailstack.testing.live.mailbox import Mailbox
from mailstack.testing.live.places import Place, django_settings, environment, places
from mailstack.testing.live.settings import DOMAIN, MailServerOptions, MailServerSettings, Way
from mailstack.testing.live.ways import Running, choose, forgotten

if TYPE_CHECKING:
    from mailstack.testing.faults import Faults

SHOWN = 20
"""Lines of the log in an explanation."""
LOCK = ".mailstack-test"
"""In a data directory that was given: held by the server that uses it."""
LONGEST_NAME = 40


class MailServer:
    """A mail server on free ports of loopback, with a mailbox for every address; what is kept goes away with it.

        with MailServer() as server:
            mailbox = server.mailbox()
            smtplib.SMTP(*server.smtp).sendmail("a@example.org", [mailbox.address], "Subject: hello\\n\\nWorld")
            assert mailbox.wait_for(subject="hello").text == "World\\n"

    Options are those of `MailServerSettings`. `start` and `close` may be called instead of `with`. Thread-safe."""

    smtp: Place
    submission: Place
    submissions: Place
    imap: Place
    imaps: Place
    pop3: Place
    pop3s: Place
    http: Place
    """Of the HTTP API, which `docs/api.md` describes."""

    def __init__(self, **options: Unpack[MailServerOptions]) -> None:
        self.settings = MailServerSettings(**options)
        self._running: Running | None = None
        self._lock = -1
        self._numbers = itertools.count(1)
        self._token = secrets.token_hex(3)

    # --- from start to end

    def start(self) -> Self:
        """Returns when it listens. Raises: MailServerError."""
        if self._running is not None:
            raise MailServerError("the mail server has been started already")
        self._hold_data()
        running = choose(self.settings)
        try:
            document = running.start()
        except BaseException as error:
            tail = _tail(running)
            with contextlib.suppress(MailServerError):
                running.stop()
            self._release_data()
            if isinstance(error, MailServerError):
                raise MailServerError(f"{error}{tail}") from None
            raise
        self._running = running
        self._finalizer = weakref.finalize(self, forgotten, running, os.getpid())
        self._document = document
        self._places = places(document)
        for name, place in self._places.items():
            setattr(self, name, place)
        self.control = Control(self.http.host, self.http.port, lambda: f"{running.explain()}{_tail(running)}")
        return self

    def close(self) -> None:
        """Stop it, and remove its mail unless `data` was given. Idempotent. Raises: MailServerError if it had ended by
        itself before."""
        if self._running is None:
            return
        running, self._running = self._running, None
        self._finalizer.detach()
        self.control.close()
        tail = _tail(running)
        try:
            running.stop()
        except MailServerError as error:
            raise MailServerError(f"{error}{tail}") from None
        finally:
            self._release_data()

    def __enter__(self) -> Self:
        return self if self._running is not None else self.start()

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def is_running(self) -> bool:
        """Whether it can be reached."""
        return self._running is not None and self._running.is_running()

    # --- what tests want of it

    @property
    def way(self) -> Way:
        """How it runs: `thread` or `process`."""
        return self._started().way

    @property
    def ca(self) -> str:
        """The path of the certificate that clients have to trust."""
        self._started()
        return str(self._document["ca"])

    @property
    def data(self) -> Path:
        """The directory where it keeps mail."""
        self._started()
        return Path(self._document["data"])

    @property
    def pid(self) -> int:
        """Of the server's process, which is this one if the server is a thread."""
        self._started()
        return int(self._document["pid"])

    @property
    def url(self) -> str:
        """Of the HTTP API."""
        self._started()
        return f"http://{self.http}"

    @property
    def faults(self) -> Faults:
        """What goes wrong on demand: `with mailserver.faults.smtp("RCPT", 452, times=2): …`."""
        from mailstack.testing.faults import Faults

        return Faults.by_http(self.url)

    def mailbox(self, address: str = "") -> Mailbox:
        """A user's mailbox; of an address that nobody else has, unless one is given. A name without @ gets a domain
        and becomes a part of such an address."""
        self._started()
        if "@" not in address:
            address = self._fresh(address)
        password = self.settings.password or f"secret-{self._token}"
        return Mailbox(self, address, password)

    def env(self) -> dict[str, str]:
        """Environment variables for programs that send or read mail; `Mailbox.env` has a login, too."""
        self._started()
        return environment(self._places, self.ca)

    def django(self) -> dict[str, Any]:
        """Django's EMAIL_* settings; `Mailbox.django` has a login, too."""
        self._started()
        return django_settings(self._places)

    def reset(self) -> None:
        """Remove all mail of all mailboxes. Tests that run side by side want `Mailbox.clear`."""
        self._started()
        self.control.ask("POST", f"{ROOT}/reset")

    def log(self, since: int = 0) -> list[str]:
        """The server's log, from a position that `log_position` gave, as far as it is remembered."""
        return self._started().log.since(since)

    def log_position(self) -> int:
        """Where the log ends now."""
        return self._started().log.position()

    # --- within

    def _fresh(self, name: str) -> str:
        domain = self.settings.domains[0] if self.settings.domains else DOMAIN
        readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:LONGEST_NAME].strip("-")
        return f"{readable or 'user'}.{self._token}{next(self._numbers)}@{domain}"

    def _started(self) -> Running:
        if self._running is None:
            raise MailServerError("the mail server is not running: start it, or use it in a `with` statement")
        return self._running

    def _hold_data(self) -> None:
        """Raises: MailServerError."""
        data = self.settings.data
        if data is None:
            return
        try:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(data / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise MailServerError(f"data directory {data}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._lock, 100, 0).decode("ascii", "replace").strip()
            self._release_data()
            raise MailServerError(
                f"data directory {data} is used by another test run (process {holder}); give each its own, or none"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _release_data(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _tail(running: Running) -> str:
    lines = running.log.since(0)[-SHOWN:]
    return "".join(f"\n  {line}" for line in (["the end of its log:", *lines] if lines else []))
