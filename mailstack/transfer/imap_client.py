"""Another IMAP server, as a client: connecting, mailboxes, fetching, appending. In the calling thread.

The standard library's imaplib has the connection and the literals; what it does not parse is parsed here."""

from __future__ import annotations

import imaplib
import re
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from typing import Any
from urllib.parse import unquote, urlsplit

from mailstack.mail.mailbox_name import from_modified_utf7, to_modified_utf7
from mailstack.transfer.values import DELIMITER, INBOX, Folder, Unusable

TIMEOUT = 120.0
"""Seconds to wait for the server's next octets."""
PORTS = {"imap": 143, "imaps": 993}
MAX_MAILBOXES = 100_000
_LIST = re.compile(rb'\(([^)]*)\) (?:"\\?(.)"|NIL) (.*)', re.DOTALL | re.IGNORECASE)
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_PREFIX = re.compile(rb'\(\("((?:[^"\\]|\\.)*)" (?:"\\?(.)"|NIL)')
_HOPELESS = ("[OVERQUOTA]", "[TRYCREATE]", "[NOPERM]", "[UNAVAILABLE]", "[LIMIT]")
"""Response codes (RFC 5530, RFC 9051 §7.1) after which the next message will fare no better."""
_USES = frozenset({"\\all", "\\archive", "\\drafts", "\\flagged", "\\junk", "\\sent", "\\trash"})
_UID, _SIZE = re.compile(rb"\bUID (\d+)"), re.compile(rb"\bRFC822\.SIZE (\d+)")
_SHORT = re.compile(rb'\bBODY\[\](?:<\d+>)? "((?:[^"\\]|\\.)*)"')
_FLAGS, _DATE = (
    re.compile(rb"\bFLAGS \(([^)]*)\)"),
    re.compile(rb'\bINTERNALDATE "([^"]+)"'),
)


