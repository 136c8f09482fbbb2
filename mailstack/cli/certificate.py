"""`mailstack certificate`: the certificates of a server, and those that it gets by ACME."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from mailstack.cli.groups import Group
from mailstack.cli.moments import moment
from mailstack.cli.paths import config_option, read_config

if TYPE_CHECKING:
    from mailstack.acme.keeping import Keeper
    from mailstack.config.sections import Config

REASONS = {"unspecified": 0, "key-compromise": 1, "affiliation-changed": 3, "superseded": 4, "cessation": 5}
"""RFC 5280 §5.3.1, of which authorities take these."""
T = TypeVar("T")


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  mailstack certificate list
  mailstack certificate renew
  mailstack certificate COMMAND --help    everything about one of them
""",
)
def certificate() -> None:
    """Show certificates; renew and revoke the one that [acme] gets."""


@certificate.command(
    "list",
    short_help="Show the certificates.",
    epilog="""\b
Examples:
  mailstack certificate list
  mailstack certificate list --json | jq -r '.certificates[].names[]'

\b
Exit status: 0 shown, 1 one of them has expired or cannot be read.
""",
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(config_path: Path, as_json: bool) -> int:
    """Show the certificates that a server with this configuration uses, and what [acme] does next."""
    from mailstack.app.status import certificates, renewal
    from mailstack.cli.status_shown import acme_lines, certificate_lines

    config = read_config(config_path)
    found = certificates(config)
    acme = renewal(config) if config.acme.is_on else None
    if as_json:
        click.echo(json.dumps({"certificates": found, "acme": acme}, indent=2, ensure_ascii=False))
    else:
        click.echo(
            "\n".join([*certificate_lines(found, time.time()), *(acme_lines(acme, time.time()) if acme else ())])
        )
    return 0 if all("ends" in each and each["ends"] > time.time() for each in found) else 1


@certificate.command(
    short_help="Get a new certificate if it is time.",
    epilog="""\b
Examples:
  mailstack certificate renew
  mailstack certificate renew --force

\b
Exit status: 0 renewed, or not due yet; 1 it failed (the certificate in use stays); 2 wrong usage.
""",
)
@config_option
@click.option("--force", is_flag=True, help="Now, whether it is due or not. Authorities allow this a few times a week.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def renew(config_path: Path, force: bool, as_json: bool) -> int:
    """Get a new certificate from the authority of [acme], as the server does by itself. The server must be running: it
    answers the authority's questions, and takes the certificate into use within seconds."""
    from mailstack.acme.keeping import Wanted, What

    config = _acme_config(config_path)
    keeper = _keeper(config)
    wanted = Wanted.of(config.acme, config.hostname)
    outcome = _become_and(config, lambda: keeper.look(wanted, at_once=force))
    due = keeper.due_at(wanted)
    if as_json:
        click.echo(json.dumps({"outcome": outcome.what.value, "text": outcome.text, "next": due}, indent=2))
    elif outcome.what is What.RENEWED:
        click.echo(f"renewed: {outcome.text}")
    elif outcome.what is What.NOTHING:
        click.echo(f"not due before {moment(due)}; --force renews now")
    if outcome.what is What.OTHERS:
        raise click.ClickException("another process is getting one now; try again in a minute")
    if outcome.what is What.FAILED:
        raise click.ClickException(f"{outcome.text}\nThe server tries again at {moment(due)} by itself.")
    return 0


@certificate.command(
    short_help="Revoke the certificate of [acme].",
    epilog="""\b
Examples:
  mailstack certificate revoke --reason key-compromise
  mailstack certificate revoke --yes && mailstack certificate renew

\b
Exit status: 0 revoked; 1 it failed, or there is none; 2 wrong usage.
""",
)
@config_option
@click.option(
    "--reason", type=click.Choice(list(REASONS)), default="unspecified", show_default=True, help="What others are told."
)
@click.option("--yes", is_flag=True, help="Without asking.")
def revoke(config_path: Path, reason: str, yes: bool) -> None:
    """Tell the authority that the certificate of [acme] must not be trusted any more. A running server goes on with it
    until it has a new one, which it gets at its next look, within an hour; `mailstack certificate renew` is quicker."""
    from mailstack.acme.keeping import Failed, Wanted

    config = _acme_config(config_path)
    keeper = _keeper(config)
    wanted = Wanted.of(config.acme, config.hostname)
    facts = keeper.facts()
    if facts is None:
        raise click.ClickException("there is no certificate by [acme]")
    if not yes:
        click.confirm(f"Revoke the certificate of {', '.join(facts.names)}?", abort=True, err=True)
    try:
        _become_and(config, lambda: keeper.revoke(wanted, REASONS[reason]))
    except Failed as failed:
        raise click.ClickException(str(failed)) from failed
    click.echo(f"revoked: {', '.join(facts.names)}; a new one is due now")


def _acme_config(path: Path) -> Config:
    from importlib.util import find_spec

    from mailstack.config.surroundings import ACME_MISSING

    config = read_config(path)
    if not config.acme.is_on:
        raise click.ClickException(f"{path}: [acme] is not on (agree_to_terms)")
    if find_spec("acme") is None:
        raise click.ClickException(f"[acme] {ACME_MISSING}")
    return config


def _keeper(config: Config) -> Keeper:
    import random
    from functools import partial

    from mailstack.acme.keeping import Keeper
    from mailstack.acme.making import make_authority
    from mailstack.acme.state import State

    return Keeper(State(config.data), partial(make_authority, _sleep), time.time, random.random)


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _become_and(config: Config, do: Callable[[], T]) -> T:
    """As the account that the server runs as: what is written has to be the server's."""
    from mailstack.app.privileges import CannotDrop, drop

    try:
        drop(config.user, config.group)
    except CannotDrop as error:
        raise click.ClickException(str(error)) from error
    return do()
