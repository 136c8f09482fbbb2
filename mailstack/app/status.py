"""What can be known of a server from outside: its files, its databases, its ports, its page of metrics. Each part
that cannot be looked at says why; nothing is guessed."""

from __future__ import annotations

import shutil
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mailstack.acme.keeping import Keeper, Wanted
from mailstack.acme.state import State, served
from mailstack.app import processes
from mailstack.config.sections import Config, Listener
from mailstack.net.certificate_facts import facts_in

CONNECT_TIME = 2.0
"""Seconds that a port has to take a connection, and the page of metrics to answer."""
SOON = 7 * 24 * 3600.0
"""Seconds before its end at which a certificate is a problem. One that lives for less than four times as long is
one in the last quarter of its life."""
LEAST_FREE = 0.05
"""The part of the disk below which there is a problem."""
LEAST_OCTETS = 256 * 1024 * 1024
MAX_PAGE = 4 * 1024 * 1024
Document = dict[str, Any]


@dataclass(slots=True)
class Status:
    """`document` is all of it, for JSON; `problems` are sentences, none if all is well."""

    document: Document = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def status(config: Config, now: float | None = None) -> Status:
    """Look at everything."""
    moment = time.time() if now is None else now
    found = Status()
    _part(found, "processes", lambda: _processes(config, moment))
    alive = found.document["processes"]
    if alive == []:
        found.problems.append("no process is known to serve this data directory")
    _part(found, "services", lambda: _services(config, alive if isinstance(alive, list) else []))
    _part(found, "certificates", lambda: certificates(config))
    _part(found, "queue", lambda: {"messages": _queued(config)})
    _part(found, "accounts", lambda: _accounts(config))
    _part(found, "disk", lambda: _disk(config.data))
    if config.acme.is_on:
        _part(found, "acme", lambda: renewal(config))
    if config.metrics.port is not None:
        _part(found, "metrics", lambda: _metrics(config, alive if isinstance(alive, list) else []))
    found.problems += _judged(found.document, moment)
    found.document["problems"] = found.problems
    return found


def _part(found: Status, name: str, look: Callable[[], Any]) -> None:
    """One key of the document; when it cannot be had, {"unknown": why}."""
    from mailstack.auth.database import AccountsError
    from mailstack.queue.database import QueueDatabaseError

    try:
        found.document[name] = look()
    except (OSError, ValueError, AccountsError, QueueDatabaseError, _sqlite_error()) as error:
        found.document[name] = {"unknown": str(error)}
        found.problems.append(f"{name}: not known ({error})")


def _sqlite_error() -> type[Exception]:
    import apsw

    return apsw.Error


def _processes(config: Config, now: float) -> list[Document]:
    return [
        {
            "pid": each.pid, "started": round(each.started, 3), "uptime": round(max(0.0, now - each.started), 1),
            "services": {name: list(place) for name, place in each.services.items()},
        }
        for each in processes.running(config.data)
    ]  # fmt: skip


def _services(config: Config, alive: list[Document]) -> list[Document]:
    """Where processes say that they listen; without one, where the configuration says so."""
    if alive:
        told = [
            (name, str(host), int(port), each["pid"])
            for each in alive
            for name, (host, port) in each["services"].items()
        ]
    else:
        told = [_place(listener) for listener in config.listeners]
    return [
        {"service": name, "host": host, "port": port, "pid": pid, "answers": _answers(host, port)}
        for name, host, port, pid in told
    ]


def _place(listener: Listener) -> tuple[str, str, int, int | None]:
    host = {"::": "::1", "0.0.0.0": "127.0.0.1"}.get(listener.address, listener.address)
    return (listener.service.value, listener.unix or host, 0 if listener.unix else listener.port, None)


def _answers(host: str, port: int) -> bool:
    family = socket.AF_UNIX if host.startswith("/") else socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as asking:
            asking.settimeout(CONNECT_TIME)
            asking.connect(host if family == socket.AF_UNIX else (host, port))
    except OSError:
        return False
    return True


