"""docs/rfc-status.md says what the server offers: no word more, no word less."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from transcript_sessions import factory
from transcripts import Fakes, Transcript
from twisted.internet.defer import Deferred

from mailstack.auth.mechanisms import NAMES
from mailstack.ports import TlsInfo
from mailstack.testing.connection import MemoryConnection

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "rfc-status.md"
TLS = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384")
SITUATIONS: tuple[tuple[dict[str, str], TlsInfo | None], ...] = (
    ({}, None),
    ({}, TLS),
    ({"tls_available": "yes", "allow_plaintext_auth": "no"}, None),
)
"""Settings and TLS of the connections whose words together are everything that may be offered."""
OF_IMAP: tuple[tuple[dict[str, str], TlsInfo | None], ...] = (
    ({"utf8_only": "yes", "message_limit": "9"}, None),
    ({"save_limit": "9", "literal_minus": "yes"}, None),
)
"""More of them."""
OF_POP3: tuple[tuple[dict[str, str], TlsInfo | None], ...] = (({"login_delay": "60"}, None),)
"""The same."""


TRUSTED = {"vrfy": "everybody", "xclient_trusted": "127.0.0.0/8", "etrn_allowed": "127.0.0.0/8"}
"""The same for SMTP, of clients that may do more than others."""


def rows(section: str) -> list[list[str]]:
    """The cells of a section's table, its two head lines left out."""
    text = re.split(r"^## ", DOCUMENT.read_text(), flags=re.MULTILINE)
    (found,) = (part for part in text if part.startswith(section + "\n"))
    lines = [line for line in found.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def documented(section: str) -> list[str]:
    return [word for cells in rows(section) for word in re.findall(r"`([^`]+)`", cells[0])]


def answer(protocol: str, settings: dict[str, str], tls: TlsInfo | None, said: bytes) -> str:
    """What a session says first, and then to `said`."""
    script = Transcript(DOCUMENT, protocol, users={"alice@example.org": "secret"})
    connection = MemoryConnection(tls=tls, bindings={"tls-exporter": b"x"}, certificate=b"x")
    fakes = Fakes(script)
    fakes.accounts.offers = NAMES
    session: Any = factory(protocol, settings)(connection, fakes)
    Deferred.fromCoroutine(session.run()).addErrback(lambda failure: None)
    connection.take()
    connection.feed(said)
    return connection.take().decode()


def imap_words() -> set[str]:
    words: set[str] = set()
    for settings, tls in SITUATIONS + OF_IMAP:
        said = b"a CAPABILITY\r\nb LOGIN alice@example.org secret\r\nc CAPABILITY\r\n"
        for line in answer("imap", settings, tls, said).split("\r\n"):
            if line.startswith("* CAPABILITY "):
                words.update(line.split()[2:])
    return {re.sub(r"=\d+$", "=", word) if "LIMIT=" in word else word for word in words}


def smtp_words(protocol: str) -> set[str]:
    words: set[str] = set()
    for settings, tls in (*SITUATIONS, (TRUSTED, None)):
        lines = answer(protocol, settings, tls, b"EHLO client.example.org\r\n").split("\r\n")[1:]
        for line in filter(None, lines):
            word, *more = line[4:].split()
            words.update([f"AUTH {mechanism}" for mechanism in more] if word == "AUTH" else [word])
    return words


def pop3_words() -> set[str]:
    words: set[str] = set()
    for settings, tls in SITUATIONS + OF_POP3:
        said = b"CAPA\r\nUSER alice@example.org\r\nPASS secret\r\nCAPA\r\n"
        capabilities = re.findall(r"list follows\r\n(.*?)\r\n\.\r\n", answer("pop3", settings, tls, said), re.DOTALL)
        for line in "\r\n".join(capabilities).split("\r\n"):
            word, *more = line.split()
            words.update([f"SASL {mechanism}" for mechanism in more] if word == "SASL" else [word])
    return words


@pytest.mark.parametrize(
    ("section", "words"),
    [("IMAP", imap_words()), ("SMTP", smtp_words("smtp") | smtp_words("submission")), ("POP3", pop3_words())],
)
def test_the_document_names_exactly_what_is_offered(section: str, words: set[str]) -> None:
    named = documented(section)
    assert len(named) == len(set(named)), f"a word stands twice: {sorted(named)}"
    assert set(named) == words, (
        f"not documented: {sorted(words - set(named))}; not offered: {sorted(set(named) - words)}"
    )


@pytest.mark.parametrize("section", ["IMAP", "SMTP", "POP3"])
def test_each_row_names_an_rfc_and_a_module_that_is_there(section: str) -> None:
    for cells in rows(section):
        assert len(cells) == 4, cells
        assert re.match(r"(RFC )?\d{4}|draft-|—", cells[1]), cells
        for module in re.findall(r"`([^`]+)`", cells[3]):
            assert (ROOT / "mailstack" / module).exists(), f"{cells[0]}: there is no {module}"
