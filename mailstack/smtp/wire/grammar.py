"""Command lines of SMTP (RFC 5321 §4.1.2, RFC 6531 §3.3) become values.

Each rule is a function on a `Cursor`, named as in the ABNF. What real clients need beyond it:

* spaces after `MAIL FROM:` and `RCPT TO:`, and at the end of a line (RFC 5321 §4.1.1 wants those);
* "_" in domain names, as hosts of developers and of Windows have;
* a reverse-path whose local-part is above 64 octets (VERP); the limit of the whole path holds.

`mail_from` and `rcpt_to` first try a regular expression for the plain address without quotes,
routes or UTF-8; whatever it does not take goes to the rules, and the result is the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from mailstack.errors import BadSyntax
from mailstack.mail.address import Address
from mailstack.smtp.wire.values import (
    NOTHING,
    Attributes,
    Auth,
    Bdat,
    Burl,
    Etrn,
    Helo,
    Mail,
    Nothing,
    Parameter,
    Rcpt,
    Vrfy,
)
from mailstack.smtp.wire.xtext import decode_xtext

MAX_LOCAL_PART = 64
"""Octets (RFC 5321 §4.5.3.1.1)."""
MAX_DOMAIN = 255
"""Octets (RFC 5321 §4.5.3.1.2)."""
MAX_ADDRESS = 254
"""Octets of local-part "@" domain: a path of 256 less its brackets (RFC 5321 §4.5.3.1.3)."""
MAX_PARAMETERS = 20
"""Of one command; all that are registered are fewer."""
MAX_ATTRIBUTE = 255
"""Characters of a value of XCLIENT and XFORWARD."""
MAX_BDAT_DIGITS = 20
"""RFC 1870 §4 allows a size of 20 digits; RFC 3030 has no limit."""

T = TypeVar("T")


class Cursor:
    """A command line's text and how far it is read. `take` advances over a match."""

    __slots__ = ("position", "text")

    def __init__(self, text: str, position: int = 0) -> None:
        self.text = text
        self.position = position

    def take(self, pattern: re.Pattern[str]) -> str | None:
        """What matches here, or None."""
        match = pattern.match(self.text, self.position)
        if match is None:
            return None
        self.position = match.end()
        return match[0]

    def skip(self, literal: str) -> bool:
        """Whether the literal stood here."""
        if self.text.startswith(literal, self.position):
            self.position += len(literal)
            return True
        return False

    def expect(self, literal: str) -> None:
        if not self.skip(literal):
            raise self.error(repr(literal))

    def error(self, expected: str) -> BadSyntax:
        return BadSyntax(expected, self.position)

    @property
    def at_end(self) -> bool:
        return self.position >= len(self.text)


# let-dig and Ldh-str with "_"; U-label of RFC 6531 §3.3 as anything beyond ASCII that is no control or space
_U = "\u00a1-\ud7ff\ue000-\U0010ffff"
_LABEL = f"[A-Za-z0-9_{_U}](?:[A-Za-z0-9_{_U}-]*[A-Za-z0-9_{_U}])?"
_ATOM = f"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~{_U}-]+"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_DOT_STRING = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_QUOTED = re.compile(rf'"(?:[ !#-\[\]-~{_U}]|\\[ -~])*"')
_QUOTED_PAIR = re.compile(r"\\(.)")
_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]{2,45}")
_TAGGED = re.compile(r"[A-Za-z0-9-]*[A-Za-z0-9]:[!-Z^-~]+")
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_VALUE = re.compile(rf"[!-<>-~{_U}]+")
_SPACES = re.compile(r" +")
_PLAIN_PATH = re.compile(
    rb"(?:FROM|TO): *<([A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*)"
    rb"@([A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*)>"
    rb"((?: +[A-Za-z0-9][A-Za-z0-9-]*(?:=[!-<>-~]+)?)*) *",
    re.IGNORECASE,
)


# --- addresses