def certificates(config: Config) -> list[Document]:
    """Those that a server with this configuration uses, as their files are now."""
    state = State(config.data)
    found: list[Document] = []
    for path, _ in served(config):
        by_acme = path == state.certificate
        one: Document = {"file": str(path), "acme": by_acme and not state.is_self_signed()}
        try:
            facts = facts_in(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a certificate in PEM form"
            found.append(one | {"names": [], "unknown": str(reason)})
            continue
        found.append(
            one
            | {
                "names": list(facts.names), "issuer": facts.issuer, "self_signed": facts.self_signed,
                "serial": facts.serial, "begins": facts.not_before, "ends": facts.not_after,
            }
        )  # fmt: skip
    return found


def renewal(config: Config) -> Document:
    """What [acme] knows of its last attempt and of the next one."""
    state = State(config.data)
    keeper = Keeper(state, _nobody, time.time, lambda: 0.0)
    wanted = Wanted.of(config.acme, config.hostname)
    progress = state.progress()
    if progress.wanted != wanted.subject:
        return {"hosts": list(wanted.hosts), "attempted": 0.0, "failures": 0, "error": "", "next": 0.0}
    return {
        "hosts": list(wanted.hosts),
        "attempted": progress.attempted,
        "failures": progress.failures,
        "error": progress.error,
        "next": keeper.due_at(wanted),
        "window": [progress.window_start, progress.window_end] if progress.window_end else None,
        "explanation": progress.explanation,
    }


def _nobody(state: State) -> Any:
    raise AssertionError("an authority is not needed to look at files")


def _queued(config: Config) -> int:
    from contextlib import closing

    from mailstack.queue.content import QUEUE
    from mailstack.queue.database import DATABASE, QueueDatabase

    path = config.data / QUEUE / DATABASE
    if not path.exists():
        return 0
    with closing(QueueDatabase(path)) as database:
        return database.count()


def _accounts(config: Config) -> Document:
    from contextlib import closing

    from mailstack.auth.database import AccountDatabase

    if not config.accounts_database.exists():
        return {"accounts": 0, "aliases": 0}
    with closing(AccountDatabase(config.accounts_database)) as database:
        return {"accounts": len(database.accounts()), "aliases": len(database.aliases())}


def _disk(data: Path) -> Document:
    usage = shutil.disk_usage(data)
    return {"path": str(data), "octets": usage.total, "free": usage.free}


def _metrics(config: Config, alive: list[Document]) -> Document:
    """What the pages of running processes say; the numbers of each."""
    places = [each["services"]["metrics"] for each in alive if "metrics" in each["services"]]
    if not places and config.metrics.port:
        places = [[config.metrics.address, config.metrics.port]]
    pages: list[Document] = []
    for host, port in places:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{port}/metrics"
        # The page is on this machine; a proxy has no business with it.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(url, timeout=CONNECT_TIME) as page:
            numbers = _numbers(page.read(MAX_PAGE).decode("utf-8", "replace"))
        pages.append({"page": url, "open_connections": numbers.get("mailstack_open_connections")})
    return {"pages": pages}


def _numbers(page: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in page.splitlines():
        name, _, value = line.rpartition(" ")
        if name and not name.startswith("#"):
            found[name] = float(value)
    return found


def _judged(document: Document, now: float) -> Iterator[str]:
    for service in _list(document["services"]):
        if not service["answers"]:
            yield f"{service['service']} does not answer at {service['host']} port {service['port']}"
    for certificate in _list(document["certificates"]):
        yield from _certificate_problems(certificate, now)
    disk = document["disk"]
    if "free" in disk and disk["free"] < max(LEAST_OCTETS, LEAST_FREE * disk["octets"]):
        yield f"the disk with {disk['path']} is nearly full"
    acme = document.get("acme", {})
    if "hosts" in acme and not any(certificate.get("acme") for certificate in _list(document["certificates"])):
        yield f"there is no certificate by [acme] yet for {', '.join(acme['hosts'])}"
    if acme.get("failures"):
        yield f"no certificate by [acme] for {acme['failures']} attempts: {acme['error']}"


def _certificate_problems(certificate: Document, now: float) -> Iterator[str]:
    names = ", ".join(certificate["names"]) or certificate["file"]
    if "unknown" in certificate:
        yield f"certificate {certificate['file']}: {certificate['unknown']}"
        return
    life = certificate["ends"] - certificate["begins"]
    if certificate["ends"] <= now:
        yield f"the certificate of {names} has expired"
    elif certificate["ends"] - now < min(SOON, life / 4):
        yield f"the certificate of {names} expires within {max(1, round((certificate['ends'] - now) / 86400))} d"
    elif certificate["begins"] > now:
        yield f"the certificate of {names} is not valid yet"


def _list(part: Any) -> list[Document]:
    return part if isinstance(part, list) else []
