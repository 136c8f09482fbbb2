"""Faults on demand, for tests: `with faults.smtp("RCPT", 452, times=2): …`. Standard library only.

A `Faults` sets them in a server by its HTTP API, or in a FaultBook of this process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.error import HTTPError
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from mailstack.faults.book import FaultBook

PATH = "/api/v1/faults"
TIMEOUT = 10.0
Cut = int | Literal["line", "literal"]
BadCertificate = Literal["expired", "not-yet", "wrong-name", "untrusted", "handshake"]


class CannotSetFault(ValueError):
    """The server does not take this fault; the message says why."""


class Server(Protocol):
    """Where faults are set. Documents are those of the HTTP API."""

    def add(self, document: Mapping[str, Any]) -> list[str]:
        """The ids of the rules that it became. Raises: CannotSetFault."""

    def listed(self) -> list[dict[str, Any]]:
        """All that are set."""

    def remove(self, id_: str) -> None:
        """Nothing happens if it is gone already."""

    def clear(self) -> None:
        """Remove all."""


class HttpServer:
    """A server whose HTTP API is at `url`, as http://127.0.0.1:2580."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url.rstrip("/") + PATH
        self._token = token

    def add(self, document: Mapping[str, Any]) -> list[str]:
        return [str(each["id"]) for each in self._ask("POST", "", document)["faults"]]

    def listed(self) -> list[dict[str, Any]]:
        faults: list[dict[str, Any]] = self._ask("GET")["faults"]
        return faults

    def remove(self, id_: str) -> None:
        self._ask("DELETE", f"/{id_}")

    def clear(self) -> None:
        self._ask("DELETE")

    def _ask(self, method: str, more: str = "", document: Mapping[str, Any] | None = None) -> dict[str, Any]:
        body = None if document is None else json.dumps(document).encode()
        request = Request(self._url + more, body, {"Content-Type": "application/json"}, method=method)
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with urlopen(request, timeout=TIMEOUT) as response:
                answer: dict[str, Any] = json.load(response)
        except HTTPError as error:
            with error:
                said = error.read().decode("utf-8", "replace")
            if error.code == 404 and method == "DELETE":
                return {}
            raise CannotSetFault(_detail(said)) from None
        return answer


def _detail(said: str) -> str:
    try:
        return str(json.loads(said)["detail"])
    except (ValueError, KeyError, TypeError):
        return said


class BookServer:
    """A server in this process."""

    def __init__(self, book: FaultBook) -> None:
        self._book = book

    def add(self, document: Mapping[str, Any]) -> list[str]:
        from mailstack.faults.documents import rules_of
        from mailstack.faults.rules import BadFault

        try:
            return [self._book.add(rule).id for rule in rules_of(document)]
        except BadFault as bad:
            raise CannotSetFault(str(bad)) from None

    def listed(self) -> list[dict[str, Any]]:
        from mailstack.faults.documents import document_of

        return [document_of(each) for each in self._book.standing]

    def remove(self, id_: str) -> None:
        self._book.remove(id_)

    def clear(self) -> None:
        self._book.clear()


class Fault:
    """One that is set; used as a context manager, it ends with the block."""

    def __init__(self, server: Server, ids: list[str]) -> None:
        self._server = server
        self._ids = ids
        self._hits = 0
        self._ended = False

    @property
    def hits(self) -> int:
        """How often it has struck; after its end, how often it had."""
        if self._ended:
            return self._hits
        return sum(each["hits"] for each in self._server.listed() if each["id"] in self._ids)

    def end(self) -> None:
        """What has gone wrong stays so. Idempotent."""
        if not self._ended:
            self._hits, self._ended = self.hits, True
            for each in self._ids:
                self._server.remove(each)

    def __enter__(self) -> Fault:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


class Faults:
    """Sets faults. In each of the three protocols one of

    - `reply`: it is refused with these words: a code or a text in SMTP, as 452 or "452 4.2.2 Full", "NO [LIMIT] No"
      or "BYE" in IMAP, "-ERR [IN-USE] Locked" in POP3; True for a failure that passes
    - `delay`: done so many seconds later
    - `drop`: True: the connection closes instead; "reset": it is reset
    - `cut`: done, but the connection closes after so many octets of the reply, or in the middle of its first
      "line" or of the next "literal"
    - `throttle`: from there on so many octets a second, in and out
    - `garbage`: so many octets of chance instead of the reply
    - `hang`: nothing is read or said from there on

    at a stage: a command, "CONNECT", "*" for any command, and in SMTP "MESSAGE" for the end of the mail data. As often
    as `times` says, or for ever; with a `probability` by chance, which `seed` repeats; `each` counts `times` for
    each client, sender and recipient. For all, or those of whom the patterns `recipient`, `sender`, `client` (address
    or network), `helo` and `login` are true. Raise CannotSetFault."""

    def __init__(self, server: Server) -> None:
        self._server = server

    @classmethod
    def by_http(cls, url: str, token: str = "") -> Faults:
        """Of a server whose HTTP API is at `url`."""
        return cls(HttpServer(url, token))

    @classmethod
    def of_book(cls, book: FaultBook) -> Faults:
        """Of a server in this process."""
        return cls(BookServer(book))

    def smtp(self, at: str, reply: int | str | bool | None = None, **more: Any) -> Fault:
        """Of SMTP, submission and LMTP."""
        return self._at("smtp", at, reply, more)

    def imap(self, at: str, reply: str | bool | None = None, **more: Any) -> Fault:
        """Of IMAP: `at` a command, as "FETCH" (which is UID FETCH, too) or "UID FETCH"."""
        return self._at("imap", at, reply, more)

    def pop3(self, at: str, reply: str | bool | None = None, **more: Any) -> Fault:
        """Of POP3."""
        return self._at("pop3", at, reply, more)

    def certificate(self, kind: BadCertificate, protocol: str = "smtp", **more: Any) -> Fault:
        """TLS that clients have to refuse, with or without STARTTLS."""
        return self.set(protocol=protocol, certificate=kind, **more)

    def refuse_tls(self, protocol: str = "smtp", **more: Any) -> Fault:
        """STARTTLS or STLS is offered, and refused."""
        return self.set(protocol=protocol, preset="refuse-tls", **more)

    def greylist(self, times: int = 1, **more: Any) -> Fault:
        """New triplets of client, sender and recipient are refused for now, so often."""
        return self.set(protocol="smtp", preset="greylist", times=times, **more)

    def mailbox_full(self, recipient: str = "", protocol: str = "smtp", **more: Any) -> Fault:
        """Of recipients in SMTP; in IMAP of whom `login` says."""
        return self.set(protocol=protocol, preset="mailbox-full", recipient=recipient, **more)

    def slow_login(self, seconds: float, protocol: str = "imap", **more: Any) -> Fault:
        """Logging in takes so long."""
        return self.set(protocol=protocol, preset="slow-login", seconds=seconds, **more)

    def set(self, **document: Any) -> Fault:
        """As a document of the HTTP API; what is None or "" is left out."""
        said = {name: value for name, value in document.items() if value is not None and value != ""}
        return Fault(self._server, self._server.add(said))

    def clear(self) -> None:
        """End all of them."""
        self._server.clear()

    def listed(self) -> list[dict[str, Any]]:
        """All that are set, with their `hits`."""
        return self._server.listed()

    def _at(self, protocol: str, at: str, reply: int | str | bool | None, more: Mapping[str, Any]) -> Fault:
        return self.set(protocol=protocol, at=at, reply=reply, **more)