def domain(cur: Cursor) -> str:
    # Domain = sub-domain *("." sub-domain)   ; RFC 5321 §4.1.2; a final dot is dropped
    start = cur.position
    text = cur.take(_DOMAIN)
    if text is None:
        raise cur.error("a domain name")
    text = text.removesuffix(".")
    if _octets(text) > MAX_DOMAIN:
        raise BadSyntax(f"a domain of at most {MAX_DOMAIN} octets", start)
    return text


def address_literal(cur: Cursor) -> str:
    # address-literal = "[" ( IPv4-address-literal / IPv6-address-literal / General-address-literal ) "]"
    # ; RFC 5321 §4.1.3
    start = cur.position
    cur.expect("[")
    if cur.text[cur.position : cur.position + 5].upper() == "IPV6:":
        cur.position += 5
        address = cur.take(_IPV6)
        good = address is not None and _is_ipv6(address)
    elif (address := cur.take(_IPV4)) is not None:
        good = all(int(part) < 256 for part in address.split("."))
    else:
        good = cur.take(_TAGGED) is not None
    if not good or not cur.skip("]"):
        raise BadSyntax("an address literal", start)
    literal = cur.text[start : cur.position]
    if len(literal) > MAX_DOMAIN:
        raise BadSyntax(f"an address literal of at most {MAX_DOMAIN} octets", start)
    return literal


def _is_ipv6(text: str) -> bool:
    # IPv6-addr = IPv6-full / IPv6-comp / IPv6v4-full / IPv6v4-comp   ; RFC 5321 §4.1.3
    head, double, tail = text.partition("::")
    if "::" in tail or (double and (head.endswith(":") or tail.startswith(":"))):
        return False
    groups = [group for part in (head, tail) if part for group in part.split(":")]
    count = len(groups)
    if groups and "." in groups[-1] and (tail or not double):
        if not _IPV4.fullmatch(groups[-1]) or any(int(part) > 255 for part in groups[-1].split(".")):
            return False
        groups, count = groups[:-1], count + 1
    if not all(1 <= len(group) <= 4 and group.isalnum() for group in groups):
        return False
    return count <= 7 if double else count == 8


def local_part(cur: Cursor) -> str:
    # Local-part = Dot-string / Quoted-string   ; RFC 5321 §4.1.2
    text = cur.take(_DOT_STRING)
    if text is not None:
        return text
    quoted = cur.take(_QUOTED)
    if quoted is None:
        raise cur.error("a local-part")
    return _QUOTED_PAIR.sub(r"\1", quoted[1:-1])


def mailbox(cur: Cursor) -> Address:
    # Mailbox = Local-part "@" ( Domain / address-literal )   ; RFC 5321 §4.1.2
    start = cur.position
    local = local_part(cur)
    cur.expect("@")
    where = address_literal(cur) if cur.text.startswith("[", cur.position) else domain(cur)
    if _octets(local) + 1 + _octets(where) > MAX_ADDRESS:
        raise BadSyntax(f"an address of at most {MAX_ADDRESS} octets", start)
    return Address(local, where)


def a_d_l(cur: Cursor) -> None:
    # A-d-l = At-domain *( "," At-domain ), At-domain = "@" Domain   ; RFC 5321 §4.1.2
    # A source route: taken and ignored (RFC 5321 §3.6.1, App. C).
    cur.expect("@")
    domain(cur)
    while cur.skip(","):
        cur.expect("@")
        domain(cur)
    cur.expect(":")


def path(cur: Cursor) -> Address:
    # Path = "<" [ A-d-l ":" ] Mailbox ">"   ; RFC 5321 §4.1.2
    cur.expect("<")
    if cur.text.startswith("@", cur.position):
        a_d_l(cur)
    address = mailbox(cur)
    cur.expect(">")
    return address


def reverse_path(cur: Cursor) -> Address | None:
    # Reverse-path = Path / "<>"   ; RFC 5321 §4.1.2
    return None if cur.skip("<>") else path(cur)


def forward_path(cur: Cursor) -> Address:
    # RCPT TO: ( "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path )   ; RFC 5321 §4.1.1.3
    start = cur.position
    if cur.text[start : start + 12].lower() == "<postmaster>":
        cur.position += 12
        return Address(cur.text[start + 1 : start + 11], "")
    address = path(cur)
    if _octets(address.local_part) > MAX_LOCAL_PART:
        raise BadSyntax(f"a local-part of at most {MAX_LOCAL_PART} octets", start)
    return address


