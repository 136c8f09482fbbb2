"""`mailstack account limits` beside a running server: what is used, a limit that is reached, and --reset."""

from __future__ import annotations

import json
import smtplib
from pathlib import Path

import pytest
from command_line import invoke
from production import DOMAIN, PASSWORD, configuration, production

ALICE = f"alice@{DOMAIN}"
TABLES = "[auth]\nrequire_tls = false\n[sending]\nmessages_per_hour = 2\nrecipients_per_day = 0\n"


def send(host: str, port: int) -> None:
    with smtplib.SMTP(host, port, timeout=20) as client:
        client.login(ALICE, PASSWORD)
        client.sendmail(ALICE, [f"bob@{DOMAIN}"], "Subject: x\r\n\r\nx\r\n")


def limits(config: Path, *words: str) -> str:
    result = invoke("account", "limits", ALICE, *words, "--config", config)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_limits_over_a_restart(place: Path) -> None:
    config = place / "mailstack.toml"
    for run in (1, 2):
        with production(place, configuration(place, tables=TABLES)) as server:
            if run == 2:
                with pytest.raises(smtplib.SMTPSenderRefused) as caught:
                    send(server.host("submission"), server.port("submission"))
                assert caught.value.smtp_code == 450
                assert caught.value.smtp_error.startswith(b"4.7.1 This account may send 2 messages an hour; it can")
                assert limits(config, "--reset").splitlines() == [
                    "0 of 2 messages an hour", "0 recipients a day", "0 of 1000 new recipients a day",
                ]  # fmt: skip
                send(server.host("submission"), server.port("submission"))
                counts = {count["what"]: count for count in json.loads(limits(config, "--json"))}
                assert counts["messages an hour"]["number"] == 1
                assert counts["new recipients a day"]["number"] == 0, "bob is known"
                return
            for _ in range(2):
                send(server.host("submission"), server.port("submission"))
        shown = limits(config).splitlines()
        assert shown[0].startswith("2 of 2 messages an hour, reached until 2")
        assert shown[1:] == ["2 recipients a day", "1 of 1000 new recipients a day"]


def test_nobody_and_nothing_yet(config: Path) -> None:
    result = invoke("account", "limits", "nobody@example.org", "--config", config)
    assert result.exit_code == 1 and "there is no account nobody@example.org" in result.stderr
    result = invoke("account", "limits", ALICE, "--config", config)
    assert result.exit_code == 1 and "has not run yet" in result.stderr
