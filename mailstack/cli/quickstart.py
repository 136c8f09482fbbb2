"""`mailstack quickstart`: from an address to a configuration that works."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import sys
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import click

from mailstack.cli.addresses import AddressType, domain_of
from mailstack.cli.passwords import generated_password
from mailstack.cli.systemd_unit import unit

SERVICES = (
    ("smtp", 25),
    ("submission", 587),
    ("submissions", 465),
    ("imap", 143),
    ("imaps", 993),
    ("pop3", 110),
    ("pop3s", 995),
)
HTTP_PORT = 80
"""Where an authority asks (RFC 8555 §8.3)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be set up, all of it known before anything is written. `user` is the system account
    that the server runs as."""

    account: str
    directory: Path
    data: Path
    host: str
    listen: str
    port_base: int
    user: str
    acme: str | None = None
    """Whom an authority may write to, "" for nobody; None: no certificate by ACME."""

    @property
    def domain(self) -> str:
        return domain_of(self.account)

    @property
    def target(self) -> Path:
        return self.directory / "mailstack.toml"

    @property
    def tls(self) -> Path:
        return self.directory / "tls"

    @property
    def service_file(self) -> Path:
        return self.directory / "mailstack.service"

    def port(self, service: str) -> int:
        return dict(SERVICES)[service] + self.port_base


@click.command(
    epilog="""\b
Examples:
  sudo mailstack quickstart postmaster@example.org
  mailstack quickstart me@example.org --hostname mail.example.org
  sudo mailstack quickstart me@example.org --acme me@example.org    a certificate of Let's Encrypt
  mailstack quickstart me@example.org --dir ./try --data ./try/data --port-base 10000 --listen 127.0.0.1

\b
Exit status: 0 done, 1 a configuration is there already or something cannot be written, 2 wrong usage.
"""
)
@click.argument("address", type=AddressType())
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path, file_okay=False), default=Path("/etc/mailstack"),
    show_default=True, help="Where the configuration, the certificate and the service file go.",
)  # fmt: skip
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), default=Path("/var/lib/mailstack"), show_default=True,
    help="Where mail and accounts go.",
)  # fmt: skip
@click.option(
    "--hostname", metavar="NAME", help="The server's own name.  [default: this machine's, else mail. and the domain]"
)
@click.option("--listen", metavar="IP", default="::", show_default=True, help="The IP address to listen at; :: is all.")
@click.option(
    "--port-base",
    type=click.IntRange(0, 64000),
    metavar="BASE",
    default=0,
    help="Added to every port, for a try-out: 10000 makes 25 to 10025.",
)
@click.option(
    "--user",
    metavar="NAME",
    default="mailstack",
    show_default=True,
    help="The system account to run as, when root starts it.",
)
@click.option(
    "--acme",
    metavar="EMAIL",
    help="Get the certificate from Let's Encrypt, whose terms you agree to; EMAIL is whom they may write to.",
)
@click.option(
    "--force", is_flag=True, help="Write over a configuration that is there. Mail, accounts and certificates stay."
)
def quickstart(
    address: str,
    directory: Path,
    data: Path,
    hostname: str | None,
    listen: str,
    port_base: int,
    user: str,
    acme: str | None,
    force: bool,
) -> None:
    """Set up a server for the domain of ADDRESS, which becomes its first account.

    Writes a configuration, a self-signed certificate, a file for systemd and the account, whose random
    password is printed. Then says what is left to do: DNS records, ports, the start."""
    if "." not in domain_of(address):
        raise click.UsageError(f"expected an address of a domain as postmaster@example.org, not {address}")
    _in_ascii(domain_of(address), "ADDRESS")
    host = _in_ascii(hostname or _own_name(domain_of(address)), "--hostname")
    owner = user if os.getuid() == 0 else getpass.getuser()
    plan = Plan(address, directory.absolute(), data.absolute(), host, listen, port_base, owner, acme)
    text = _checked(plan)
    if plan.target.exists() and not force:
        raise click.ClickException(f"{plan.target} exists; --force writes over it")
    try:
        shown = _set_up(plan, text)
    except PermissionError as error:
        hint = "run it as root, or choose other places with --dir and --data"
        raise click.ClickException(f"{error.filename}: {error.strerror}; {hint}") from error
    click.echo(next_steps(plan, shown, _hand_over(plan)))


def _own_name(domain: str) -> str:
    """This machine's full name if it has one, else the usual one in the domain."""
    name = socket.getfqdn()
    return name if "." in name and name != "localhost.localdomain" else f"mail.{domain}"


