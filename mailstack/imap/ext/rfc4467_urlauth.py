"""URLAUTH (RFC 4467, with the URLs of RFC 5092) and URL-PARTIAL (RFC 5550 §5.7.1): URLs with which others may read
a message or a part of one. GENURLAUTH makes them, URLFETCH reads what they name, RESETKEY makes them worthless.

The mechanism INTERNAL is ours: HMAC-SHA256 of the mailbox's id and the URL up to the verifier, by a secret of the
mailbox. A mailbox that takes another's name has another id, and URLs of the other say nothing of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mailstack.errors import BadSyntax, FramingLost, Problem, Refused
from mailstack.imap import replies
from mailstack.imap.registry import AUTHENTICATED, Capability, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.url_content import INTERNAL, UrlContent, open_authorized, open_url, token
from mailstack.imap.wire import encode
from mailstack.imap.wire.cursor import Cursor, astring, mailbox, sp
from mailstack.imap.wire.url import Access, ImapUrl, message_url

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

MAX_URLS = 100
"""URLs of one command; ours."""


def resetkey_arguments(cur: Cursor) -> str | None:
    # resetkey = "RESETKEY" [SP mailbox *(SP mechanism)]
    if cur.at_end:
        return None
    name = mailbox(cur)
    while cur.skip(b" "):
        _mechanism(cur)
    return name


def genurlauth_arguments(cur: Cursor) -> list[ImapUrl]:
    # genurlauth = "GENURLAUTH" 1*(SP url-rump SP mechanism)
    rumps: list[ImapUrl] = []
    while True:
        start = cur.position
        url = _url(cur)
        if url.host is None or not url.user or url.access is None or url.access.mechanism:
            raise cur.expected("a URL with a user and a host that ends with ;URLAUTH= and who may use it", start)
        sp(cur)
        _mechanism(cur)
        rumps.append(url)
        if not _more(cur, len(rumps)):
            return rumps


def urlfetch_arguments(cur: Cursor) -> list[bytes]:
    # urlfetch = "URLFETCH" 1*(SP url-full)
    urls = [astring(cur)]
    while _more(cur, len(urls)):
        urls.append(astring(cur))
    return urls


def _mechanism(cur: Cursor) -> None:
    # mechanism = "INTERNAL" / 1*(ALPHA / DIGIT / "-" / ".")
    cur.expect(INTERNAL.encode())


def _url(cur: Cursor) -> ImapUrl:
    start = cur.position
    try:
        return message_url(astring(cur).decode("ascii", "replace"))
    except BadSyntax as error:
        raise cur.expected(f"an IMAP URL of a message, with {error.expected}", start) from None


def _more(cur: Cursor, count: int) -> bool:
    if not cur.skip(b" ") or cur.at_end:
        return False
    if count >= MAX_URLS:
        raise cur.expected(f"at most {MAX_URLS} URLs")
    return True


async def resetkey(session: ImapSession, name: str | None) -> Reply:
    if name is None:
        await session.store.forget_access_keys()
        return replies.ok("no URL is authorised any more")
    await session.store.access_key(name, renew=True)
    return replies.ok("the mailbox has a new key", f"URLMECH {INTERNAL}")


async def genurlauth(session: ImapSession, rumps: list[ImapUrl]) -> Reply:
    made: list[bytes] = []
    for url in rumps:
        if url.user != session.account:
            raise Refused(Problem.NOT_PERMITTED, "a URL of somebody else's mailbox")
        content = await open_url(session.store, url)
        content.close()
        key = await session.store.access_key(url.mailbox)
        made.append(b"%b:internal:%b" % (url.rump, token(key, content.mailbox.mailbox_id, url.rump)))
    session.say(b"* GENURLAUTH %b\r\n" % b" ".join(map(encode.astring, made)))
    return replies.ok("GENURLAUTH completed")


async def urlfetch(session: ImapSession, urls: list[bytes]) -> Reply:
    for url in urls:
        shown = encode.astring(url)
        content = await authorized(session, url)
        if content is None:
            await session.say_much(b"* URLFETCH %b NIL\r\n" % shown)
            continue
        try:
            session.say(b"* URLFETCH %b {%d}\r\n" % (shown, content.size))
            async for piece in content.pieces():
                await session.say_much(piece)
        except Refused as refused:
            raise FramingLost("a message vanished while it was sent") from refused
        finally:
            content.close()
        session.say(b"\r\n")
    return replies.ok("URLFETCH completed")


async def authorized(session: ImapSession, octets: bytes) -> UrlContent | None:
    """What a URL names, if it is good, and good for this session."""
    resources = session.resources
    return await open_authorized(resources.store, octets, resources.clock.now(), partial(_may_use, session))


def _may_use(session: ImapSession, access: Access) -> bool:
    """RFC 5092 §6.1.2. "submit+" is for submission (smtp/ext/rfc4468_burl.py)."""
    return access.kind in ("authuser", "anonymous") or (access.kind == "user" and access.user == session.account)


FEATURE = Feature(
    commands=(
        command(b"RESETKEY", AUTHENTICATED, resetkey_arguments, resetkey),
        command(b"GENURLAUTH", AUTHENTICATED, genurlauth_arguments, genurlauth),
        command(b"URLFETCH", AUTHENTICATED, urlfetch_arguments, urlfetch),
    ),
    capabilities=(Capability("URLAUTH", AUTHENTICATED), Capability("URL-PARTIAL", AUTHENTICATED)),
)
