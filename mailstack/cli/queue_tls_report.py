"""`mailstack queue tls-report`: how TLS with other servers was."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailstack.cli.paths import config_option, read_config

if TYPE_CHECKING:
    from mailstack.config.sections import Config
    from mailstack.relay.tls_database import Count


class _Day(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in later versions
    name = "date"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return date.fromisoformat(str(value)).isoformat()
        except ValueError:
            self.fail(f"expected a day as 2026-01-31, not {value}", param, ctx)


@click.command(
    "tls-report",
    short_help="Show how TLS with other servers was.",
    epilog="""\b
Examples:
  mailstack queue tls-report                              today, every domain
  mailstack queue tls-report example.net --date 2026-01-31
  mailstack queue tls-report example.net --json           the report that the domain could be sent

\b
Exit status: 0 done, 1 the counts cannot be read or there are none, 2 wrong usage.
""",
)
@config_option
@click.argument("domain", default="")
@click.option("--date", "day", type=_Day(), help="A day in UTC, of the last 30; without it, today.")
@click.option("--json", "as_json", is_flag=True, help="As the JSON of RFC 8460; of all domains, an array.")
def tls_report(config_path: Path, domain: str, day: str | None, as_json: bool) -> None:
    """Show sessions with the servers of each domain, or of DOMAIN: how many had TLS as its policy demands (DANE,
    MTA-STS, or none), how many had not, and why. What is not older than 10 seconds may be missing."""
    from mailstack.mail.address import ascii_domain
    from mailstack.relay.tls_report import report

    config = read_config(config_path)
    day = day or datetime.now(UTC).strftime("%Y-%m-%d")
    counts = _counts(config, day, ascii_domain(domain))
    by_domain = {name: list(same) for name, same in groupby(counts, key=lambda count: count.session.domain)}
    if as_json:
        hostname = ascii_domain(config.hostname)
        contact = f"mailto:postmaster@{ascii_domain(config.domains[0].name)}"
        reports = [report(day, name, found, hostname, contact) for name, found in by_domain.items()]
        if not domain:
            click.echo(json.dumps(reports, indent=2))
        elif reports:
            click.echo(json.dumps(reports[0], indent=2))
    else:
        for name, found in by_domain.items():
            _show(name, found)
    if not by_domain:
        click.echo(f"no sessions on {day}" + (f" with {domain}" if domain else ""), err=True)
        click.get_current_context().exit(1)


def _show(domain: str, counts: list[Count]) -> None:
    from mailstack.relay.tls_report import totals

    good, failed = totals(counts)
    kinds = ", ".join(sorted({count.session.kind for count in counts}))
    click.echo(f"{domain}  {good} good, {failed} failed  ({kinds})")
    for count in counts:
        session = count.session
        if session.failure:
            where = f"  {session.host}" if session.host else ""
            reason = f"  {count.reason}" if count.reason else ""
            click.echo(f"  {count.number:6}  {session.failure}{where}{reason}")


def _counts(config: Config, day: str, domain: str) -> list[Count]:
    """Raises: click.ClickException."""
    from mailstack.relay.tls_database import TLS_DATABASE, TlsDatabase

    path = config.data / TLS_DATABASE
    try:
        if not path.exists():
            return []
        with closing(TlsDatabase(path)) as database:
            return database.counts(day, domain)
    except (sqlite3.Error, OSError) as error:
        raise click.ClickException(f"{path}: {error}") from error
