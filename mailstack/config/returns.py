"""`[reports]` and `[forwarding]`: what senders hear of mail that did not arrive, and from whom forwarded mail is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

Size = Annotated[int, "size"]
KIBIBYTE = 1024


@dataclass(frozen=True, slots=True)
class Reports:
    """`[reports]`: what senders hear of mail that did not arrive, and whether it is tried again."""

    full_size: Size = 50 * KIBIBYTE
    """Octets up to which a message that failed is given back as a whole; of a larger one the sender gets the header."""
    full_size_asked: Size = 10 * KIBIBYTE * KIBIBYTE
    """The same, if the sender asked for all of it (RET=FULL, RFC 3461)."""
    per_hour: int = 50
    """Reports to one sender; 0: any. Who has sent to a thousand wrong addresses learns enough from these."""
    suppress: bool = False
    """Whether mail to addresses that failed for good is sent back at once, without another attempt: senders of many
    messages are judged by how often they try such addresses. `mailstack queue suppressed` shows and changes the
    list."""
    suppress_after: int = 3
    """Failures after which an address is on the list, if none of them says that there is no such address; one that does
    is enough."""
    suppress_days: int = 90
    """Days after which an address is tried again; 0: never."""


@dataclass(frozen=True, slots=True)
class Forwarding:
    """`[forwarding]`: from whom mail is that accounts have forwarded elsewhere (`mailstack account forward`). Its
    sender on the wire becomes an address of ours, from which bounces go back to him (SRS): his own domain does not say
    that this server may send for it (SPF)."""

    rewrite: bool = True
    """Whether senders are rewritten; those of our own domains never are."""
    domain: str = ""
    """The one of [[domains]] in which they are. Empty: the first."""
    secrets: Path | None = None
    """A file of secrets, one a line: the first makes addresses, all are good for reading. Servers that forward for the
    same domain need the same. None: one is made, and kept with the accounts."""
