"""The Sender Rewriting Scheme: a reverse-path of ours for mail of others that is forwarded, from which theirs can be
read again. With their own it would fail SPF (RFC 7208 §9.2), since it is not their server that sends it on.

    SRS0=hash=day=domain=local-part@ours              of a sender
    SRS1=hash=host==hash=day=domain=local-part@ours   of one that other forwarders have rewritten: a bounce goes to the
                                                      first of them at once, whose host and address are in it

The form is that of the first implementations (hash: HMAC-SHA1 in base64, cut; day: two digits in base 32), so that
addresses made by them with the same secret are understood here, and the other way round. What is made is not secret; it
proves that we made it, and when, so that nobody can send through us to whom he likes. Pure."""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from dataclasses import dataclass

from mailstack.mail.address import Address, ascii_domain

HASH_LENGTH = 4
"""Characters, of 6 bits; as others have it, since the local-part should stay short (RFC 5321 §4.5.3.1.1)."""
MAX_AGE = 21
"""Days for which bounces come in."""
_DAY = 86400
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_DAYS = len(_DIGITS) ** 2
"""After which the days begin anew."""
_SRS0 = re.compile(r"SRS0([-+=])(.*)", re.IGNORECASE | re.DOTALL)
_SRS1 = re.compile(r"SRS1[-+=](.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rewriter:
    """`domain` is one of ours. The first of `secrets` (one at least) makes addresses, all of them are good for reading;
    so a new one is put before an old one, which goes after `max_age` days. `hash_length` in characters.
    `exempt` are other domains of ours (`ascii_domain`), whose senders may be sent from here as they are."""

    domain: str
    secrets: tuple[bytes, ...]
    hash_length: int = HASH_LENGTH
    max_age: int = MAX_AGE
    exempt: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"Rewriter({self.domain!r})"

    def rewritten(self, sender: Address, now: float) -> Address:
        """A reverse-path of ours for the sender; his own if it is of a domain of ours, or of none. `now` in seconds
        since the epoch."""
        domain = ascii_domain(sender.domain)
        if not domain or domain == ascii_domain(self.domain) or domain in self.exempt:
            return sender
        if match := _SRS1.fullmatch(sender.local_part):
            _, host, rest = _split(match[1], 3)
            if rest:
                return self._srs1(host, rest)
        if match := _SRS0.fullmatch(sender.local_part):
            return self._srs1(sender.domain, match[1] + match[2])
        day = _day(now)
        made = self._hash(self.secrets[0], day, sender.domain, sender.local_part)
        return Address(f"SRS0={made}={day}={sender.domain}={sender.local_part}", self.domain)

    def _srs1(self, host: str, rest: str) -> Address:
        return Address(f"SRS1={self._hash(self.secrets[0], host, rest)}={host}={rest}", self.domain)

    def original(self, address: Address, now: float) -> Address | None:
        """Whom a bounce that comes to this address is for; None if we did not make it, or too long ago."""
        if ascii_domain(address.domain) != ascii_domain(self.domain):
            return None
        if match := _SRS0.fullmatch(address.local_part):
            found, day, domain, local = _split(match[2], 4)
            if local and domain and self._is_recent(day, now) and self._verifies(found, day, domain, local):
                return Address(local, domain)
        elif match := _SRS1.fullmatch(address.local_part):
            found, host, rest = _split(match[1], 3)
            if rest and host and self._verifies(found, host, rest):
                return Address(f"SRS0{rest}", host)
        return None

    def _hash(self, secret: bytes, *data: str) -> str:
        octets = "".join(data).lower().encode("utf-8", "surrogatepass")
        return b64encode(hmac.digest(secret, octets, "sha1")).decode()[: self.hash_length]

    def _verifies(self, found: str, *data: str) -> bool:
        # Servers on the way may have changed the case of letters.
        given = found.lower().encode("utf-8", "surrogatepass")
        return any(hmac.compare_digest(given, self._hash(secret, *data).lower().encode()) for secret in self.secrets)

    def _is_recent(self, day: str, now: float) -> bool:
        digits = day.upper()
        if len(digits) != 2 or not set(digits) <= set(_DIGITS):
            return False
        then = _DIGITS.index(digits[0]) * len(_DIGITS) + _DIGITS.index(digits[1])
        return (int(now // _DAY) - then) % _DAYS <= self.max_age


def is_rewritten(address: Address) -> bool:
    """Whether the address has the form of a rewritten one, whoever made it."""
    return bool(_SRS0.fullmatch(address.local_part) or _SRS1.fullmatch(address.local_part))


def _day(now: float) -> str:
    high, low = divmod(int(now // _DAY) % _DAYS, len(_DIGITS))
    return _DIGITS[high] + _DIGITS[low]


def _split(text: str, number: int) -> list[str]:
    """The parts between "=", the last one with what is left; empty ones where some are missing."""
    found = text.split("=", number - 1)
    return found + [""] * (number - len(found))
