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
    from mailstack.config.sections import Config, Dns
    from mailstack.dns.lookup import Domain, Lookup
    from mailstack.mail.mta_sts import StsPolicy
    from mailstack.net.https import Texts

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
  mailstack dns lookup example.org --policy               what MTA-STS demands, too
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
@click.option("--policy", is_flag=True, help="Fetch the domain's policy of MTA-STS, and show it, too.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def lookup(
    context: click.Context, config_path: Path, name: str, rdtype: str | None, servers: tuple[str, ...], policy: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Show what mail sees of the domain, host or IP address NAME, asking as the server does: by [dns] of the
    configuration if there is one, without a cache."""
    from dataclasses import replace

    from mailstack.cli.dns_shown import domain_document, domain_lines, seen_document, seen_lines
    from mailstack.config.sections import Dns

    is_given = context.get_parameter_source("config_path") is not ParameterSource.DEFAULT
    config = read_config(config_path) if is_given or config_path.exists() else None
    settings = config.dns if config is not None else Dns()
    settings = replace(settings, servers=_servers(servers) or settings.servers, cache_entries=0)
    kind = (rdtype or ("PTR" if _is_address(name) else "")).upper()
    if kind and policy:
        raise click.UsageError("--policy is of a domain, not of one question")
    if kind:
        seen = _run(settings, lambda asking: asking.one(name, kind))
        click.echo(json.dumps(seen_document(seen), indent=2) if as_json else "\n".join(seen_lines(seen)))
        return 0 if seen.found else 1
    domain = _run(settings, lambda asking: _domain(asking, name.rpartition("@")[2], config, policy=policy))
    click.echo(json.dumps(domain_document(domain), indent=2) if as_json else "\n".join(domain_lines(domain)))
    return 0 if domain.can_receive else 1


async def _domain(asking: Lookup, name: str, config: Config | None, *, policy: bool) -> Domain:
    domain = await asking.domain(name)
    if policy:
        from twisted.internet import reactor

        from mailstack.config.outgoing import Outbound
        from mailstack.net.https import HttpsTexts

        outbound = config.outbound if config is not None else Outbound()
        texts = HttpsTexts(reactor, asking.resolver)
        domain.policy = await fetched_policy(texts, name, outbound.mta_sts_port, str(outbound.ca or ""))
    return domain


async def fetched_policy(texts: Texts, domain: str, port: int, authorities: str) -> StsPolicy | str:
    """The policy of MTA-STS, or why there is none."""
    from mailstack.mail.address import ascii_domain
    from mailstack.mail.mta_sts import POLICY_PATH, BadPolicy, parse_policy
    from mailstack.net.https import FetchFailed

    try:
        return parse_policy(await texts.text(f"mta-sts.{ascii_domain(domain)}", POLICY_PATH, port, authorities))
    except (FetchFailed, BadPolicy) as error:
        return str(error)


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
