"""What is fuzzed of SMTP, LMTP, POP3 before the login, and PROXY headers; see fuzz_targets.py."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from fuzz_sessions import ALICE, Found, run_session

from mailstack.auth.mechanisms import NAMES
from mailstack.errors import BadSyntax, FramingLost
from mailstack.net.proxy_protocol import Proxied, ProxyHeader
from mailstack.ports import Peer
from mailstack.smtp.facts import Facts
from mailstack.smtp.session import TABLES
from mailstack.smtp.settings import Role, SmtpSettings
from mailstack.smtp.wire import grammar
from mailstack.smtp.wire.framing import Framer, TooLong

SMTP_REPLY = re.compile(rb"(?:[2-5]\d\d[ -][^\r\n]*\r\n)+")
POP3_REPLY = re.compile(rb"(?:\+ ?|-ERR|[^\r\n]*\r\n)")
TRUSTED = {
    "xclient_trusted": "127.0.0.0/8", "etrn_allowed": "127.0.0.0/8", "vrfy": "everybody", "tls_available": "yes",
}  # fmt: skip
EVERYTHING = "RET=HDRS ENVID=x BODY=8BITMIME SMTPUTF8 SIZE=100 BY=3600;R MT-PRIORITY=1 HOLDFOR=60 AUTH=<>"


def smtp_grammar(data: bytes) -> None:
    """Arguments of every command of every port: the first octet chooses which. They raise BadSyntax or FramingLost
    (BDAT) and nothing else."""
    if not data:
        return
    tables = list(TABLES.values())
    rows = [row for table in tables for row in table.commands.values()]
    with suppress(BadSyntax, FramingLost):
        rows[data[0] % len(rows)].parse(data[1:])


def smtp_parameters(data: bytes) -> None:
    """Parameters of MAIL and RCPT of every extension, as they are taken into what is known of a message."""
    role = list(Role)[data[0] % len(Role)] if data else Role.RECEIVE
    facts = Facts(SmtpSettings("mx.example.org", role), Peer("192.0.2.1", 1), Peer("192.0.2.1", 1), tls=True)
    facts.now = 1_700_000_000.0
    mail, _, rcpt = data[1:].partition(b"\n")
    table = TABLES[role]
    for said, parse, rules in (
        (b"FROM:<a@example.org> " + mail, grammar.mail_from, table.mail_parameters),
        (b"TO:<b@example.org> " + rcpt, grammar.rcpt_to, table.rcpt_parameters),
    ):
        try:
            for parameter in parse(said).parameters:
                if parameter.keyword in rules:
                    rules[parameter.keyword](facts, parameter.value)
        except BadSyntax:
            pass


def smtp_framing(data: bytes) -> None:
    """The same lines and mail data, whatever the segments. DATA and BDAT are taken at their word."""
    whole, pieces = smtp_events([data]), smtp_events([data[at : at + 1] for at in range(len(data))])
    if whole != pieces:
        raise Found(f"in one piece {whole}, octet by octet {pieces}")


def smtp_events(segments: Iterable[bytes]) -> list[object]:
    """Lines as bytes, a message as a list of its octets."""
    framer, found, message = Framer(), list[object](), None
    for segment in segments:
        framer.feed(segment)
        try:
            while True:
                if message is not None:
                    chunk = framer.next_data()
                    if chunk is None:
                        break
                    message += chunk.data
                    if chunk.last:
                        found.append([bytes(message), framer.bare_newline])
                        message = None
                    continue
                line = framer.next_line()
                if line is None:
                    break
                found.append("too long" if isinstance(line, TooLong) else line)
                if isinstance(line, bytes):
                    message = _begun(framer, line)
        except FramingLost:
            return [*found, "lost"]
    return found


def _begun(framer: Framer, line: bytes) -> bytearray | None:
    """Mail data follows a line that says so."""
    words = line.upper().split()
    if words == [b"DATA"]:
        framer.begin_data()
        return bytearray()
    if words[:1] == [b"BDAT"]:
        args = None
        try:
            args = grammar.bdat(line[5:])
        except BadSyntax:
            return None
        framer.begin_bdat(args.size, first=True, last=True, binary=args.last)
        return bytearray()
    return None


def _smtp(protocol: str, settings: dict[str, str], before: Sequence[bytes], data: bytes) -> None:
    run_session(protocol, b"".join(line + b"\r\n" for line in before), data, SMTP_REPLY, settings, whole=True)


def lmtp_session(data: bytes) -> None:
    """LMTP from LHLO on."""
    _smtp("lmtp", {}, (b"LHLO client.example.org",), data)


def lmtp_transaction(data: bytes) -> None:
    """LMTP with two recipients, of which one is there."""
    said = (b"LHLO c", b"MAIL FROM:<a@example.net>", b"RCPT TO:<%b>" % ALICE.encode(), b"RCPT TO:<no@example.org>")
    _smtp("lmtp", {}, said, data)


def smtp_trusted(data: bytes) -> None:
    """A client that may use XCLIENT, XFORWARD, ETRN, VRFY and EXPN."""
    _smtp("smtp", TRUSTED, (b"EHLO client.example.org",), data)


def smtp_transaction(data: bytes) -> None:
    """Mail data and chunks, behind a recipient."""
    said = (b"EHLO c", b"MAIL FROM:<a@example.net> BODY=BINARYMIME SMTPUTF8", b"RCPT TO:<%b>" % ALICE.encode())
    _smtp("smtp", TRUSTED, said, data)


def submission_transaction(data: bytes) -> None:
    """BURL, BDAT and everything else behind a recipient, of who has logged in and said all parameters."""
    mail = f"MAIL FROM:<{ALICE}> {EVERYTHING}".encode()
    said = (
        b"EHLO c",
        b"AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAHNlY3JldA==",
        mail,
        b"RCPT TO:<b@example.net> NOTIFY=NEVER",
    )
    _smtp("submission", {}, said, data)


def pop3_login(data: bytes) -> None:
    """Before a login, with every mechanism, UTF8 and LANG; what is sent after it, too."""
    settings = {"utf8_headers": "refuse", "login_delay": "60", "max_login_failures": "100", "max_errors": "1000"}
    run_session("pop3", b"", data, POP3_REPLY, settings, offers=tuple(sorted(NAMES)))


def proxy_header(data: bytes) -> None:
    """The same peer and the same octets behind it, whatever the segments."""
    whole, pieces = _proxied([data]), _proxied([data[at : at + 1] for at in range(len(data))])
    if whole != pieces:
        raise Found(f"in one piece {whole}, octet by octet {pieces}")


def _proxied(segments: Iterable[bytes]) -> object:
    header, found, rest = ProxyHeader(), None, b""
    for segment in segments:
        if isinstance(found, Proxied):
            rest += segment
            continue
        try:
            found = header.feed(segment)
        except FramingLost:
            return "refused"
        if found is not None:
            rest = found.rest
            if found.peer is not None and not 0 <= found.peer.port <= 65535:
                raise Found(f"port {found.peer.port}")
    return (found.peer, rest) if found is not None else None


DELIVERY_TARGETS: tuple[Callable[[bytes], None], ...] = (
    smtp_grammar, smtp_parameters, smtp_framing, smtp_trusted, smtp_transaction, submission_transaction,
    lmtp_session, lmtp_transaction, pop3_login, proxy_header,
)  # fmt: skip
