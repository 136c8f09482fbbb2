"""`mailstack quickstart`: what it writes works, to the login; what it cannot write is said before it writes."""

from __future__ import annotations

import imaplib
import os
import pwd
import ssl
import stat
from pathlib import Path

import pytest
from command_line import PROGRAM, command, free_base, invoke
from production import NOBODY, NOT_ROOT
from server_process import REPOSITORY, Server, send_message

from mailstack.cli.systemd_unit import unit
from mailstack.config.load import load

ADDRESS = "postmaster@example.org"


def quickstart(place: Path, *words: str, address: str = ADDRESS) -> tuple[int, str]:
    result = invoke(
        "quickstart", address, "--dir", place / "etc", "--data", place / "data", "--hostname", "mx.example.org", *words
    )
    return result.exit_code, result.output


@pytest.mark.processes
def test_from_an_address_to_a_login(place: Path) -> None:
    config, base = place / "etc" / "mailstack.toml", free_base()
    words = ("--dir", str(place / "etc"), "--data", str(place / "data"), "--port-base", str(base))
    made = command(
        "quickstart", ADDRESS, *words, "--hostname", "localhost.test", "--listen", "127.0.0.1", prefix=NOT_ROOT
    )
    assert made.status == 0, made
    (account,) = [line for line in made.out.splitlines() if line.startswith("Account ")]
    assert ADDRESS in account
    password = account.rpartition(", password ")[2]
    assert len(password) == 20

    checked = command("config", "check", "--config", str(config), prefix=NOT_ROOT)
    assert (checked.status, checked.out) == (0, f"{config}: ok, 1 domain(s), 7 listener(s)\n")

    with Server(place, ("serve", "--config", str(config)), NOT_ROOT) as server:
        assert server.port("imaps") == base + 993
        send_message(server, "Postmaster@example.org", b"Subject: hello\r\n\r\n")
        trust = ssl.create_default_context(cafile=str(server.ca))
        trust.check_hostname = False  # it is called localhost.test and connected to by its address
        with imaplib.IMAP4_SSL(server.host("imaps"), server.port("imaps"), ssl_context=trust) as imap:
            imap.login(ADDRESS, password)
            assert imap.select("INBOX") == ("OK", [b"1"])
        assert "password" not in server.log.read_text().lower()


def test_what_is_left_to_do(place: Path) -> None:
    status, said = quickstart(place, "--port-base", "10000")
    assert status == 0
    for needed in (
        "mx.example.org.  A ", "example.org.  MX     10 mx.example.org.", '"v=spf1 mx -all"', "_dmarc.example.org.",
        "_imaps._tcp.example.org.  SRV    0 1 10993 mx.example.org.", "reverse record",
        "Open the ports 10025, 10587, 10465, 10143, 10993, 10110 and 10995",
        f"{place}/etc/tls", f"cp {place}/etc/mailstack.service /etc/systemd/system/",
        f"serve --config {place}/etc/mailstack.toml",
    ):  # fmt: skip
        assert needed in said
    (program,) = [line.split(" serve ")[0].strip() for line in said.splitlines() if " serve " in line]
    assert program == " ".join(PROGRAM)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_what_it_has_written(place: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        quickstart(place)
    finally:
        os.umask(before)
    config = load(place / "etc" / "mailstack.toml")
    assert config.data == place / "data"
    assert config.hostname == "mx.example.org"
    assert [(domain.name, domain.postmaster) for domain in config.domains] == [("example.org", ADDRESS)]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.rglob("*")}
    assert modes["etc"] == 0o755
    assert modes["mailstack.toml"] == modes["mailstack.service"] == 0o644
    assert modes["data"] == modes["tls"] == 0o700
    assert modes["key.pem"] == modes["accounts.sqlite3"] == 0o600


def test_it_writes_over_nothing_unless_forced_and_keeps_certificate_and_account(place: Path) -> None:
    quickstart(place)
    config, cert = place / "etc" / "mailstack.toml", (place / "etc" / "tls" / "cert.pem").read_bytes()
    config.write_text("# mine\n")
    status, said = quickstart(place)
    assert status == 1
    assert f"{config} exists; --force writes over it" in said
    assert config.read_text() == "# mine\n"
    status, said = quickstart(place, "--force")
    assert status == 0
    assert f"{ADDRESS}, which exists already and keeps its password" in said
    assert load(config).hostname == "mx.example.org"
    assert (place / "etc" / "tls" / "cert.pem").read_bytes() == cert


