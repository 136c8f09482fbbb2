"""What a server for tests can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

Way = Literal["auto", "thread", "process"]
DOMAIN = "example.test"
"""Of the mailboxes' addresses, if no domain is given; reserved (RFC 6761)."""


@dataclass(frozen=True, slots=True)
class MailServerSettings:
    """`way`: in a thread of this process, as a process of its own, or, `auto`, in a thread unless this process has a
    Twisted reactor. `domains`: the local ones, mail for others is refused; none: all are local. `password`: of all
    users; "": any. `port_base`: 0 for free ports, else as `mailstack dev --ports`. `data`: where mail is kept; None: in
    a directory that is removed at the end. `timeout`: seconds that is waited for mail, unless it is said."""

    way: Way = "auto"
    domains: tuple[str, ...] = ()
    password: str = ""
    port_base: int = 0
    data: Path | None = None
    timeout: float = 10.0


class MailServerOptions(TypedDict, total=False):
    """The same as keyword arguments."""

    way: Way
    domains: tuple[str, ...]
    password: str
    port_base: int
    data: Path | None
    timeout: float
