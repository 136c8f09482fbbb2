"""XCLIENT and XFORWARD: for whom a filter or proxy speaks, as in Postfix's XCLIENT_README and XFORWARD_README.

XCLIENT makes the session one with that client, in all that checks and limits see. XFORWARD is for the log alone.
Both are for trusted addresses, by the address of the connection itself; for others they do not exist."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from mailstack.errors import BadSyntax
from mailstack.ports import AccountName, Peer
from mailstack.smtp import replies
from mailstack.smtp.checks.frame import Stage
from mailstack.smtp.facts import Facts
from mailstack.smtp.registry import Extension, State, command
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import Role, is_among
from mailstack.smtp.wire import grammar
from mailstack.smtp.wire.values import Attributes

if TYPE_CHECKING:
    from mailstack.smtp.session import SmtpSession

XCLIENT_NAMES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")
XFORWARD_NAMES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE")
UNKNOWN = frozenset({"[UNAVAILABLE]", "[TEMPUNAVAIL]"})
MAX_PORT = 65535


def _is_trusted(facts: Facts) -> bool:
    return is_among(facts.connected.host, facts.settings.xclient_trusted)


async def xclient(session: SmtpSession, args: Attributes) -> Reply:
    """XCLIENT: everything is forgotten, and the client greeted anew."""
    facts = session.facts
    if not _is_trusted(facts):
        return replies.NOT_TRUSTED
    said = _said(args, XCLIENT_NAMES)
    peer = Peer(_address(said, facts.peer.host), _port(said, facts.peer.port))
    login = said.get("LOGIN")
    facts.forget_all()
    facts.connection_marks.clear()
    facts.peer = peer
    facts.login = AccountName(login.lower()) if login and login not in UNKNOWN else None
    session.state = State.CONNECTED
    session.log.event("xclient", peer=peer.host, login=facts.login, helo=said.get("HELO"))
    refusal = await session.opinion(Stage.CONNECT)
    if refusal is not None:
        session.state = State.ENDED
        return refusal
    return replies.greeting(session.settings.hostname, lmtp=session.settings.role is Role.LMTP)


async def xforward(session: SmtpSession, args: Attributes) -> Reply:
    """XFORWARD: what the next message's line in the log says of where it came from."""
    facts = session.facts
    if not _is_trusted(facts):
        return replies.NOT_TRUSTED
    said = _said(args, XFORWARD_NAMES)
    _address(said, "")
    _port(said, 0)
    facts.forwarded.update(said)
    return replies.OK


def _said(args: Attributes, names: tuple[str, ...]) -> dict[str, str]:
    for name, _ in args.values:
        if name not in names:
            raise BadSyntax(f"one of {' '.join(names)}, each with a value")
    return dict(args.values)


def _address(said: dict[str, str], otherwise: str) -> str:
    text = said.get("ADDR", otherwise)
    if not text or text.upper() in UNKNOWN:
        return ""
    try:
        return str(ip_address(text[5:] if text[:5].upper() == "IPV6:" else text))
    except ValueError:
        raise BadSyntax("ADDR=an IP address") from None


def _port(said: dict[str, str], otherwise: int) -> int:
    text = said.get("PORT", "")
    if text.upper() in UNKNOWN:
        return 0
    if text and not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= MAX_PORT):
        raise BadSyntax("PORT=a number")
    return int(text) if text else otherwise


_STATES = frozenset({State.CONNECTED, State.READY})
XCLIENT = Extension(
    lambda facts: " ".join(("XCLIENT", *XCLIENT_NAMES)) if _is_trusted(facts) else "",
    commands=(command("XCLIENT", _STATES, grammar.attributes, xclient),),
)
XFORWARD = Extension(
    lambda facts: " ".join(("XFORWARD", *XFORWARD_NAMES)) if _is_trusted(facts) else "",
    commands=(command("XFORWARD", _STATES, grammar.attributes, xforward),),
)
