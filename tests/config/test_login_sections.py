"""[auth], [oauth], [tls] client_ca and hidden capabilities: what is read, refused, and what sessions are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from production import configuration, prepare

from mailstack.app.services import Manners, service
from mailstack.app.ways import ways
from mailstack.auth import mechanisms
from mailstack.auth.anyone import AnyAccounts
from mailstack.auth.bad_keys import BadKeys
from mailstack.config.load import ConfigError, load, parse
from mailstack.config.sections import ClientCertificate, HideCapabilities, MechanismName, ScramOffer, ServiceName
from mailstack.config.show import show
from mailstack.config.surroundings import missing
from mailstack.testing.log import RecordingLog

FINGERPRINT = ":".join(["AB"] * 32)
ALL = f"""
[tls]
client_ca = "ca.pem"
[auth]
mechanisms = ["SCRAM-SHA-256", "EXTERNAL", "OAUTHBEARER", "PLAIN"]
scram = "always"
[[auth.certificates]]
sha256 = "{FINGERPRINT}"
account = "alice@example.org"
[oauth]
keys = "keys.json"
audience = "mail"
leeway = "2 min"
introspection_url = "https://id.example/introspect"
introspection_client = "us"
introspection_secret = "secret"
[imap]
without_mechanisms = ["PLAIN"]
hide_capabilities = ["MOVE"]
[[imap.hide]]
capabilities = ["IDLE"]
client = "Outlook*"
"""


def text(tables: str, listener: str = "") -> bytes:
    rest = f'[[listeners]]\nservice = "imap"\nport = 0\n{listener}\n'
    return configuration(Path("/x"), rest=rest, tables=tables).encode()


def test_everything_is_read_and_shown() -> None:
    config = parse(text(ALL, 'hide_capabilities = ["ID"]'), Path("/etc/mailstack.toml"))
    assert config.tls.client_ca == Path("/etc/ca.pem")
    assert config.auth.scram is ScramOffer.ALWAYS
    assert config.auth.certificates == (ClientCertificate(FINGERPRINT, "alice@example.org"),)
    assert (config.oauth.keys, config.oauth.leeway) == (Path("/etc/keys.json"), 120)
    assert config.imap.hide == (HideCapabilities(("IDLE",), client="Outlook*"),)
    assert config.imap.without_mechanisms == (MechanismName.PLAIN,)
    assert parse(show(config).encode(), Path("/etc/mailstack.toml")) == config


def test_the_names_are_those_of_the_mechanisms() -> None:
    assert [name.value for name in MechanismName] == [mechanism.name for mechanism in mechanisms.MECHANISMS]


@pytest.mark.parametrize(
    ("tables", "mistake"),
    [
        ("[auth]\nmechanisms = []", "[auth] mechanisms: none; nobody could log in"),
        ("[auth]\nmechanisms = ['NTLM']", 'expected one of "SCRAM-SHA-256-PLUS"'),
        (f"[[auth.certificates]]\nsha256 = '{FINGERPRINT}'\naccount = 'a@b'", "[tls] client_ca is not set"),
        ("[tls]\nclient_ca = 'x'\n[[auth.certificates]]\nsha256 = 'AB'\naccount = 'a@b'", "64 hexadecimal digits"),
        (
            f"[tls]\nclient_ca = 'x'\n[[auth.certificates]]\nsha256 = '{FINGERPRINT}'\naccount = 'a'",
            "expected an account",
        ),
        ("[oauth]\nkeys = 'k'", "[oauth] audience: needed with keys"),
        ("[oauth]\nintrospection_url = 'http://id.example/'", "expected https://"),
        ("[oauth]\nintrospection_url = 'https://id.example:x/'", "expected https://"),
        ("[oauth]\nintrospection_client = 'us'", "go together"),
        ("[oauth]\naccount_claim = ''", "expected the name of a claim"),
        ("[oauth]\nintrospection_timeout = 0", "expected more than 0"),
        ("[imap]\nhide_capabilities = ['STARTTLS']", "STARTTLS cannot be hidden"),
        ("[[imap.hide]]\ncapabilities = ['AUTH=PLAIN']", "AUTH=PLAIN cannot be hidden"),
        ("[[imap.hide]]\ncapabilities = ['MOVE']\nclient = ''", "expected a name or a pattern"),
    ],
)
def test_mistakes_are_named(tables: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text(tables), Path("/etc/mailstack.toml"))
    assert mistake in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/x", "http://[::1]/", "http://localhost/", "https://id.example/"]
)
def test_where_tokens_may_go(url: str) -> None:
    parse(text(f"[oauth]\nintrospection_url = '{url}'"), Path("/etc/mailstack.toml"))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    config = load(prepare(tmp_path / "x", configuration(tmp_path / "x", tables=ALL)))
    places = [mistake.place for mistake in missing(config)]
    assert places == ["[tls] client_ca", "[oauth] keys", "[oauth] introspection_secret"]


class TestWays:
    def test_none_but_scram_without_a_word(self) -> None:
        found = ways(parse(text(""), Path("/etc/x")), None, RecordingLog())
        assert (found.scram, found.scram_always) == ({"SCRAM-SHA-1", "SCRAM-SHA-256"}, False)
        assert found.tokens is None and found.certificate is None

    def test_keys_that_cannot_be_used(self, tmp_path: Path) -> None:
        path = tmp_path / "x.toml"
        path.write_bytes(text("[oauth]\nkeys = 'k'\naudience = 'mail'"))
        config = load(path)
        with pytest.raises(BadKeys, match="/k: No such file"):
            ways(config, None, RecordingLog())
        (tmp_path / "k").write_text("nonsense")
        with pytest.raises(BadKeys):
            ways(config, None, RecordingLog())

    def test_what_is_off_is_not_read(self, tmp_path: Path) -> None:
        path = tmp_path / "x.toml"
        path.write_bytes(text("[auth]\nmechanisms = ['PLAIN']\n[oauth]\nkeys = 'k'\naudience = 'mail'"))
        found = ways(load(path), None, RecordingLog())
        assert found.tokens is None and found.scram == frozenset()


def test_sessions_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr("mailstack.app.services.ImapSession", lambda connection, parts, settings: seen.append(settings))
    config = parse(text(ALL, 'hide_capabilities = ["id"]'), Path("/etc/x"))
    (listener,) = config.listeners
    assert listener.service is ServiceName.IMAP
    resources: Any = type("Resources", (), {"__getattr__": lambda self, name: None, "accounts": AnyAccounts()})()
    connection: Any = None
    service(config, listener, resources, Manners()).session(connection)
    (settings,) = seen
    told: Any = settings
    assert told.mechanisms == {"SCRAM-SHA-256", "EXTERNAL", "OAUTHBEARER"}
    assert [sorted(rule.capabilities) for rule in told.hidden] == [["ID", "MOVE"], ["IDLE"]]
