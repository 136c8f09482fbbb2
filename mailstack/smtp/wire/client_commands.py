"""Commands of the client, as octets with their CRLF (RFC 5321 §4.1.1), and its mail data; no IO."""

from __future__ import annotations

from mailstack.mail.address import Address
from mailstack.mail.parameters import DeliverBy, MailParameters, Notify, RcptParameters
from mailstack.smtp.wire.offers import Offers
from mailstack.smtp.wire.xtext import encode_unitext, encode_xtext

DATA = b"DATA\r\n"
RSET = b"RSET\r\n"
QUIT = b"QUIT\r\n"
STARTTLS = b"STARTTLS\r\n"
_CRLF = b"\r\n"


def hello(verb: str, hostname: str) -> bytes:
    """EHLO, HELO or LHLO. `hostname` is a domain name in its ASCII form or an address literal."""
    return f"{verb} {hostname}\r\n".encode("ascii")


def mail(
    sender: Address | None, size: int, offers: Offers, asked: MailParameters, *,
    body: str = "", smtputf8: bool = False, seconds_left: int = 0, authenticated: bool = False,
) -> bytes:  # fmt: skip
    """MAIL with the parameters that the server takes. `body` is the value of BODY or "". `seconds_left` is until
    the time of BY."""
    words = [f"MAIL FROM:<{sender or ''}>"]
    if "SIZE" in offers:
        words.append(f"SIZE={size}")
    if body:
        words.append(f"BODY={body}")
    if smtputf8:
        words.append("SMTPUTF8")
    if asked.require_tls and "REQUIRETLS" in offers:
        words.append("REQUIRETLS")
    if "DSN" in offers:
        words += [f"RET={asked.ret.value}"] if asked.ret else []
        words += [f"ENVID={encode_xtext(asked.envid)}"] if asked.envid else []
    if asked.priority and "MT-PRIORITY" in offers:
        words.append(f"MT-PRIORITY={asked.priority}")
    if asked.deliver_by and "DELIVERBY" in offers:
        words.append(_by(asked.deliver_by, seconds_left))
    if authenticated and "AUTH" in offers:
        # RFC 4954 §5: who submitted it, "<>" if that is not known
        known = asked.submitter if asked.submitter.isascii() else ""
        words.append(f"AUTH={encode_xtext(known) or '<>'}")
    return " ".join(words).encode() + _CRLF


def _by(by: DeliverBy, seconds_left: int) -> str:
    # by-value = by-time ";" by-mode [by-trace]   ; RFC 2852 §4
    left = max(-999_999_999, min(seconds_left, 999_999_999))
    return f"BY={left};{'R' if by.or_return else 'N'}{'T' if by.trace else ''}"


def rcpt(recipient: Address, asked: RcptParameters | None, offers: Offers) -> bytes:
    """RCPT with what the sender wants to hear, if the server takes that over."""
    if asked is None or "DSN" not in offers or (asked.notify is None and not asked.orcpt):
        return f"RCPT TO:<{recipient}>\r\n".encode()
    words = [f"RCPT TO:<{recipient}>"]
    if asked.notify is not None:
        words.append("NOTIFY=" + ",".join(word.value for word in Notify if word in asked.notify))
    if asked.orcpt:
        words.append("ORCPT=" + _orcpt(asked.orcpt))
    return " ".join(words).encode() + _CRLF


def _orcpt(orcpt: str) -> str:
    # original-recipient-address = addr-type ";" xtext   ; RFC 3461 §4.2; RFC 6533 §3 for utf-8
    kind, _, address = orcpt.partition(";")
    if kind.lower() == "utf-8":
        return f"{kind};{encode_unitext(address)}"
    return f"{kind};{encode_xtext(address)}"


def bdat(size: int) -> bytes:
    """The one BDAT of a message (RFC 3030 §2)."""
    return b"BDAT %d LAST\r\n" % size


class DotStuffer:
    """Mail data for DATA, in pieces of any size: a dot before each line that begins with one (RFC 5321 §4.5.2)."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = _CRLF  # the one of DATA

    def feed(self, data: bytes) -> bytes:
        """What to send of this piece."""
        if not data:
            return data
        tail, self._tail = self._tail, (self._tail + data[-2:])[-2:]
        stuffed = data.replace(b"\r\n.", b"\r\n..")
        if data.startswith(b".") and tail == _CRLF:
            return b"." + stuffed
        if data.startswith(b"\n.") and tail.endswith(b"\r"):
            return b"\n." + stuffed[1:]
        return stuffed

    def finish(self) -> bytes:
        """The end of data; with a CRLF before it if the message's last line has none."""
        return b".\r\n" if self._tail == _CRLF else b"\r\n.\r\n"
