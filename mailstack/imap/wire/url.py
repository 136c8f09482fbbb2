"""IMAP URLs of messages and their parts (RFC 5092 §11; RFC 4467 for URLAUTH, RFC 5550 §4.2 for PARTIAL)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote_to_bytes

from mailstack.errors import BadSyntax
from mailstack.imap.wire.cursor import Cursor
from mailstack.imap.wire.fetch_grammar import section
from mailstack.imap.wire.values import Partial, Section

MAX_URL = 4096
"""Characters of one URL; ours."""

# bchar = achar / ":" / "@" / "/" ; achar = uchar / "&" / "=" ; uchar = unreserved / sub-delims-sh / pct-encoded
_ENCODED = rb"(?:[A-Za-z0-9\-._~!$'()*+,&=:@/]|%[0-9A-Fa-f]{2})"
# authimapurl = "imap://" iserver "/" imessagepart ; iserver = [iuserinfo "@"] host [ ":" port ]
_SERVER = re.compile(
    rb"imap://(?:((?:[A-Za-z0-9\-._~!$'()*+,&=]|%[0-9A-Fa-f]{2})*+)(;AUTH=[^@/]*+)?@)?([^@/;?]++)", re.IGNORECASE
)
# imailbox-ref = enc-mailbox [uidvalidity] ; uidvalidity = ";UIDVALIDITY=" nz-number
_MAILBOX = re.compile(rb"(" + _ENCODED + rb"++)(?:;UIDVALIDITY=([1-9]\d{0,9})/)?(?=;UID=)", re.IGNORECASE)
_UID = re.compile(rb";UID=([1-9]\d{0,9})", re.IGNORECASE)
# isection-only = ";SECTION=" enc-section ; no mailbox has "/;" in it, so neither has a section here
_SECTION = re.compile(rb"/;SECTION=(" + _ENCODED + rb"+?)(?=/;|;|$)", re.IGNORECASE)
# partial-range = number ["." nz-number]
_PARTIAL = re.compile(rb"/;PARTIAL=(\d{1,19})(?:\.([1-9]\d{0,18}))?", re.IGNORECASE)
# iurlauth-rump = [expire] ";URLAUTH=" access
_EXPIRE = re.compile(rb";EXPIRE=([0-9:+\-.TZ]{1,40})", re.IGNORECASE)
_ACCESS = re.compile(
    rb";URLAUTH=((?:submit|user)\+(?:[A-Za-z0-9\-._~!$'()*+,&=]|%[0-9A-Fa-f]{2})++|authuser|anonymous)", re.IGNORECASE
)
# iua-verifier = ":" uauth-mechanism ":" enc-urlauth
_VERIFIER = re.compile(rb":([A-Za-z0-9\-.]{1,64}):([0-9A-Fa-f]{32,1000})$")


@dataclass(frozen=True, slots=True)
class Access:
    """ ";URLAUTH=" access, with the verifier if there is one. `user` is that of "user+" and "submit+"."""

    kind: str
    user: str = ""
    expire: float | None = None
    """Seconds since the epoch; the URL is good until then."""
    mechanism: str = ""
    """In upper case; "" in a rump, which has no verifier."""
    token: bytes = b""


@dataclass(frozen=True, slots=True)
class ImapUrl:
    """A message or a part of one. `user` and `host` are None in a relative URL; all are decoded. A Partial of
    length 0 goes to the end."""

    mailbox: str
    uid: int
    uid_validity: int | None = None
    section: Section = Section()
    partial: Partial | None = None
    user: str | None = None
    host: str | None = None
    access: Access | None = None
    rump: bytes = b""
    """The URL up to the verifier, which is what is authorised."""


def message_url(text: str) -> ImapUrl:
    """A URL of a message or message part, absolute or an absolute-path reference (RFC 5092 §7.1; §7.2 forbids to
    accept any other). Raises: BadSyntax, its columns those of the URL."""
    try:
        octets = text.encode("ascii")
    except UnicodeEncodeError:
        raise BadSyntax("a URL in ASCII", 0) from None
    if len(octets) > MAX_URL:
        raise BadSyntax(f"a URL of at most {MAX_URL} characters", MAX_URL)
    cur = Cursor(octets)
    user = host = None
    server = _SERVER.match(octets)
    if server is not None:
        cur.position = server.end()
        user, host = _text(server[1] or b"", cur), server[3].decode("ascii").lower()
    cur.expect(b"/")
    ref = cur.match(_MAILBOX, "a mailbox and the UID of a message")
    validity, name = int(ref[2] or 0) or None, ref[1]
    if validity is None:  # the name has taken the "/" that is behind it
        if not name.endswith(b"/") or name == b"/":
            raise cur.expected("a mailbox and the UID of a message", ref.start())
        name = name[:-1]
    mailbox = _text(name, cur)
    uid = int(cur.match(_UID, "the UID of a message")[1])
    part, partial = _part(cur)
    access = _access(cur)
    if not cur.at_end:
        raise cur.expected("the end of the URL")
    rump = octets if access is None or not access.mechanism else octets[: octets.rfind(b":", 0, octets.rfind(b":"))]
    return ImapUrl(mailbox, uid, validity, part, partial, user, host, access, rump)


def _part(cur: Cursor) -> tuple[Section, Partial | None]:
    # [isection] [ipartial]
    part, partial = Section(), None
    found = _SECTION.match(cur.octets, cur.position)
    if found is not None:
        inside = Cursor(b"[%b]" % unquote_to_bytes(found[1]))
        try:
            part = section(inside)
        except BadSyntax as error:
            raise cur.expected(f"a section: {error.expected}", found.start(1)) from None
        if not inside.at_end:
            raise cur.expected("a section", found.start(1))
        cur.position = found.end()
    found = _PARTIAL.match(cur.octets, cur.position)
    if found is not None:
        partial = Partial(int(found[1]), int(found[2] or 0))
        cur.position = found.end()
    return part, partial


def _access(cur: Cursor) -> Access | None:
    # iurlauth = iurlauth-rump [iua-verifier]
    expire = None
    found = _EXPIRE.match(cur.octets, cur.position)
    if found is not None:
        expire = _moment(found[1], cur)
        cur.position = found.end()
    elif cur.at_end:
        return None
    kind, _, user = cur.match(_ACCESS, "URLAUTH")[1].partition(b"+")
    verifier = _VERIFIER.match(cur.octets, cur.position)
    mechanism, token = "", b""
    if verifier is not None:
        mechanism, token = verifier[1].decode("ascii").upper(), verifier[2]
        cur.position = verifier.end()
    return Access(kind.decode("ascii").lower(), _text(user, cur), expire, mechanism, token)


def _moment(octets: bytes, cur: Cursor) -> float:
    # expire = ";EXPIRE=" date-time ; of RFC 3339 §5.6, in UTC where it does not say
    try:
        found = datetime.fromisoformat(octets.decode("ascii").upper())
    except ValueError:
        raise cur.expected("a date-time as 2006-12-20T12:00:00Z") from None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


def _text(encoded: bytes, cur: Cursor) -> str:
    try:
        return unquote_to_bytes(encoded).decode("utf-8")
    except UnicodeDecodeError:
        raise cur.expected("a name in UTF-8") from None
