"""`mailstack queue route`: where recipients go by the configuration."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mailstack.cli.addresses import AddressType
from mailstack.cli.paths import config_option, read_config
from mailstack.cli.queue_opened import opened_queue

if TYPE_CHECKING:
    from mailstack.config.sections import Config
    from mailstack.relay.explained import Explained


@click.command(
    short_help="Show where recipients go, or send all on its way anew.",
    epilog="""\b
Examples:
  mailstack queue route bob@example.net
  mailstack queue route bob@example.net --sender news@example.org --account alice@example.org
  mailstack queue route --apply          after [[routes]] have changed

\b
Exit status: 0 done, 1 there is no server for one of the addresses, or the queue cannot be written,
2 wrong usage.
""",
)
@config_option
@click.argument("address", nargs=-1, type=AddressType())
@click.option("--sender", type=AddressType(), help="From whom; by default the null sender.")
@click.option("--account", type=AddressType(), help="Who submits it; by default nobody.")
@click.option("--apply", is_flag=True, help="Place all that waits by the configuration as it is now.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def route(
    config_path: Path, address: tuple[str, ...], sender: str | None, account: str | None, apply: bool, as_json: bool
) -> int:
    """Show where mail to each ADDRESS goes by [[routes]], [[holds]] and DNS: destination, servers in the order in which
    they are tried, what TLS has to be like, and from which of our addresses. Nothing is sent."""
    if apply is bool(address):
        raise click.UsageError("expected addresses or --apply")
    config = read_config(config_path)
    if apply:
        click.echo(f"moved {_apply(config)}")
        return 0
    found = _explained(config, address, sender, account)
    if as_json:
        click.echo(json.dumps([each.document() for each in found], indent=2, ensure_ascii=False))
    else:
        for each in found:
            click.echo("\n".join(each.lines()))
    return 0 if all(each.can_go for each in found) else 1


def _apply(config: Config) -> int:
    """The server does the same when it takes up another configuration; until then new mail goes as before."""
    from mailstack.app.outgoing import router

    by = router(config)
    with opened_queue(config) as queue:
        return queue.by_hand.place_anew(lambda envelope, number: by.destination(envelope, envelope.recipients[number]))


def _explained(
    config: Config, addresses: Sequence[str], sender: str | None, account: str | None
) -> Sequence[Explained]:
    from mailstack.app.outgoing import router, ways
    from mailstack.cli.resolving import with_resolver
    from mailstack.mail.address import Address, ascii_domain
    from mailstack.ports import AccountName, Envelope
    from mailstack.relay.candidates import Lookups
    from mailstack.relay.explained import explained
    from mailstack.relay.settings import BadRoute
    from mailstack.relay.sts import remembered
    from mailstack.relay.tls_database import TLS_DATABASE

    def parsed(text: str) -> Address:
        local, _, domain = text.rpartition("@")
        return Address(local, domain)

    envelope = Envelope(
        parsed(sender) if sender else None, tuple(map(parsed, addresses)), AccountName(account) if account else None
    )
    try:
        found_ways = ways(config)
    except BadRoute as error:
        raise click.ClickException(str(error)) from error
    ours = (ascii_domain(config.hostname),)

    async def ask(resolver: Any) -> list[Explained]:
        lookups = Lookups(resolver, remembered(config.data / TLS_DATABASE, time.time), ours, lambda names: None)
        return [
            await explained(envelope, number, router(config), found_ways, lookups) for number in range(len(addresses))
        ]

    answer: Sequence[Explained] = with_resolver(config.dns, ask)
    return answer