def esmtp_params(cur: Cursor) -> tuple[Parameter, ...]:
    # Mail-parameters = esmtp-param *(SP esmtp-param)
    # esmtp-param = esmtp-keyword ["=" esmtp-value]   ; RFC 5321 §4.1.2
    found: list[Parameter] = []
    while not cur.at_end:
        if cur.take(_SPACES) is None:
            raise cur.error("a space before each parameter")
        if cur.at_end:
            break
        keyword = cur.take(_KEYWORD)
        if keyword is None:
            raise cur.error("a parameter")
        value = None
        if cur.skip("=") and (value := cur.take(_VALUE)) is None:
            raise cur.error(f"a value of {keyword}")
        found.append(Parameter(keyword.upper(), value))
    if len(found) > MAX_PARAMETERS or len({parameter.keyword for parameter in found}) < len(found):
        raise BadSyntax(f"at most {MAX_PARAMETERS} parameters, each once")
    return tuple(found)


# --- commands: the argument, which is what follows the verb and its spaces


def mail_from(argument: bytes) -> Mail:
    # mail = "MAIL FROM:" Reverse-path [SP Mail-parameters] CRLF   ; RFC 5321 §4.1.1.2
    plain = _plain_path(argument, 0x46)
    if plain is not None:
        return Mail(*plain)
    cur = Cursor(_text(argument))
    _after(cur, "FROM:")
    return Mail(reverse_path(cur), esmtp_params(cur))


def rcpt_to(argument: bytes) -> Rcpt:
    # rcpt = "RCPT TO:" ( "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path )
    #        [SP Rcpt-parameters] CRLF   ; RFC 5321 §4.1.1.3
    plain = _plain_path(argument, 0x54)
    if plain is not None and len(plain[0].local_part) <= MAX_LOCAL_PART:
        return Rcpt(*plain)
    cur = Cursor(_text(argument))
    _after(cur, "TO:")
    return Rcpt(forward_path(cur), esmtp_params(cur))


def helo(argument: bytes) -> Helo:
    # ehlo = "EHLO" SP ( Domain / address-literal ) CRLF   ; RFC 5321 §4.1.1.1
    cur = Cursor(_text(argument).rstrip(" "))
    if cur.text.startswith("["):
        return Helo(_whole(cur, _helo_literal))
    return Helo(_whole(cur, domain))


def _helo_literal(cur: Cursor) -> str:
    # As address-literal, and "[::1]" without its tag, which many clients say.
    start = cur.position
    cur.expect("[")
    bare = cur.take(_IPV6)
    if bare is not None and _is_ipv6(bare) and cur.skip("]"):
        return f"[IPv6:{bare}]"
    cur.position = start
    return address_literal(cur)


def bdat(argument: bytes) -> Bdat:
    # bdat-cmd = "BDAT" SP chunk-size [ SP end-marker ] CR LF   ; RFC 3030 §2
    words = argument.split()
    digits = words[0] if words else b""
    last = len(words) == 2 and words[1].upper() == b"LAST"
    if not digits.isdigit() or len(digits) > MAX_BDAT_DIGITS or len(words) != 1 + last:
        raise BadSyntax("BDAT size [LAST]")
    return Bdat(int(digits), last)


def burl(argument: bytes) -> Burl:
    # burl-cmd = "BURL" SP absolute-URI [SP end-marker] CRLF   ; RFC 4468 §6
    words = argument.split()
    last = len(words) == 2 and words[1].upper() == b"LAST"
    if not words or len(words) != 1 + last or b":" not in words[0]:
        raise BadSyntax("BURL url [LAST]")
    return Burl(words[0], last)


