"""Every key of the configuration is in the reference and in the example, and the example is one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mailstack.config import sections
from mailstack.config.load import load
from mailstack.config.policy import Milter
from mailstack.net.certificates import write_self_signed

ROOT = Path(__file__).parents[2]
SECTIONS = (
    "Config", "Domain", "Listener", "Certificate", "Limits", "Quota", "Retention", "Auth", "Smtp", "Imap", "Pop3",
    "Log", "Metrics", "Tls", "ClientCertificate", "OAuth", "HideCapabilities",
    "Policy", "Sending", "Dns", "Reports", "Forwarding", "Outbound", "Route", "Hold", "MtaSts", "Journal", "Milter",
    "Acme",
)  # fmt: skip
KEYS = [(name, field.name) for name in SECTIONS for field in dataclasses.fields(getattr(sections, name))]
TABLES = {
    "tls",
    "acme",
    "limits",
    "quota",
    "retention",
    "auth",
    "oauth",
    "smtp",
    "policy",
    "sending",
    "outbound",
    "routes",
    "holds",
    "mta_sts",
    "dns",
    "reports",
    "forwarding",
    "imap",
    "pop3",
    "log",
    "metrics",
    "journal",
}
INNER = {("Tls", "certificates"), ("Auth", "certificates"), ("Imap", "hide"), ("Smtp", "milters")}
"""Keys that are tables of their own within a section."""


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_every_key_is_documented(section: str, key: str) -> None:
    reference = (ROOT / "docs/configuration.md").read_text()
    example = (ROOT / "etc/mailstack.toml").read_text()
    if (section, key) in INNER:
        assert f".{key}]]" in reference
        assert f".{key}]]" in example
    elif section == "Config" and key in TABLES | {"domains", "listeners"}:
        assert f"[{key}" in reference
        assert f"[{key}" in example
    else:
        assert f"| `{key}` |" in reference
        assert f"\n{key} = " in example or f"\n# {key} = " in example or f"\n# {key} is not set" in example


def test_the_example_loads_and_has_the_defaults(tmp_path: Path) -> None:
    cert, _ = write_self_signed(tmp_path, ["mail.example.org"])
    text = (ROOT / "etc/mailstack.toml").read_text().replace("/etc/mailstack/tls", str(cert.parent))
    plain, full = tmp_path / "plain.toml", tmp_path / "full.toml"
    plain.write_text(text)
    lines = [
        line[2:] if line.startswith("# [[") or (line.startswith("# ") and " = " in line and line[2].islower()) else line
        for line in text.splitlines()
    ]
    kept = [line for line in lines if not line.startswith("A line that")]
    full.write_text(
        "\n".join(kept).replace("# client_ca is not set", f'client_ca = "{cert}"')
    )  # for [[auth.certificates]]
    shown, spelled = load(plain), load(full)
    assert spelled.retention == (sections.Retention("Trash", days=30),)
    (route,), (hold,) = spelled.routes, spelled.holds
    assert (route.hosts, hold.reason) == (("smtp.example.net:587",), "held by a rule")
    assert spelled.imap.hide == (sections.HideCapabilities(("MOVE",)),)
    assert spelled.smtp.milters == (Milter("opendkim", "unix:/run/opendkim/opendkim.sock"),)
    (certificate,) = spelled.auth.certificates
    assert certificate.account == "alice@example.org"
    usual = dataclasses.replace(
        spelled, metrics=shown.metrics, retention=(), routes=(), holds=(), tls=shown.tls,
        auth=dataclasses.replace(spelled.auth, certificates=()), imap=dataclasses.replace(spelled.imap, hide=()),
        smtp=dataclasses.replace(spelled.smtp, milters=()),
    )  # fmt: skip
    assert usual == shown
