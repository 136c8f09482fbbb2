"""`mailstack queue tls-report` and `mailstack dns records`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from command_line import invoke
from production import DOMAIN, HOSTNAME, configuration

from mailstack.config.load import load
from mailstack.config.records import policy_of
from mailstack.mail.mta_sts import parse_policy, record_id
from mailstack.relay.tls_database import TLS_DATABASE, Count, Session, TlsDatabase


def run(config: Path, *words: str) -> tuple[int, str, str]:
    result = invoke(*words, "--config", config)
    return result.exit_code, result.stdout, result.stderr


def test_tls_report(config: Path) -> None:
    status, said, why = run(config, "queue", "tls-report")
    assert (status, said) == (1, "") and why.startswith("no sessions on 20")
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    path = config.parent / "data" / TLS_DATABASE
    database = TlsDatabase(path)
    good = Session(today, "example.net", "tlsa", "mx.example.net", "3 1 1 aa")
    bad = Session(
        today, "example.net", "tlsa", "mx.example.net", "3 1 1 aa", "validation-failure", "", "mx.example.net"
    )
    other = Session("2025-01-31", "xn--bcher-kva.example", "no-policy-found", "xn--bcher-kva.example", "")
    database.add_counts([Count(good, 7), Count(bad, 2, "another key"), Count(other, 1)])
    database.close()
    assert run(config, "queue", "tls-report")[:2] == (
        0, "example.net  7 good, 2 failed  (tlsa)\n       2  validation-failure  mx.example.net  another key\n",
    )  # fmt: skip
    report = json.loads(run(config, "queue", "tls-report", "example.net", "--json")[1])
    assert report["organization-name"] == HOSTNAME and report["contact-info"] == f"mailto:postmaster@{DOMAIN}"
    assert report["policies"][0]["summary"] == {"total-successful-session-count": 7, "total-failure-session-count": 2}
    status, said, _ = run(config, "queue", "tls-report", "b\u00fccher.example", "--date", "2025-01-31")
    assert (status, said) == (0, "xn--bcher-kva.example  1 good, 0 failed  (no-policy-found)\n")
    assert len(json.loads(run(config, "queue", "tls-report", "--date", "2025-01-31", "--json")[1])) == 1
    assert run(config, "queue", "tls-report", "--date", "31.1.2025")[0] == 2
    path.write_bytes(b"no database" * 100)
    status, _, why = run(config, "queue", "tls-report")
    assert status == 1 and f"{path}: file is not a database" in why


def test_records(config: Path) -> None:
    config.write_text(configuration(config.parent, domains=f"{DOMAIN} b\u00fccher.example"))
    status, said, _ = run(config, "dns", "records", DOMAIN)
    lines = said.splitlines()
    policy = policy_of(load(config))
    assert status == 0 and f"{DOMAIN}.  IN  MX  10 {HOSTNAME}." in lines
    assert f'_mta-sts.{DOMAIN}.  IN  TXT  "v=STSv1; id={policy.id}"' in lines
    assert record_id([f"v=STSv1; id={policy.id}".encode()]) == policy.id
    [tlsa] = [line for line in lines if "TLSA" in line]
    assert tlsa.startswith(f"_25._tcp.{HOSTNAME}.  IN  TLSA  3 1 1 ") and len(tlsa.split()[-1]) == 64
    assert "cher" not in said
    everything = json.loads(run(config, "dns", "records", "--json")[1])
    assert {"name": "_smtp._tls.xn--bcher-kva.example", "type": "TXT",
            "value": "v=TLSRPTv1; rua=mailto:postmaster@xn--bcher-kva.example"} in everything  # fmt: skip
    status, said, _ = run(config, "dns", "records", "--policy")
    assert status == 0 and parse_policy(said.encode()) == policy
    assert run(config, "dns", "records", "elsewhere.example")[0] == 1
    (config.parent / "tls" / "cert.pem").write_text("nonsense")
    assert run(config, "dns", "records")[0] == 1


def test_records_of_a_policy_with_hosts_of_its_own(config: Path) -> None:
    tables = '[mta_sts]\nmode = "enforce"\nmx = ["mx1.example.org", "*.mx.example.org"]\n'
    config.write_text(configuration(config.parent, tables=tables))
    said = run(config, "dns", "records")[1]
    assert f"{DOMAIN}.  IN  MX  10 mx1.example.org." in said and HOSTNAME not in said.split("MX")[1].splitlines()[0]
    policy = run(config, "dns", "records", "--policy")[1]
    assert policy.splitlines()[1:4] == ["mode: enforce", "mx: mx1.example.org", "mx: *.mx.example.org"]
    config.write_text(configuration(config.parent, tables=tables.replace("*.mx", "mx.*")))
    assert "[mta_sts] mx" in run(config, "dns", "records")[2]
