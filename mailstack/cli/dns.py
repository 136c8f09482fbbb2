"""`mailstack dns lookup`: what mail sees of a domain."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mailstack.cli.dns_records import records
from mailstack.cli.groups import Group
from mailstack.cli.paths import config_option, read_config

if TYPE_CHECKING:
    from mailstack.config.sections import Dns
    from mailstack.dns.lookup import Lookup

TYPES = ("MX", "A", "AAAA", "TXT", "TLSA", "CNAME", "PTR")


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  mailstack dns lookup example.org
  mailstack dns lookup example.org --server 127.0.0.1 --json
  mailstack dns records
""",
)
def dns() -> None:
    """Look into DNS as mail does, and show what belongs there."""


dns.add_command(records)


@dns.command(
    short_help="Show what mail sees of a domain.",
    epilog="""\b
Examples:
  mailstack dns lookup example.org                        exchangers, addresses, TLSA, MTA-STS
  mailstack dns lookup alice@example.org                  the same
  mailstack dns lookup 192.0.2.1                          the names of an address
  mailstack dns lookup _dmarc.example.org --type TXT
  mailstack dns lookup example.org --server 127.0.0.1:5353 --json

\b
Exit status: 0 there is something, 1 there is nothing, the domain accepts no mail, or DNS does not
say; 2 wrong usage.
""",
)
@config_option
@click.argument("name")
@click.option(
    "--type", "rdtype", type=click.Choice(TYPES, case_sensitive=False), help="Ask for these records and no others."
)
@click.option(
    "--server", "servers", metavar="ADDRESS", multiple=True,
    help="Ask this server instead of those of the configuration; may be repeated.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def lookup(
    context: click.Context, config_path: Path, name: str, rdtype: str | None, servers: tuple[str, ...], as_json: bool
) -> int:
    """Show what mail sees of the domain, host or IP address NAME, asking as the server does: by [dns] of the
    configuration if there is one, without a cache."""
    from dataclasses import replace

    from mailstack.cli.dns_shown import domain_document, domain_lines, seen_document, seen_lines

    settings = _settings(
        config_path, is_given=context.get_parameter_source("config_path") is not ParameterSource.DEFAULT
    )
    settings = replace(settings, servers=_servers(servers) or settings.servers, cache_entries=0)
    kind = (rdtype or ("PTR" if _is_address(name) else "")).upper()
    if kind:
        seen = _run(settings, lambda asking: asking.one(name, kind))
        click.echo(json.dumps(seen_document(seen), indent=2) if as_json else "\n".join(seen_lines(seen)))
        return 0 if seen.found else 1
    domain = _run(settings, lambda asking: asking.domain(name.rpartition("@")[2]))
    click.echo(json.dumps(domain_document(domain), indent=2) if as_json else "\n".join(domain_lines(domain)))
    return 0 if domain.can_receive else 1


def _settings(path: Path, *, is_given: bool) -> Dns:
    from mailstack.config.sections import Dns

    return read_config(path).dns if is_given or path.exists() else Dns()


def _servers(texts: tuple[str, ...]) -> tuple[str, ...]:
    from mailstack.names import BadServer, NameServer

    try:
        return tuple(str(NameServer.parse(text)) for text in texts)
    except BadServer as error:
        raise click.UsageError(f"--server: {error}") from None


def _is_address(name: str) -> bool:
    from ipaddress import ip_address

    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _run(settings: Dns, ask: Callable[[Lookup], Coroutine[Any, Any, Any]]) -> Any:
    from mailstack.cli.resolving import with_resolver
    from mailstack.dns.lookup import Lookup

    return with_resolver(settings, lambda resolver: ask(Lookup(resolver, time.monotonic)))
