"""`mailstack account`: who may log in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailstack.cli.account_app_passwords import app_password
from mailstack.cli.account_database import accounts_of
from mailstack.cli.account_forward import forward
from mailstack.cli.account_limits import limits
from mailstack.cli.account_quota import described, quota, quotas_of, recalculate
from mailstack.cli.addresses import AddressType, domain_of
from mailstack.cli.groups import Group
from mailstack.cli.passwords import ask_password, generated_password, standard_input_line
from mailstack.cli.paths import config_option, read_config

if TYPE_CHECKING:
    from mailstack.auth.database import StoredAccount
    from mailstack.config.sections import Config
    from mailstack.quota import Quota

ADDRESS = AddressType()


def expect_local(config: Config, config_path: Path, *addresses: str) -> None:
    """Raises: click.ClickException for the first address that is not of a domain of the configuration."""
    domains = {section.name.lower() for section in config.domains}
    for address in addresses:
        if domain_of(address) not in domains:
            known = ", ".join(sorted(domains))
            raise click.ClickException(f"{address} is not of a domain in {config_path}; these are: {known}")


@click.group(
    cls=Group,
    epilog="""\b
Examples:
  mailstack account add alice@example.org              asks for the password
  mailstack account add alice@example.org --generate   makes one and prints it
  mailstack account list
  mailstack account COMMAND --help                     everything about one of them
""",
)
def account() -> None:
    """Add, list and remove accounts; set passwords and quotas. A running server sees the change at once."""


@account.command(
    short_help="Add an account.",
    epilog="""\b
Examples:
  mailstack account add alice@example.org
  mailstack account add alice@example.org --generate
  mailstack account add alice@example.org --password-stdin <secret.txt
  mailstack account add alice@example.org --hash '$2b$12$...'

\b
Exit status: 0 added, 1 it exists or is of no domain of the configuration, 2 wrong usage.
""",
)
@config_option
@click.argument("address", type=ADDRESS)
@click.option("--generate", is_flag=True, help="Make a random password and print it.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of standard input.")
@click.option(
    "--hash",
    "password_hash",
    metavar="HASH",
    help="A hash from another server: argon2, bcrypt, SHA-256- or SHA-512-crypt, SCRAM keys of Dovecot.",
)
def add(config_path: Path, address: str, generate: bool, password_stdin: bool, password_hash: str | None) -> None:
    """Add the account ADDRESS. Without an option for it, the password is asked for."""
    _one_of(generate, password_stdin, password_hash is not None)
    config = read_config(config_path)
    expect_local(config, config_path, address)
    with accounts_of(config) as database:
        if database.account(address) is not None:  # said before a password is asked for
            raise click.ClickException(f"{address} exists already; `account password` gives it another password")
        stored, scram, shown = _password(config, generate, password_stdin, password_hash)
        database.add_account(address, stored, scram)
    click.echo(f"added {address}" + (f", password {shown}" if shown else ""))


@account.command(
    "list",
    short_help="List all accounts.",
    epilog="""\b
Examples:
  mailstack account list
  mailstack account list --json | jq -r '.[].name'
""",
)
@config_option
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="As JSON, with the time when each was made and whether it can log in by SCRAM.",
)
def list_(config_path: Path, as_json: bool) -> None:
    """List all accounts, one a line; those with a quota with what they use and may use."""
    config = read_config(config_path)
    with accounts_of(config) as database:
        accounts = database.accounts()
        quotas = quotas_of(config, database, [found.name for found in accounts])
    if as_json:
        click.echo(json.dumps([_document(found, quotas.get(found.name)) for found in accounts], indent=2))
        return
    for found in accounts:
        used = quotas.get(found.name)
        click.echo(f"{found.name} {described(used)}" if used else found.name)


def _document(account: StoredAccount, quota: Quota | None) -> dict[str, object]:
    document: dict[str, object] = {"name": account.name, "created": account.created, "scram": bool(account.scram)}
    if quota is not None:
        document |= {"octets": quota.octets, "messages": quota.messages}
        document |= {"max_octets": quota.limit.octets or None, "max_messages": quota.limit.messages or None}
    return document


@account.command(
    short_help="Remove an account's login; its mail stays.",
    epilog="""\b
Examples:
  mailstack account remove alice@example.org

\b
Exit status: 0 removed, 1 there is none of this name, 2 wrong usage.
""",
)
@config_option
@click.argument("address")
def remove(config_path: Path, address: str) -> None:
    """Remove the login ADDRESS. Its mail stays on disk. Aliases that lead to it are named, and stay."""
    name = address.lower()
    with accounts_of(read_config(config_path)) as database:
        database.remove_account(name)
        leading = [alias for alias, targets in database.aliases().items() if name in targets]
    click.echo(f"removed {name}; its mail stays on disk")
    if leading:
        click.echo(f"aliases that still lead to it: {', '.join(leading)}", err=True)


@account.command(
    short_help="Set an account's password.",
    epilog="""\b
Examples:
  mailstack account password alice@example.org
  mailstack account password alice@example.org --generate
  mailstack account password alice@example.org --password-stdin <secret.txt

\b
Exit status: 0 set, 1 there is no such account, 2 wrong usage.
""",
)
@config_option
@click.argument("address")
@click.option("--generate", is_flag=True, help="Make a random password and print it.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of standard input.")
def password(config_path: Path, address: str, generate: bool, password_stdin: bool) -> None:
    """Set the password of ADDRESS. Without an option for it, the password is asked for."""
    _one_of(generate, password_stdin, False)
    name = address.lower()
    config = read_config(config_path)
    with accounts_of(config) as database:
        if database.account(name) is None:
            raise click.ClickException(f"there is no account {name}")
        stored, scram, shown = _password(config, generate, password_stdin, None)
        database.set_password(name, stored, scram)
    click.echo(f"password of {name} set" + (f": {shown}" if shown else ""))


def _one_of(generate: bool, from_stdin: bool, as_hash: bool) -> None:
    if generate + from_stdin + as_hash > 1:
        raise click.UsageError("--generate, --password-stdin and --hash exclude each other")


def _password(config: Config, generate: bool, from_stdin: bool, password_hash: str | None) -> tuple[str, str, str]:
    """The hash to store, the keys for SCRAM, and the password if it is to be shown. Raises: click.ClickException."""
    from mailstack.app.ways import scram_of
    from mailstack.auth import passwords
    from mailstack.auth.scram_store import scram_text

    if password_hash is not None:
        try:
            passwords.check_hash(password_hash)
            return password_hash, passwords.scram_of(password_hash) if scram_of(config) else "", ""
        except passwords.UnknownHash as error:
            raise click.ClickException(
                f"--hash: {error}; $argon2id$..., $2b$..., $5$..., $6$... and {{SCRAM-SHA-256}}... can be used"
            ) from error
    if generate:
        made = generated_password()
        return passwords.hash_password(made), scram_text(made, scram_of(config)), made
    given = standard_input_line() if from_stdin else ask_password("--password-stdin or --generate", confirm=True)
    if not given:
        raise click.ClickException("the password is empty")
    return passwords.hash_password(given), scram_text(given, scram_of(config)), ""


account.add_command(quota)
account.add_command(app_password)
account.add_command(limits)
account.add_command(forward)
account.add_command(recalculate)
