"""What is fuzzed: functions of octets that raise when the program does what it must not.

Grammars raise BadSyntax and nothing else that a session does not know; framing gives the same events however
the octets are cut; a session neither logs a bug nor stops answering; what is made of a message is well formed.
`test_fuzz.py` runs them on random octets and on what was found once; scripts/fuzz runs them for long."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date

from dns.rdatatype import RdataType
from fuzz_sessions import ALICE, CUT, MESSAGES, Found, run_session
from fuzz_targets_delivery import DELIVERY_TARGETS

from mailstack.dns.outcomes import outcome
from mailstack.dns.wire import Garbled, Question, Recased, query, read
from mailstack.errors import BadSyntax, FramingLost, Refused
from mailstack.imap.features import TABLE
from mailstack.imap.search_content import verdict
from mailstack.imap.wire import encode, framing
from mailstack.imap.wire.cursor import Cursor
from mailstack.imap.wire.search_grammar import BadCharset
from mailstack.imap.wire.values import And, BodyHas, DateOrder, HeaderHas, SentDay, TextHas
from mailstack.mail import mime
from mailstack.mail.downconvert import CannotConvert, downconvert
from mailstack.mail.header import block, body_start
from mailstack.mail.object_ids import content_id, thread_id
from mailstack.smtp.wire.client_replies import BadReply, Reply, ReplyParser
from mailstack.smtp.wire.offers import offers
from mailstack.store.maildir import names

DNS_TYPES = (RdataType.MX, RdataType.A, RdataType.AAAA, RdataType.TXT, RdataType.TLSA, RdataType.CNAME, RdataType.PTR)


# --- DNS ------------------------------------------------------------------------------------


def dns_reply(data: bytes) -> None:
    """Counts of records, then the records, behind a header and a question that are right."""
    for rdtype in DNS_TYPES:
        question = Question("example.org", rdtype)
        asked = query(question, 1, 0, authenticate=True, edns=False)
        octets = asked.octets[:2] + b"\x81\xa0\0\1" + data[:6].ljust(6, b"\1") + asked.octets[12:] + data[6:]
        for candidate in (data, octets):
            try:
                reply = read(candidate, asked, exact=True)
                if reply is not None and not reply.is_truncated:
                    outcome(reply, question, trusted=True)
            except (Garbled, Recased):
                continue


# --- grammars -------------------------------------------------------------------------------


def imap_grammar(data: bytes) -> None:
    """Arguments of every command: the first octet chooses which."""
    if not data:
        return
    rows = list(TABLE.values())
    row = rows[data[0] % len(rows)]
    for utf8 in (False, True):
        cur = Cursor(data[1:], utf8=utf8)
        try:
            row.arguments(cur)
        except BadSyntax as error:
            if error.column is not None and not 0 <= error.column <= len(data):
                raise Found(f"an error at column {error.column} of {len(data)}") from error
        except (BadCharset, Refused):
            pass
        if not 0 <= cur.position <= len(data):
            raise Found(f"the cursor is at {cur.position} of {len(data)}")


def maildir_name(data: bytes) -> None:
    """A file name in a Maildir."""
    name = data.decode("utf-8", "surrogateescape").replace("/", "").replace("\0", "")
    base, letters = names.split(name)
    names.sizes(base)
    names.second(name)
    if names.letters(names.bits(letters)) and names.bits(names.letters(names.bits(letters))) != names.bits(letters):
        raise Found(f"{name!r} has not the flags that it is given")


# --- framing --------------------------------------------------------------------------------


def imap_framing(data: bytes) -> None:
    """The same events, whatever the segments."""
    whole, pieces = _events([data]), _events([data[at : at + 1] for at in range(len(data))])
    if whole != pieces:
        raise Found(f"in one piece {whole}, octet by octet {pieces}")


def _events(segments: Iterable[bytes]) -> list[object]:
    framer, found, streamed = framing.Framer(), list[object](), bytearray()
    for segment in segments:
        framer.feed(segment)
        try:
            while True:
                if framer.streaming:
                    chunk = framer.next_chunk()
                    if chunk is None:
                        break
                    streamed += chunk
                    continue
                event = framer.next_event()
                if event is None:
                    break
                found.append(event)
                if isinstance(event, framing.LiteralAnnounced):
                    _answer(framer, event)
        except FramingLost:
            return [*found, bytes(streamed), "lost"]
    return [*found, bytes(streamed)]


def _answer(framer: framing.Framer, event: framing.LiteralAnnounced) -> None:
    if event.size % 3 == 0:
        framer.take()
    elif event.size % 3 == 1:
        framer.stream()
    else:
        framer.refuse(synchronising=event.synchronising)


# --- sessions -------------------------------------------------------------------------------

_IMAP = re.compile(rb"\* |\+ |[^ \r\n]+ (OK|NO|BAD) ")
_SMTP = re.compile(rb"[2-5]\d\d[ -]")
_POP3 = re.compile(rb"\+|-ERR|[^\r\n]*\r\n")


def imap_session(data: bytes) -> None:
    """From the selected state on."""
    run_session("imap", b"a LOGIN %b secret\r\nb SELECT INBOX\r\n" % ALICE.encode(), data, _IMAP)


def imap_login(data: bytes) -> None:
    """Before a login."""
    run_session("imap", b"", data, _IMAP)


def smtp_session(data: bytes) -> None:
    run_session("smtp", b"EHLO client.example.org\r\n", data, _SMTP)


def submission_session(data: bytes) -> None:
    # AUTH PLAIN with the password of ALICE
    run_session("submission", b"EHLO c\r\nAUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAHNlY3JldA==\r\n", data, _SMTP)


def pop3_session(data: bytes) -> None:
    run_session("pop3", b"USER %b\r\nPASS secret\r\n" % ALICE.encode(), data, _POP3)


# --- messages -------------------------------------------------------------------------------

_KEYS = And(
    (
        HeaderHas(b"subject", "x"),
        SentDay(DateOrder.SINCE, date(2000, 1, 1)),
        TextHas("hello"),
        BodyHas("world"),
    )
)


def message(data: bytes) -> None:
    """What FETCH and SEARCH make of a message."""
    data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    part = mime.scan(data)
    for extended in (False, True):
        for utf8 in (False, True):
            _balanced(encode.body(data, part, extended=extended, utf8=utf8))
            _balanced(encode.envelope_of(block(data, 0, body_start(data, 0, len(data))), utf8=utf8))
    for key in _KEYS.keys:
        verdict(key, data)
    content_id(data)
    thread_id(data)


_TOKEN = re.compile(rb'"(?:[^"\\\r\n]|\\["\\])*"|[()]|\{(\d+)\}\r\n|[^()"{\s]+|[ ]')


def _balanced(value: bytes) -> None:
    """A parenthesized list of strings, numbers and lists, and nothing behind it."""
    depth, at = 0, 0
    while at < len(value):
        token = _TOKEN.match(value, at)
        if token is None:
            raise Found(f"no IMAP value: {value[:500]!r} at {at}")
        at = token.end() + int(token[1] or 0)
        depth += {b"(": 1, b")": -1}.get(token[0], 0)
        if depth < 0 or (depth == 0 and at < len(value)):
            raise Found(f"parentheses: {value[:500]!r} at {at}")
    if depth or at > len(value):
        raise Found(f"unfinished: {value[:500]!r}")


# --- the client of SMTP ---------------------------------------------------------------------


def smtp_replies(data: bytes) -> None:
    """Replies do not depend on how they come, and nothing but BadReply is raised."""
    whole, pieces = _replies([data]), _replies([data[at : at + 1] for at in range(len(data))])
    if whole != pieces:
        raise Found(f"{whole} is not {pieces}")
    for reply in whole[0]:
        if not reply.text.isprintable() or not 200 <= reply.code <= 599:
            raise Found(f"{reply}")


def _replies(pieces: Iterable[bytes]) -> tuple[list[Reply], bool]:
    parser, found = ReplyParser(), []
    for piece in pieces:
        parser.feed(piece)
        try:
            while (reply := parser.next_reply()) is not None:
                offers(reply.lines)
                found.append(reply)
        except BadReply:
            return found, True
    return found, False


def downconverted(data: bytes) -> None:
    """A message without 8-bit octets comes out, or CannotConvert."""
    lines = data.replace(CUT, b"\xc3\xa4").replace(b"\r\n", b"\n").replace(b"\r", b"").replace(b"\n", b"\r\n")
    for octets in (lines, MESSAGES[1] + lines, b"Content-Type: text/plain\r\n" + lines):
        try:
            made = downconvert(octets)
        except CannotConvert:
            continue
        if not made.isascii() or b"\n" in made.replace(b"\r\n", b""):
            raise Found(f"{octets!r} became {made!r}")


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        dns_reply, downconverted, imap_grammar, imap_framing, imap_login, imap_session, maildir_name, message,
        pop3_session, smtp_replies, smtp_session, submission_session, *DELIVERY_TARGETS,
    )
}  # fmt: skip
