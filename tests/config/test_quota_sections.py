"""[quota], the domains' own, and [[retention]]: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailstack.config.load import ConfigError, parse
from mailstack.config.sections import MailboxFull, Quota, Retention
from mailstack.config.show import show

BASE = """
data = "/srv/mail"
hostname = "mx.example.org"
[[domains]]
name = "example.org"
{domain}
[[listeners]]
service = "smtp"
tls = "none"
{rest}
"""
PATH = Path("/etc/mailstack.toml")


def text(domain: str = "", rest: str = "") -> bytes:
    return BASE.format(domain=domain, rest=rest).encode()


def test_sizes_and_numbers_are_read_and_shown() -> None:
    rest = """
    [quota]
    bytes = "2 GiB"
    messages = 1000
    refusal = "permanent"
    grace = true
    [[retention]]
    mailbox = "Trash"
    days = 30
    [[retention]]
    account = "*@example.org"
    mailbox = "*"
    messages = 5
    keep_flagged = false
    """
    config = parse(text("quota_bytes = '500 MB'\nquota_messages = 0", rest), PATH)
    assert config.quota == Quota(2 * 1024**3, 1000, MailboxFull.PERMANENT, grace=True)
    assert (config.domains[0].quota_bytes, config.domains[0].quota_messages) == (500_000_000, 0)
    assert config.retention == (
        Retention("Trash", days=30),
        Retention("*", account="*@example.org", messages=5, keep_flagged=False),
    )
    assert parse(show(config).encode(), PATH) == config


def test_nothing_is_limited_and_nothing_expires_by_default() -> None:
    config = parse(text(), PATH)
    assert config.quota == Quota(0, 0, MailboxFull.TEMPORARY, grace=False)
    assert (config.domains[0].quota_bytes, config.domains[0].quota_messages) == (None, None)
    assert config.retention == ()
    assert parse(show(config).encode(), PATH) == config


@pytest.mark.parametrize(
    ("domain", "rest", "mistake"),
    [
        ("quota_bytes = -1", "", "[[domains]] number 1, quota_bytes: expected a size"),
        ("quota_messages = -1", "", "[[domains]] number 1, quota_messages: expected 0 or more, not -1"),
        ("quota_messages = 'many'", "", "[[domains]] number 1, quota_messages: expected a whole number"),
        ("", "[quota]\nmessages = -5", "[quota] messages: expected 0 or more, not -5"),
        ("", "[quota]\nrefusal = 'no'", '[quota] refusal: expected one of "temporary", "permanent", not "no"'),
        ("", "[quota]\nbites = 5", "[quota] bites: unknown key; did you mean bytes?"),
        ("", "[[retention]]\ndays = 5", "[[retention]] number 1, mailbox: missing"),
        ("", "[[retention]]\nmailbox = 'Trash'", "[[retention]] number 1: expires nothing; say days, messages or both"),
        ("", "[[retention]]\nmailbox = ''\ndays = 1", "[[retention]] number 1: expected a name or a pattern"),
        ("", "[[retention]]\nmailbox = 'x'\ndays = -1", "[[retention]] number 1, days: expected 0 or more, not -1"),
        ("", "[[retention]]\nmailbox = 'x'\ndays = '3 d'", "[[retention]] number 1, days: expected a whole number"),
    ],
)
def test_mistakes_are_named(domain: str, rest: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as info:
        parse(text(domain, rest), PATH)
    assert mistake in str(info.value)