def auth(argument: bytes) -> Auth:
    # auth-command = "AUTH" SP sasl-mech [SP initial-response] *(CRLF [base64]) [CRLF cancel-response] CRLF
    # ; RFC 4954 §4; sasl-mech is that of RFC 4422 §3.1
    words = argument.split(b" ")
    while words and not words[-1]:
        words.pop()
    if not 1 <= len(words) <= 2 or not re.fullmatch(rb"[A-Za-z0-9_-]{1,20}", words[0]):
        raise BadSyntax("AUTH mechanism [initial-response]")
    return Auth(words[0].decode("ascii").upper(), words[1] if len(words) == 2 else None)


def etrn(argument: bytes) -> Etrn:
    # ETRN [<option character>]<node name>   ; RFC 1985 §5
    text = _text(argument).strip(" ")
    option = text[:1] if text[:1] in ("@", "#") else ""
    return Etrn(_whole(Cursor(text, len(option)), domain).lower(), option)


def attributes(argument: bytes) -> Attributes:
    # xclient-command = XCLIENT 1*( SP attribute-name"="attribute-value ), the value in xtext   ; XCLIENT_README
    found: list[tuple[str, str]] = []
    for word in _text(argument).split():
        name, equals, value = word.partition("=")
        if not equals or not name.isalpha() or len(value) > MAX_ATTRIBUTE:
            raise BadSyntax("attribute=value")
        found.append((name.upper(), decode_xtext(value)))
    if not found or len({name for name, _ in found}) < len(found):
        raise BadSyntax("attributes with values, each once")
    return Attributes(tuple(found))


def no_argument(argument: bytes) -> Nothing:
    """For commands that take none. Spaces are none (RFC 5321 §4.1.1)."""
    if argument.strip(b" "):
        raise BadSyntax("no argument")
    return NOTHING


def any_argument(argument: bytes) -> Nothing:
    """For commands whose argument does not matter: NOOP, HELP (RFC 5321 §4.1.1.8-9)."""
    _text(argument)
    return NOTHING


def vrfy(argument: bytes) -> Vrfy:
    # vrfy = "VRFY" SP String [ SP "SMTPUTF8" ] CRLF; the same for EXPN   ; RFC 6531 §3.7.4.2
    text = _text(argument).strip(" ")
    words, _, last = text.rpartition(" ")
    utf8 = bool(words) and last.upper() == "SMTPUTF8"
    text = words.rstrip(" ") if utf8 else text
    if not text:
        raise BadSyntax("an argument")
    cur = Cursor(text.removeprefix("<").removesuffix(">") if text.startswith("<") else text)
    try:
        return Vrfy(_whole(cur, mailbox if "@" in text else _local_only), utf8)
    except BadSyntax:
        return Vrfy(None, utf8)


def _local_only(cur: Cursor) -> Address:
    return Address(local_part(cur), "")


def _plain_path(argument: bytes, first: int) -> tuple[Address, tuple[Parameter, ...]] | None:
    # `first` tells FROM from TO, in upper case.
    match = _PLAIN_PATH.fullmatch(argument)
    if match is None or argument[0] & 0xDF != first:
        return None
    local, where, rest = match.groups()
    if len(local) + 1 + len(where) > MAX_ADDRESS:
        return None
    address = Address(local.decode("ascii"), where.decode("ascii"))
    return address, esmtp_params(Cursor(rest.decode("ascii"))) if rest else ()


def _after(cur: Cursor, word: str) -> None:
    # "FROM:" or "TO:" in any case (RFC 5321 §2.4), and spaces that should not be there
    if cur.text[: len(word)].upper() != word:
        raise cur.error(f"{word}<address>")
    cur.position = len(word)
    cur.take(_SPACES)


def _whole(cur: Cursor, rule: Callable[[Cursor], T]) -> T:
    value = rule(cur)
    if not cur.at_end:
        raise cur.error("the end of the line")
    return value


def _text(argument: bytes) -> str:
    try:
        text = argument.decode("utf-8")
    except UnicodeDecodeError as wrong:
        raise BadSyntax("UTF-8", wrong.start) from None
    if not text.isprintable() and any(c < " " or c == "\x7f" for c in text):
        raise BadSyntax("no control characters")
    return text


def _octets(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8"))
