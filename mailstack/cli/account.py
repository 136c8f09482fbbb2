"""`mailstack account`: who may log in."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path

import click

from mailstack.auth.database import AccountDatabase, AccountsError
from mailstack.cli.paths import config_option, read_config

EXAMPLES = """\b
Examples:
  mailstack account add alice@example.org              asks for the password
  mailstack account add alice@example.org --generate   makes one and prints it
  echo secret | mailstack account password alice@example.org --password-stdin
  mailstack account list --json
"""
PASSWORD_OCTETS = 15
"""Random octets of a generated password: 120 bits, 20 characters."""


def open_database(config_path: Path) -> AccountDatabase:
    """The accounts of this configuration. Raises: click.ClickException."""
    config = read_config(config_path)
    try:
        config.accounts_database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return AccountDatabase(config.accounts_database)
    except (AccountsError, OSError) as error:
        raise click.ClickException(str(error)) from error


@click.group(epilog=EXAMPLES)
def account() -> None:
    """Add, list and remove accounts; set passwords. A running server sees the change at once."""


@account.command()
@config_option
@click.argument("address")
@click.option("--generate", is_flag=True, help="Make a random password and print it.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--hash", "password_hash", help="A hash from another server: argon2, bcrypt, SHA-crypt.")
def add(config_path: Path, address: str, generate: bool, password_stdin: bool, password_hash: str | None) -> None:
    """Add the account ADDRESS."""
    config = read_config(config_path)
    local, _, domain = address.lower().rpartition("@")
    if not local or domain not in {section.name.lower() for section in config.domains}:
        raise click.ClickException(f"{address} is not an address of a domain in {config_path}")
    database = open_database(config_path)
    stored, shown = _password(generate, password_stdin, password_hash)
    try:
        database.add_account(address, stored)
    except AccountsError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"added {address.lower()}" + (f", password {shown}" if shown else ""))


@account.command("list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(config_path: Path, as_json: bool) -> None:
    """List all accounts."""
    accounts = open_database(config_path).accounts()
    if as_json:
        click.echo(json.dumps([{"name": found.name, "created": found.created} for found in accounts], indent=2))
        return
    for found in accounts:
        click.echo(found.name)


@account.command()
@config_option
@click.argument("address")
def remove(config_path: Path, address: str) -> None:
    """Remove the login ADDRESS. Its mail stays on disk."""
    try:
        open_database(config_path).remove_account(address)
    except AccountsError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"removed {address.lower()}; its mail stays on disk")


@account.command()
@config_option
@click.argument("address")
@click.option("--generate", is_flag=True, help="Make a random password and print it.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def password(config_path: Path, address: str, generate: bool, password_stdin: bool) -> None:
    """Set the password of ADDRESS."""
    database = open_database(config_path)
    if database.account(address) is None:
        raise click.ClickException(f"there is no account {address.lower()}")
    stored, shown = _password(generate, password_stdin, None)
    try:
        database.set_password(address, stored)
    except AccountsError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"password of {address.lower()} set" + (f": {shown}" if shown else ""))


def _password(generate: bool, from_stdin: bool, password_hash: str | None) -> tuple[str, str]:
    """The hash to store, and the password if it is to be shown. Raises: click.ClickException."""
    from mailstack.auth.passwords import hash_password

    if password_hash:
        if not password_hash.startswith(("$", "{")):
            raise click.ClickException("--hash takes a hash as $argon2id$…, $2b$…, $6$… or {SCHEME}…")
        return password_hash, ""
    if generate:
        made = generated_password()
        return hash_password(made), made
    given = sys.stdin.readline().rstrip("\r\n") if from_stdin else _asked()
    if not given:
        raise click.ClickException("the password is empty")
    return hash_password(given), ""


def _asked() -> str:
    answer: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return answer


def generated_password() -> str:
    """A password that nobody guesses."""
    return secrets.token_urlsafe(PASSWORD_OCTETS)
