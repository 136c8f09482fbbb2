"""`mailstack dns records`: what belongs into DNS for our domains."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailstack.cli.paths import config_option, read_config

if TYPE_CHECKING:
    from mailstack.config.sections import Config


@click.command(
    "records",
    short_help="Show what belongs into DNS for our domains.",
    epilog="""\b
Examples:
  mailstack dns records                       lines for zone files
  mailstack dns records example.org --policy  the policy of MTA-STS that its host has to serve
  mailstack dns records --json

\b
Exit status: 0 done, 1 the domain is none of ours, or a certificate cannot be read; 2 wrong usage.
""",
)
@config_option
@click.argument("domains", nargs=-1, metavar="[DOMAIN]...")
@click.option("--policy", is_flag=True, help="The policy of MTA-STS instead.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def records(config_path: Path, domains: tuple[str, ...], policy: bool, as_json: bool) -> None:
    """Show the records of each DOMAIN, or of all domains of the configuration, and of the server's own name: MX, SPF,
    MTA-STS, where reports on TLS go, and TLSA of the certificates in use."""
    from mailstack.config.records import domain_records, host_records, policy_of
    from mailstack.mail.address import ascii_domain

    config = read_config(config_path)
    ours = [ascii_domain(domain.name) for domain in config.domains]
    wanted = [ascii_domain(domain) for domain in domains] or ours
    for domain in wanted:
        if domain not in ours:
            raise click.ClickException(f"{domain} is none of our domains: {', '.join(ours)}")
    if policy:
        click.echo(policy_of(config).text.replace("\r\n", "\n"), nl=False)
        return
    found = {ascii_domain(config.hostname): list(host_records(config, _keys(config)))}
    found |= {domain: [*found.get(domain, []), *domain_records(config, domain)] for domain in wanted}
    if as_json:
        document = [{"name": r.name, "type": r.rdtype, "value": r.value} for each in found.values() for r in each]
        click.echo(json.dumps(document, indent=2))
        return
    for name, each in found.items():
        click.echo(f"; {name}")
        for record in each:
            click.echo(record.line)


def _keys(config: Config) -> list[bytes]:
    """SHA-256 of each certificate's key. Raises: click.ClickException."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    keys = []
    for pair in config.tls.certificates:
        try:
            key = x509.load_pem_x509_certificate(pair.cert.read_bytes()).public_key()
        except (OSError, ValueError) as error:
            raise click.ClickException(f"{pair.cert}: {error}") from error
        keys.append(hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest())
    return keys
