"""What a command line says, once it is parsed."""

from __future__ import annotations

from dataclasses import dataclass

from mailstack.mail.address import Address


@dataclass(frozen=True, slots=True)
class Parameter:
    """One esmtp-param (RFC 5321 §4.1.2): keyword in upper case; value None when there is no "="."""

    keyword: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Helo:
    """EHLO or HELO: a domain name or an address literal with its brackets, as given."""

    domain: str


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL; `reverse_path` None is the null reverse-path `<>`."""

    reverse_path: Address | None
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True, slots=True)
class Rcpt:
    """RCPT; the domainless `<Postmaster>` has the domain ""."""

    forward_path: Address
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True, slots=True)
class Bdat:
    """BDAT (RFC 3030): `size` octets follow the line; `last` ends the message."""

    size: int
    last: bool


@dataclass(frozen=True, slots=True)
class Burl:
    """BURL (RFC 4468): the URL as it came; `last` ends the message."""

    url: bytes
    last: bool


@dataclass(frozen=True, slots=True)
class Auth:
    """AUTH (RFC 4954): the mechanism in upper case; the initial response still in base64."""

    mechanism: str
    initial_response: bytes | None = None


@dataclass(frozen=True, slots=True)
class Vrfy:
    """VRFY or EXPN: the address, its domain "" if there was none; None for text that is no address.
    `smtputf8`: the reply may be in UTF-8."""

    address: Address | None
    smtputf8: bool = False


@dataclass(frozen=True, slots=True)
class Etrn:
    """ETRN (RFC 1985 §5): a node; `option` is "@" for it and all below it, "#" for a queue of this name."""

    node: str
    option: str = ""


@dataclass(frozen=True, slots=True)
class Attributes:
    """XCLIENT or XFORWARD: names in upper case, each once, with their values decoded."""

    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Nothing:
    """A command without an argument, or with one that does not matter."""


NOTHING = Nothing()
