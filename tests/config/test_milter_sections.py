"""[[smtp.milters]]: what is read, refused, and which sessions are told of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from production import configuration, listeners

from mailstack.app.services import Manners, service
from mailstack.auth.anyone import AnyAccounts
from mailstack.config.load import ConfigError, parse
from mailstack.config.policy import Milter, MilterService, OnError
from mailstack.config.show import show

ALL = """
[[smtp.milters]]
name = "opendkim"
address = "unix:/run/opendkim/socket"
services = ["submission"]
[[smtp.milters]]
name = "rspamd"
address = "[::1]:11332"
services = ["smtp", "lmtp"]
on_error = "accept"
connect_timeout = "5 s"
command_timeout = 7
message_timeout = "2 min"
"""
BOTH = (
    Milter("opendkim", "unix:/run/opendkim/socket", (MilterService.SUBMISSION,)),
    Milter("rspamd", "[::1]:11332", (MilterService.SMTP, MilterService.LMTP), OnError.ACCEPT, 5.0, 7.0, 120.0),
)


def text(tables: str) -> bytes:
    return configuration(Path("/srv"), tables=tables).encode()


def test_what_is_read_and_shown() -> None:
    config = parse(text(ALL), Path("/etc/mailstack.toml"))
    assert config.smtp.milters == BOTH
    assert parse(show(config).encode(), Path("/etc/mailstack.toml")) == config


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        ("name = ''\naddress = 'h:1'", "[[smtp.milters]] number 1, name: expected a name of its own"),
        ("name = 'a'\naddress = 'h'", '[[smtp.milters]] number 1, address: expected "127.0.0.1:8891"'),
        ("name = 'a'", "[[smtp.milters]] number 1, address: missing"),
        ("name = 'a'\naddress = 'h:1'\nservices = []", "services: none, so that it would see no mail"),
        ("name = 'a'\naddress = 'h:1'\nservices = ['imap']", 'expected one of "smtp", "submission", "lmtp"'),
        ("name = 'a'\naddress = 'h:1'\non_error = 'x'", 'expected one of "accept", "tempfail", "reject"'),
        ("name = 'a'\naddress = 'h:1'\ncommand_timeout = 0", "command_timeout: expected more than 0, not 0"),
        ("name = 'a'\naddress = 'h:1'\n[[smtp.milters]]\nname = 'a'\naddress = 'h:2'", "number 2, name: expected"),
    ],
)
def test_mistakes_are_named(keys: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text(f"[[smtp.milters]]\n{keys}\n"), Path("/etc/mailstack.toml"))
    assert mistake in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("smtp", ["rspamd"]), ("submission", ["opendkim"]), ("submissions", ["opendkim"]), ("lmtp", ["rspamd"])],
)
def test_sessions_are_told(name: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("mailstack.app.services.SmtpSession", lambda connection, parts, settings: seen.append(settings))
    rest = listeners(services=(name,))
    config = parse(configuration(Path("/srv"), rest=rest, tables=ALL).encode(), Path("/etc/x"))
    resources: Any = type("Resources", (), {"__getattr__": lambda self, name: None, "accounts": AnyAccounts()})()
    connection: Any = None
    service(config, config.listeners[0], resources, Manners()).session(connection)
    assert [milter.name for milter in seen[0].milters] == expected