@dataclass(frozen=True, slots=True)
class Address:
    """`imaps://user@host:port`, or imap:// for STARTTLS."""

    scheme: str
    user: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{self.user}@{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Trust:
    """`ca`: a PEM file of authorities instead of the system's. `plaintext`: without TLS, the password too."""

    ca: str | None = None
    plaintext: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """A mailbox of the server: as a folder, and its name as it is sent."""

    folder: Folder
    raw: str
    selectable: bool


@dataclass(frozen=True, slots=True)
class Fetched:
    """What FETCH said of one message; `octets` is None if that was not asked for."""

    uid: int
    size: int
    words: tuple[str, ...]
    date: float | None
    octets: bytes | None


def is_address(text: str) -> bool:
    """Whether a word names an IMAP server."""
    return text.startswith(("imap://", "imaps://"))


def parse_address(text: str) -> Address:
    """Raises: Unusable."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise Unusable(f"{text}: {error}") from None
    if parts.password is not None:
        raise Unusable("a password on the command line can be read by everybody: leave it out, it is asked for")
    if not parts.hostname or not parts.username or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise Unusable(f"expected {parts.scheme}://user@host or {parts.scheme}://user@host:port, not {text}")
    return Address(
        parts.scheme,
        unquote(parts.username),
        parts.hostname,
        port or PORTS[parts.scheme],
    )


class RefusedThere(Unusable):
    """The server says NO to one command; the connection goes on."""


class _No(imaplib.IMAP4.error):
    """NO, on its way to RefusedThere."""


@contextmanager
def errors(address: Address) -> Iterator[None]:
    """What the library and the network raise becomes Unusable."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise Unusable(f"{address}: its certificate is not trusted: {error.verify_message}; --ca FILE") from error
    except imaplib.IMAP4.abort as error:
        raise Unusable(f"{address}: the connection broke: {error}; run it again to continue") from error
    except _No as error:
        raise RefusedThere(f"{address}: {_said(error)}") from error
    except imaplib.IMAP4.error as error:
        raise Unusable(f"{address}: {_said(error)}") from error
    except OSError as error:
        raise Unusable(f"{address}: {error.strerror or error or type(error).__name__}") from error


def _said(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)


class Client:
    """A logged-in connection. Raises: Unusable, from every method."""

    def __init__(self, address: Address, password: str, trust: Trust) -> None:
        self.address = address
        with errors(address):
            self._imap = _connected(address, trust)
            # imaplib writes what follows a literal by itself, and Nagle's algorithm would hold it back for 40 ms.
            self._imap.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                self._log_in(password)
                self._imap.capability()
                self._capabilities = _words(self._imap.response("CAPABILITY")[1]) or set(self._imap.capabilities)
            except BaseException:
                self._imap.shutdown()
                raise

    def _log_in(self, password: str) -> None:
        if "AUTH=PLAIN" in self._imap.capabilities:
            secret = f"\0{self.address.user}\0{password}".encode()
            self._imap.authenticate("PLAIN", lambda _: secret)
        else:
            self._imap.login(self.address.user, password)

    def close(self) -> None:
        """LOGOUT, or less if the server does not listen any more."""
        try:
            self._imap.logout()
        except (imaplib.IMAP4.error, OSError):
            self._imap.shutdown()

    # --- mailboxes

    def mailboxes(self) -> list[Listed]:
        """All of them, without the prefix of the personal namespace."""
        extended = bool(self._capabilities & {"LIST-EXTENDED", "IMAP4REV2"})
        with errors(self.address):
            prefix = self._prefix()
            if extended:
                uses = " SPECIAL-USE" if "SPECIAL-USE" in self._capabilities else ""
                self._ok(self._imap.xatom("LIST", '""', '"*"', f"RETURN (SUBSCRIBED{uses})"))
                lines = self._imap.response("LIST")[1]
                return [listed for line in _joined(lines) if (listed := _listed(line, prefix, None))]
            subscribed = {_name(line) for line in _joined(self._ok(self._imap.lsub('""', '"*"')))}
            lines = self._ok(self._imap.list('""', '"*"'))
            return [listed for line in _joined(lines) if (listed := _listed(line, prefix, subscribed))]

    def _prefix(self) -> bytes:
        if "NAMESPACE" not in self._capabilities:
            return b""
        found = _PREFIX.match(b"".join(_joined(self._ok(self._imap.namespace()))))
        return found[1] if found and found[1].upper().startswith(INBOX.encode()) else b""

    def delimiter(self) -> tuple[str, str]:
        """The hierarchy delimiter and the prefix under which mailboxes are made."""
        with errors(self.address):
            prefix = self._prefix().decode("ascii", "replace")
            for line in _joined(self._ok(self._imap.list('""', '""'))):
                found = _LIST.match(line)
                if found and found[2]:
                    return found[2].decode("ascii", "replace"), prefix
        return DELIMITER, prefix

    def count(self, mailbox: Listed) -> int:
        """How many messages it has; 0 if the server does not tell."""
        try:
            return self._status(mailbox.raw, "MESSAGES")
        except RefusedThere:
            return 0

    def uid_next(self, raw: str) -> int:
        """The UID that the next message gets."""
        return self._status(raw, "UIDNEXT")

    def _status(self, raw: str, item: str) -> int:
        with errors(self.address):
            said = b"".join(_joined(self._ok(self._imap.status(quoted(raw), f"({item})"))))
        found = re.search(rb"%s (\d+)" % item.encode(), said)
        return int(found[1]) if found else 0

    def select(self, raw: str) -> tuple[int, int]:
        """Messages and UIDVALIDITY; read-only."""
        with errors(self.address):
            count = self._ok(self._imap.select(quoted(raw), readonly=True))
            validity = self._imap.response("UIDVALIDITY")[1]
        return int(count[0] or 0), int(validity[0] or 0) if validity else 0

    def create(self, raw: str) -> None:
        with errors(self.address):
            self._ok(self._imap.create(quoted(raw)))
            self._imap.subscribe(quoted(raw))

    def append(self, raw: str, words: Sequence[str], date: str, octets: bytes) -> str:
        """Why the server refuses this message; "" if it has taken it."""
        with errors(self.address):
            kind, data = self._imap.append(quoted(raw), f"({' '.join(words)})", date, octets)
            said = b" ".join(each for each in data if isinstance(each, bytes)).decode("utf-8", "replace")
            if kind != "OK" and said.startswith(_HOPELESS):
                raise imaplib.IMAP4.error(said)
        return "" if kind == "OK" else said or kind

    # --- messages

    def uids(self, count: int, at_once: int) -> list[int]:
        """Those of the selected mailbox, which has so many messages."""
        found: list[int] = []
        for start in range(1, count + 1, at_once):
            with errors(self.address):
                data = self._ok(self._imap.fetch(f"{start}:{min(count, start + at_once - 1)}", "(UID)"))
            found += [int(match[1]) for line in _joined(data) if (match := _UID.search(line))]
        return sorted(set(found))

    def fetch(self, uids: Sequence[int], items: str) -> list[Fetched] | None:
        """None if the server refuses. Messages that are gone are absent."""
        wanted = ",".join(map(str, uids))
        with errors(self.address):
            kind, data = self._imap.uid("FETCH", wanted, f"(UID {items})")
            return None if kind != "OK" else list(_fetched(data))

    def _ok(self, answer: tuple[str, list[Any]]) -> list[Any]:
        kind, data = answer
        if kind != "OK":
            raise _No(b" ".join(each for each in data if isinstance(each, bytes)) or kind)
        return data


def _connected(address: Address, trust: Trust) -> imaplib.IMAP4:
    context = ssl.create_default_context(cafile=trust.ca)
    if address.scheme == "imaps":
        return imaplib.IMAP4_SSL(address.host, address.port, ssl_context=context, timeout=TIMEOUT)
    imap = imaplib.IMAP4(address.host, address.port, timeout=TIMEOUT)
    if not trust.plaintext:
        try:
            imap.starttls(context)
        except imaplib.IMAP4.error as error:
            imap.shutdown()
            reason = f"no TLS: {_said(error)}; --insecure-plaintext sends the password readable by everybody"
            raise Unusable(f"{address}: {reason}") from error
        except BaseException:
            imap.shutdown()
            raise
    return imap


def quoted(raw: str) -> str:
    """A mailbox name as a quoted string."""
    return '"' + raw.replace("\\", "\\\\").replace('"', '\\"') + '"'


def raw_name(name: str, delimiter: str, prefix: str) -> str:
    """The name of a mailbox of ours, as another server wants it."""
    if name == INBOX:
        return INBOX
    parts = [to_modified_utf7(part.replace(delimiter, "_")) for part in name.split(DELIMITER)]
    return prefix + delimiter.join(parts)


def _words(data: list[Any]) -> set[str]:
    return {
        word.upper() for line in data if isinstance(line, bytes) for word in line.decode("ascii", "replace").split()
    }


def _joined(data: list[Any]) -> Iterator[bytes]:
    """The lines of an answer; a literal stands in its line as a quoted string."""
    pending = b""
    for item in data:
        if isinstance(item, tuple):
            escaped = item[1].replace(b"\\", b"\\\\").replace(b'"', b'\\"')
            pending += re.sub(rb"\{\d+\+?\}$", b"", item[0]) + b'"' + escaped + b'"'
        elif item is not None:
            yield pending + item
            pending = b""
    if pending:
        yield pending


def _name(line: bytes) -> bytes:
    found = _LIST.match(line)
    if found is None:
        return b""
    quoted = _QUOTED.match(found[3])
    return re.sub(rb"\\(.)", rb"\1", quoted[1]) if quoted else found[3].split(b" ")[0]


def _listed(line: bytes, prefix: bytes, subscribed: set[bytes] | None) -> Listed | None:
    found, raw = _LIST.match(line), _name(line)
    if found is None or not raw:
        return None
    words = {word.lower() for word in found[1].decode("ascii", "replace").split()}
    name = _folder_name(raw.removeprefix(prefix), found[2] or b"")
    uses = sorted(words & _USES)
    use = "\\" + uses[0][1:].capitalize() if uses else ""
    is_subscribed = "\\subscribed" in words if subscribed is None else raw in subscribed
    selectable = not words & {"\\noselect", "\\nonexistent"}
    return Listed(Folder(name, use, is_subscribed), raw.decode("latin-1"), selectable)


def _folder_name(raw: bytes, delimiter: bytes) -> str:
    text = raw.decode("utf-8", "replace")
    parts = text.split(delimiter.decode("latin-1")) if delimiter else [text]
    decoded: list[str] = []
    for part in parts:
        try:
            decoded.append(from_modified_utf7(part))
        except ValueError:
            decoded.append(part)
    return DELIMITER.join(part.replace(DELIMITER, "_") for part in decoded)


def _fetched(data: list[Any]) -> Iterator[Fetched]:
    """Each message of an answer: a literal is its octets, what stands around it the other items."""
    text, octets = b"", None
    for item in data:
        if isinstance(item, tuple):
            text, octets = text + item[0], item[1]
            continue
        text += item or b""
        uid = _UID.search(text)
        if uid is not None:
            size, flags, date = (
                _SIZE.search(text),
                _FLAGS.search(text),
                _DATE.search(text),
            )
            if octets is None and (short := _SHORT.search(text)):
                octets = re.sub(rb"\\(.)", rb"\1", short[1])
            words = tuple(flags[1].decode("ascii", "replace").split()) if flags else ()
            yield Fetched(int(uid[1]), int(size[1]) if size else 0, words, _date(date), octets)
        text, octets = b"", None


def _date(found: re.Match[bytes] | None) -> float | None:
    parsed = parsedate_tz(found[1].decode("ascii", "replace")) if found else None
    return None if parsed is None else float(mktime_tz(parsed))
