"""What a server offers in its reply to EHLO or LHLO (RFC 5321 §4.1.1.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Offers:
    """`keywords`: in upper case, with their parameters as given. Nothing at all after HELO."""

    keywords: dict[str, str]
    max_size: int = 0
    """Octets of a message (RFC 1870 §4); 0: no limit, or not said."""
    mechanisms: frozenset[str] = frozenset()
    """Of AUTH, in upper case (RFC 4954 §3)."""
    min_by_time: int = 0
    """Seconds that the server needs (RFC 2852 §3); 0: not said."""
    limits: tuple[tuple[str, int], ...] = ()
    """Those of RFC 9422 that are numbers above 0, by names in upper case."""

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.keywords

    def limit(self, name: str) -> int:
        """A limit of RFC 9422 §4; 0: not said."""
        return next((value for key, value in self.limits if key == name), 0)


NO_OFFERS = Offers({})


def offers(lines: Sequence[str]) -> Offers:
    """Of the lines of a reply to EHLO: the first names the host, each of the others an extension. What cannot be
    understood is passed over, and the first of two lines for one thing counts."""
    found: dict[str, str] = {}
    mechanisms: set[str] = set()
    for line in lines[1:]:
        keyword, _, parameters = line.strip().partition(" ")
        keyword = keyword.upper()
        if keyword.startswith("AUTH="):  # of before RFC 2554, and still there for old clients
            keyword, parameters = "AUTH", f"{keyword[5:]} {parameters}"
        if keyword == "AUTH":
            mechanisms.update(parameters.upper().split())
        found.setdefault(keyword, parameters.strip())
    return Offers(
        found, _number(found.get("SIZE", "")), frozenset(mechanisms), _number(found.get("DELIVERBY", "")),
        _limits(found.get("LIMITS", "")),
    )  # fmt: skip


def _limits(text: str) -> tuple[tuple[str, int], ...]:
    # limits-param = [limit-name "=" limit-value *( SP limit-name "=" limit-value )]   ; RFC 9422 §3
    pairs = (word.partition("=") for word in text.split())
    return tuple((name.upper(), number) for name, _, value in pairs if (number := _number(value)))


def _number(text: str) -> int:
    digits = text.split(" ", 1)[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 20 else 0