def _in_ascii(name: str, option: str) -> str:
    """A host name as DNS has it. Raises: click.UsageError."""
    try:
        return name.lower().encode("idna").decode("ascii")
    except UnicodeError:
        raise click.UsageError(f"{option}: {name!r} is not a host name as mail.example.org") from None


def _checked(plan: Plan) -> str:
    """The text of the configuration, which can be loaded. Raises: click.UsageError."""
    from mailstack.config.load import ConfigError, parse

    try:
        ip_address(plan.listen)
    except ValueError:
        raise click.UsageError(f"--listen: expected an IP address as 192.0.2.1 or ::, not {plan.listen!r}") from None
    text = configuration(plan)
    try:
        parse(text.encode(), plan.target)
    except (ConfigError, UnicodeEncodeError) as error:
        raise click.UsageError(f"the configuration would not be usable: {error}") from error
    return text


def _set_up(plan: Plan, text: str) -> str:
    """Write everything; what to say of the account's password. Raises: OSError, click.ClickException."""
    from mailstack.auth.database import AccountDatabase, AccountsError
    from mailstack.auth.passwords import hash_password
    from mailstack.auth.scram_store import scram_text
    from mailstack.net.certificates import usable, write_self_signed

    if not plan.directory.exists():
        plan.directory.mkdir(parents=True)
        plan.directory.chmod(0o755)  # whatever the umask is: the server's account has to get in
    plan.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if plan.acme is None and not usable(plan.tls):
        write_self_signed(plan.tls, [plan.host])
    for path, content in ((plan.target, text), (plan.service_file, service_file(plan))):
        path.write_text(content, encoding="utf-8")
        path.chmod(0o644)  # there is no secret in it, and the server, which is not root, reads it
    try:
        database = AccountDatabase(plan.data / "accounts.sqlite3")
        if database.account(plan.account) is not None:
            return "which exists already and keeps its password"
        made = generated_password()
        database.add_account(plan.account, hash_password(made), scram_text(made))
        database.close()
    except AccountsError as error:
        raise click.ClickException(str(error)) from error
    return f"password {made}"


def _hand_over(plan: Plan) -> list[str]:
    """As root: what the server reads and writes belongs to the account that it becomes. Returns the
    commands that are left to run."""
    if os.getuid() != 0:
        return []
    try:
        for path in (plan.data, *plan.data.iterdir(), *_tls_files(plan)):
            shutil.chown(path, plan.user)
    except LookupError:
        return [
            f"useradd --system --home-dir {plan.data} --shell /usr/sbin/nologin {plan.user}",
            f"chown -R {plan.user} {plan.data}{f' {plan.tls}' if _tls_files(plan) else ''}",
        ]
    return []


def _tls_files(plan: Plan) -> list[Path]:
    return [plan.tls, *plan.tls.iterdir()] if plan.tls.is_dir() else []


def configuration(plan: Plan) -> str:
    """The text of mailstack.toml."""
    from mailstack.config.show import scalar
    from mailstack.net.certificates import CERTIFICATE, KEY

    lines = [
        "# Written by `mailstack quickstart`. docs/configuration.md explains every key.",
        f"data = {scalar(plan.data)}",
        f"hostname = {scalar(plan.host)}",
    ]
    if os.getuid() == 0:
        lines.append(f"user = {scalar(plan.user)}")
    lines += ["", "[[domains]]", f"name = {scalar(plan.domain)}", f"postmaster = {scalar(plan.account)}", ""]
    for service, _ in SERVICES:
        lines += ["[[listeners]]", f"service = {scalar(service)}", f"address = {scalar(plan.listen)}"]
        lines += [f"port = {plan.port(service)}", ""]
    if plan.acme is not None:
        lines += ["[acme]", "agree_to_terms = true", f"email = {scalar(plan.acme)}"]
        if plan.listen != "::":
            lines.append(f"address = {scalar(plan.listen)}")
        if plan.port_base:
            lines.append(f"port = {HTTP_PORT + plan.port_base}")
        return "\n".join(lines) + "\n"
    lines += ["[[tls.certificates]]", f"cert = {scalar(plan.tls / CERTIFICATE)}", f"key = {scalar(plan.tls / KEY)}"]
    return "\n".join(lines) + "\n"