@pytest.mark.parametrize(
    ("address", "words", "reason"),
    [
        ("postmaster", [], "expected an address as alice@example.org, not 'postmaster'"),
        ("@example.org", [], "expected an address"),
        ("me@localhost", [], "expected an address of a domain as postmaster@example.org"),
        ('a"b@example.org', [], "expected an address"),
        ("a b@example.org", [], "expected an address"),
        (f"me@{'ä' * 60}.example.org", [], "is not a host name as mail.example.org"),
        (ADDRESS, ["--hostname", "bad host"], 'expected a host name as "mail.example.org", not "bad host"'),
        (ADDRESS, ["--hostname", 'x"y'], "expected a host name"),
        (ADDRESS, ["--listen", "mail.example.org"], "--listen: expected an IP address as 192.0.2.1 or ::"),
        (ADDRESS, ["--port-base", "65000"], "65000 is not in the range"),
    ],
)
def test_nothing_is_written_when_something_is_wrong(place: Path, address: str, words: list[str], reason: str) -> None:
    status, said = quickstart(place, *words, address=address)
    assert status == 2
    assert reason in said
    assert list(place.iterdir()) == []


def test_domains_outside_ascii(place: Path) -> None:
    status, said = quickstart(place, "--hostname", "mx.exämple.org", address="größe@exämple.org")
    assert status == 0
    assert "xn--exmple-cua.org.  MX     10 mx.xn--exmple-cua.org." in said
    assert load(place / "etc" / "mailstack.toml").domains[0].name == "exämple.org"
    assert invoke("account", "list", "--config", place / "etc" / "mailstack.toml").stdout == "größe@exämple.org\n"


def test_places_with_odd_names(place: Path) -> None:
    odd = place / 'a "b\\ ü'
    status, _ = quickstart(odd)
    assert status == 0
    assert load(odd / "etc" / "mailstack.toml").data == odd / "data"


def test_a_place_that_cannot_be_written(place: Path) -> None:
    ended = command("quickstart", ADDRESS, "--dir", "/proc/none", "--data", str(place / "data"), prefix=NOT_ROOT)
    assert ended.status == 1
    assert "/proc/none" in ended.err
    ended = command("quickstart", ADDRESS, "--dir", str(place / "etc"), "--data", "/usr/none", prefix=NOT_ROOT)
    assert ended.status == 1
    assert (
        ended.err
        == "Error: /usr/none: Permission denied; run it as root, or choose other places with --dir and --data\n"
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_root_gives_what_the_server_needs_to_its_account(place: Path) -> None:
    status, said = quickstart(place, "--user", NOBODY)
    assert status == 0
    assert "useradd" not in said
    assert load(place / "etc" / "mailstack.toml").user == NOBODY
    owners = {path.name: pwd.getpwuid(path.stat().st_uid).pw_name for path in place.rglob("*")}
    assert owners["data"] == owners["accounts.sqlite3"] == owners["tls"] == owners["key.pem"] == NOBODY
    assert owners["mailstack.toml"] == "root"
    assert invoke("config", "check", "--config", place / "etc" / "mailstack.toml").exit_code == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes somebody else")
def test_an_account_that_is_missing_is_one_of_the_steps(place: Path) -> None:
    said = quickstart(place, "--user", "no-such-user")[1]
    assert f"useradd --system --home-dir {place}/data --shell /usr/sbin/nologin no-such-user" in said
    assert f"chown -R no-such-user {place}/data {place}/etc/tls" in said
    assert said.index("useradd") < said.index("systemctl enable")


def test_the_service_file_of_the_repository_is_that_of_the_usual_places() -> None:
    usual = unit(
        "/usr/local/bin/mailstack", Path("/etc/mailstack/mailstack.toml"), Path("/var/lib/mailstack"), "mailstack"
    )
    assert (REPOSITORY / "etc" / "mailstack.service").read_text() == usual


def test_the_service_file_of_a_home_directory() -> None:
    text = unit("/home/me/bin/python -m mailstack", Path("/etc/m.toml"), Path("/srv/mail"), "me")
    assert "ExecStart=/home/me/bin/python -m mailstack serve --config /etc/m.toml\n" in text
    assert "ReadWritePaths=/srv/mail\n" in text
    assert "ProtectHome=no\n" in text
    assert "StateDirectory" not in text
