"""`mailstack quickstart`: from an address to a configuration that works."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
from pathlib import Path

import click

from mailstack.cli.account import generated_password

EXAMPLES = """\b
Examples:
  mailstack quickstart postmaster@example.org
  mailstack quickstart me@example.org --hostname mail.example.org --dir ./try --data ./try/data --port-base 10000
"""
SERVICES = (
    ("smtp", 25),
    ("submission", 587),
    ("submissions", 465),
    ("imap", 143),
    ("imaps", 993),
    ("pop3", 110),
    ("pop3s", 995),
)


@click.command(epilog=EXAMPLES)
@click.argument("address")
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path, file_okay=False), default=Path("/etc/mailstack"),
    show_default=True, help="Where the configuration and the certificate go.",
)  # fmt: skip
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), default=Path("/var/lib/mailstack"), show_default=True,
    help="Where mail and accounts go.",
)  # fmt: skip
@click.option("--hostname", help="The server's own name.  [default: this machine's]")
@click.option("--address", "listen", default="::", show_default=True, help="The IP address to listen at.")
@click.option("--port-base", type=click.IntRange(0, 64000), default=0, help="Added to every port, for a try-out.")
@click.option(
    "--user", default="mailstack", show_default=True, help="The system account to run as, when root starts it."
)
@click.option("--force", is_flag=True, help="Write over a configuration that is there.")
def quickstart(
    address: str, directory: Path, data: Path, hostname: str | None, listen: str, port_base: int, user: str, force: bool
) -> None:
    """Set up a server for the domain of ADDRESS, which becomes its first account."""
    from mailstack.auth.database import AccountDatabase, AccountsError
    from mailstack.auth.passwords import hash_password
    from mailstack.config.load import load
    from mailstack.net.certificates import write_self_signed

    local, _, domain = address.lower().rpartition("@")
    if not local or "." not in domain:
        raise click.ClickException(f"{address} is not an address as postmaster@example.org")
    directory, data, host = directory.absolute(), data.absolute(), hostname or socket.getfqdn()
    target = directory / "mailstack.toml"
    if target.exists() and not force:
        raise click.ClickException(f"{target} exists; --force writes over it")
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    cert, key = write_self_signed(directory / "tls", [host])
    target.write_text(configuration(domain, address.lower(), host, data, cert, key, listen, port_base, user))
    config = load(target)
    made = generated_password()
    try:
        AccountDatabase(config.accounts_database).add_account(address, hash_password(made))
        shown = f"password {made}"
    except AccountsError as error:
        shown = f"unchanged: {error}"
    note = _hand_over(user, data, *data.iterdir(), cert.parent, cert, key)
    click.echo(next_steps(address.lower(), shown, domain, host, target, user) + note)


def _hand_over(user: str, *paths: Path) -> str:
    """As root: what the server reads and writes belongs to the account that it becomes. Returns what
    is left to say."""
    if os.getuid() != 0:
        return ""
    try:
        for path in paths:
            shutil.chown(path, user)
    except LookupError:
        owned = " ".join(str(path) for path in (paths[0], paths[-3]))
        return f"""

   There is no system account {user} yet:

   useradd --system --home-dir {paths[0]} --shell /usr/sbin/nologin {user}
   chown -R {user} {owned}"""
    return ""


def configuration(
    domain: str, postmaster: str, host: str, data: Path, cert: Path, key: Path, listen: str, port_base: int, user: str
) -> str:
    """The text of mailstack.toml."""
    lines = [
        "# Written by `mailstack quickstart`. docs/configuration.md explains every key.",
        f'data = "{data}"',
        f'hostname = "{host}"',
    ]
    if os.getuid() == 0:
        lines.append(f'user = "{user}"')
    lines += ["", "[[domains]]", f'name = "{domain}"', f'postmaster = "{postmaster}"', ""]
    for service, port in SERVICES:
        lines += ["[[listeners]]", f'service = "{service}"', f'address = "{listen}"', f"port = {port + port_base}", ""]
    lines += ["[[tls.certificates]]", f'cert = "{cert}"', f'key = "{key}"', ""]
    return "\n".join(lines)


def next_steps(account: str, shown: str, domain: str, host: str, target: Path, user: str) -> str:
    """What is left to do."""
    owner = user if os.getuid() == 0 else getpass.getuser()
    return f"""\
Configuration  {target}
Account        {account}, {shown}

What is left to do:

1. DNS records, with your server's addresses in the place of 192.0.2.1 and 2001:db8::1:

   {host}.  A      192.0.2.1
   {host}.  AAAA   2001:db8::1
   {domain}.  MX     10 {host}.
   {domain}.  TXT    "v=spf1 mx -all"
   _dmarc.{domain}.  TXT    "v=DMARC1; p=quarantine; rua=mailto:{account}"
   _submissions._tcp.{domain}.  SRV    0 1 465 {host}.
   _imaps._tcp.{domain}.  SRV    0 1 993 {host}.

   and the reverse record of each address: {host}.

2. A certificate that others trust, in the place of the self-signed one: put its files into {target.parent}/tls;
   the server takes changed files into use by itself.

3. Open the ports 25, 465, 587, 143, 993, 110 and 995.

4. Start it, as the system account {owner}:

   mailstack config check --config {target}
   mailstack serve --config {target}

   For systemd, etc/mailstack.service and etc/mailstack.socket are examples."""
