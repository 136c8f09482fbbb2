"""Listeners of LMTP: no stranger may use it, and never at port 25 (RFC 2033 §5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailstack.config.load import ConfigError, parse
from mailstack.config.sections import TlsMode

PATH = Path("/etc/mailstack/mailstack.toml")
BASE = 'data = "/srv/mail"\nhostname = "mx.example.org"\n[[domains]]\nname = "example.org"\n[[listeners]]\n'


def test_the_usual_listener() -> None:
    config = parse((BASE + 'service = "lmtp"\naddress = "127.0.0.1"').encode(), PATH)
    assert (config.listeners[0].port, config.listeners[0].tls) == (24, TlsMode.NONE)


@pytest.mark.parametrize("where", ['unix = "/run/lmtp"', 'allowed = ["192.0.2.0/24"]', 'address = "::1"'])
def test_who_may_use_it_is_known(where: str) -> None:
    assert parse((BASE + f'service = "lmtp"\n{where}').encode(), PATH)


@pytest.mark.parametrize(
    ("listener", "mistake"),
    [
        ('service = "lmtp"', "allowed: lmtp outside of loopback needs the networks"),
        ('service = "lmtp"\nunix = "lmtp"', 'unix: expected an absolute path as "/run/mailstack/lmtp", not "lmtp"'),
        ('service = "lmtp"\naddress = "127.0.0.1"\nport = 25', "port: 25 is SMTP's"),
        ('service = "smtp"\ntls = "none"\nunix = "/run/smtp"', "unix: only lmtp listens at a unix socket, not smtp"),
        ('service = "lmtp"\nunix = "/run/lmtp"\ntls = "implicit"', "lmtp cannot begin with TLS"),
    ],
)
def test_mistakes_are_named(listener: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as info:
        parse((BASE + listener).encode(), PATH)
    assert mistake in str(info.value)