def service_file(plan: Plan) -> str:
    """The text of mailstack.service."""
    return unit(program(), plan.target, plan.data, plan.user)


def program() -> str:
    """How to start this very program from anywhere."""
    called = Path(sys.argv[0]).absolute()
    if called.name == "mailstack" and os.access(called, os.X_OK) and called.is_file():
        return str(called)
    return f"{sys.executable} -m mailstack"


def next_steps(plan: Plan, shown: str, commands: list[str]) -> str:
    """What was done, and what is left to do."""
    steps = [_dns(plan), _certificate(plan), _ports(plan)]
    if commands:
        steps.append(f"There is no system account {plan.user} yet. Make it:\n\n" + _indented(commands))
    steps.append(_start(plan))
    written = f"""\
Configuration  {plan.target}
Certificate    {plan.tls if plan.acme is None else "from Let's Encrypt, when the server runs"}
Service file   {plan.service_file}
Account        {plan.account}, {shown}

What is left to do:
"""
    numbered = [f"{number}. {step}" for number, step in enumerate(steps, 1)]
    return "\n\n".join([written.rstrip(), *numbered])


def _dns(plan: Plan) -> str:
    host, domain = plan.host, plan.domain.encode("idna").decode("ascii")
    records = [
        f"{host}.  A      192.0.2.1",
        f"{host}.  AAAA   2001:db8::1",
        f"{domain}.  MX     10 {host}.",
        f'{domain}.  TXT    "v=spf1 mx -all"',
        f'_dmarc.{domain}.  TXT    "v=DMARC1; p=quarantine; rua=mailto:{plan.account.rpartition("@")[0]}@{domain}"',
        f"_submissions._tcp.{domain}.  SRV    0 1 {plan.port('submissions')} {host}.",
        f"_imaps._tcp.{domain}.  SRV    0 1 {plan.port('imaps')} {host}.",
    ]
    return (
        "DNS records, with your server's addresses in the place of 192.0.2.1 and 2001:db8::1:\n\n"
        f"{_indented(records)}\n\n   and the reverse record of each address: {host}."
    )


def _certificate(plan: Plan) -> str:
    if plan.acme is not None:
        return (
            f"The certificate comes by itself when {plan.host} leads here in DNS, and port {HTTP_PORT} is open from\n"
            "   outside. It needs the package acme (pip install 'mailstack[acme]'); its terms of service, to which\n"
            "   you agree, are at https://letsencrypt.org/repository/. mailstack certificate list shows it."
        )
    return (
        "A certificate that others trust, in the place of the self-signed one: its chain as cert.pem and its\n"
        f"   key as key.pem in {plan.tls}. The server takes changed files into use by itself.\n"
        "   Or let it get one from Let's Encrypt: quickstart --acme EMAIL writes the section [acme]."
    )


def _ports(plan: Plan) -> str:
    numbers = [str(plan.port(service)) for service, _ in SERVICES]
    if plan.acme is not None:
        numbers.insert(0, str(HTTP_PORT + plan.port_base))
    return f"Open the ports {', '.join(numbers[:-1])} and {numbers[-1]} (TCP) in the firewall."


def _start(plan: Plan) -> str:
    here = [
        f"{program()} config check --config {plan.target}",
        f"{program()} serve --config {plan.target}",
    ]
    systemd = [f"cp {plan.service_file} /etc/systemd/system/", "systemctl enable --now mailstack"]
    return (
        f"Start it; it runs as {plan.user}. With systemd:\n\n{_indented(systemd)}\n\n"
        f"   or at once, in the foreground:\n\n{_indented(here)}"
    )


def _indented(lines: list[str]) -> str:
    return "\n".join(f"   {line}" for line in lines)
