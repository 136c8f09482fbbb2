"""`mailstack account`: who may log in."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailstack.auth.database import AccountDatabase, AccountsError
from mailstack.cli.addresses import AddressType, domain_of
from mailstack.cli.groups import Group
from mailstack.cli.passwords import ask_password, generated_password, standard_input_line
from mailstack.cli.paths import config_option, read_config

if TYPE_CHECKING:
    from mailstack.config.sections import Config

ADDRESS = AddressType()


@contextmanager
def accounts_of(config: Config) -> Iterator[AccountDatabase]:
    """The accounts of this configuration, made if they are not there yet; what is wrong with them
    becomes click.ClickException."""
    path = config.accounts_database
    try:
        new = [place for place in (path.parent, path) if not place.exists()]
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = AccountDatabase(path)
        if os.getuid() == 0 and config.user:  # the server, which will not be root, must be able to read it
            for place in new:
                shutil.chown(place, config.user, config.group or None)
    except LookupError:
        raise click.ClickException(f"there is no system account {config.user} to own {path}") from None
    except OSError as error:
        raise click.ClickException(f"accounts database {path}: {error.strerror}") from error
    except AccountsError as error:
        raise click.ClickException(str(error)) from error
    try:
        yield database
    except AccountsError as error:
        raise click.ClickException(str(error)) from error
    finally:
        database.close()


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
    """Add, list and remove accounts; set passwords. A running server sees the change at once."""


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
    help="A hash from another server: argon2, bcrypt, SHA-256- or SHA-512-crypt.",
)
def add(config_path: Path, address: str, generate: bool, password_stdin: bool, password_hash: str | None) -> None:
    """Add the account ADDRESS. Without an option for it, the password is asked for."""
    _one_of(generate, password_stdin, password_hash is not None)
    config = read_config(config_path)
    expect_local(config, config_path, address)
    with accounts_of(config) as database:
        if database.account(address) is not None:  # said before a password is asked for
            raise click.ClickException(f"{address} exists already; `account password` gives it another password")
        stored, shown = _password(generate, password_stdin, password_hash)
        database.add_account(address, stored)
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
@click.option("--json", "as_json", is_flag=True, help='As JSON: [{"name": ..., "created": seconds since 1970}, ...].')
def list_(config_path: Path, as_json: bool) -> None:
    """List all accounts, one a line."""
    with accounts_of(read_config(config_path)) as database:
        accounts = database.accounts()
    if as_json:
        click.echo(json.dumps([{"name": found.name, "created": found.created} for found in accounts], indent=2))
        return
    for found in accounts:
        click.echo(found.name)


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
    with accounts_of(read_config(config_path)) as database:
        if database.account(name) is None:
            raise click.ClickException(f"there is no account {name}")
        stored, shown = _password(generate, password_stdin, None)
        database.set_password(name, stored)
    click.echo(f"password of {name} set" + (f": {shown}" if shown else ""))


def _one_of(generate: bool, from_stdin: bool, as_hash: bool) -> None:
    if generate + from_stdin + as_hash > 1:
        raise click.UsageError("--generate, --password-stdin and --hash exclude each other")


def _password(generate: bool, from_stdin: bool, password_hash: str | None) -> tuple[str, str]:
    """The hash to store, and the password if it is to be shown. Raises: click.ClickException."""
    from mailstack.auth.passwords import UnknownHash, check_hash, hash_password

    if password_hash is not None:
        try:
            check_hash(password_hash)
        except UnknownHash as error:
            raise click.ClickException(
                f"--hash: {error}; $argon2id$..., $2b$..., $5$... and $6$... can be used"
            ) from error
        return password_hash, ""
    if generate:
        made = generated_password()
        return hash_password(made), made
    given = standard_input_line() if from_stdin else ask_password("--password-stdin or --generate", confirm=True)
    if not given:
        raise click.ClickException("the password is empty")
    return hash_password(given), ""
