"""What `mailstack status` and `mailstack certificate list` found, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mailstack.cli.moments import moment, span
from mailstack.config.units import about

if TYPE_CHECKING:
    from mailstack.app.status import Status

Document = dict[str, Any]
WIDTH = 13


def lines(found: Status, now: float) -> Iterator[str]:
    """All of it; what is wrong comes last."""
    document = found.document
    yield from _processes(document["processes"])
    yield from _services(document["services"])
    certificates = document["certificates"]
    yield from (
        certificate_lines(certificates, now)
        if isinstance(certificates, list)
        else [_unknown("certificate", certificates)]
    )
    if "acme" in document:
        yield from acme_lines(document["acme"], now)
    yield _one("queue", document["queue"], lambda part: f"{part['messages']} messages for other servers")
    yield _one("accounts", document["accounts"], lambda part: f"{part['accounts']}, and {part['aliases']} aliases")
    yield _one(
        "disk",
        document["disk"],
        lambda part: f"{about(part['free'])} of {about(part['octets'])} free at {part['path']}",
    )
    if "metrics" in document:
        yield _one("metrics", document["metrics"], _pages)
    yield ""
    yield from [f"wrong: {problem}" for problem in found.problems] or [
        "all is well, as far as can be seen from outside"
    ]


def certificate_lines(certificates: list[Document], now: float) -> Iterator[str]:
    """One a certificate."""
    if not certificates:
        yield _row("certificate", "none")
    for each in certificates:
        if "unknown" in each:
            yield _row("certificate", f"{each['file']}: {each['unknown']}")
            continue
        left = each["ends"] - now
        end = f"until {moment(each['ends'])} ({span(left)})" if left > 0 else f"EXPIRED {moment(each['ends'])}"
        origin = "by ACME" if each["acme"] else "self-signed" if each["self_signed"] else each["file"]
        yield _row("certificate", f"{', '.join(each['names']) or 'no name'}  {end}  {origin}")


def acme_lines(acme: Document, now: float) -> Iterator[str]:
    """What was tried last, and what is next."""
    if "unknown" in acme:
        yield _unknown("acme", acme)
        return
    if acme["failures"]:
        yield _row("acme", f"{acme['failures']} attempts failed, the last {moment(acme['attempted'])}: {acme['error']}")
    due = acme["next"]
    yield _row("acme", f"next attempt {moment(due) if due > now else 'now'} for {', '.join(acme['hosts'])}")
    if acme.get("window"):
        start, end = acme["window"]
        why = f" ({acme['explanation']})" if acme.get("explanation") else ""
        yield _row("acme", f"the authority wants it renewed from {moment(start)} to {moment(end)}{why}")


def _processes(part: Any) -> Iterator[str]:
    if not isinstance(part, list):
        yield _unknown("process", part)
        return
    if not part:
        yield _row("process", "none is known")
    for each in part:
        yield _row("process", f"{each['pid']}, up {span(each['uptime'])}, since {moment(each['started'])}")


def _services(part: Any) -> Iterator[str]:
    if not isinstance(part, list):
        yield _unknown("service", part)
        return
    for each in part:
        host = f"[{each['host']}]" if ":" in each["host"] else each["host"]
        place = each["host"] if each["host"].startswith("/") else f"{host}:{each['port']}"
        state = "takes connections" if each["answers"] else "DOES NOT ANSWER"
        if each["answers"] and each["pid"] is None:
            state += ", of what program is not known"
        yield _row(each["service"], f"{place}  {state}")


def _pages(part: Document) -> str:
    return ", ".join(f"{page['page']}: {page['open_connections'] or 0:.0f} connections open" for page in part["pages"])


def _one(name: str, part: Any, text: Any) -> str:
    return _unknown(name, part) if "unknown" in part else _row(name, text(part))


def _unknown(name: str, part: Document) -> str:
    return _row(name, f"not known: {part['unknown']}")


def _row(name: str, text: str) -> str:
    return f"{name:<{WIDTH}} {text}"
