"""`mailstack account quota`, `recalculate`, what `list` says of quotas, and `mailstack store expire`."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import command, invoke
from production import DOMAIN, PASSWORD, configuration, given_to_nobody, plain, prepare, secured
from server_process import Server, send_message

ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
NUMBERS = itertools.count(1)
BODY = b"Subject: one\r\n\r\n" + b"x" * 1000 + b"\r\n"


@pytest.fixture
def mail(config: Path) -> Path:
    """Alice's Maildir with two messages of 100 octets, one of them in Trash and a hundred days old."""
    maildir = config.parent / "data" / "mail" / ALICE
    for mailbox in ("", ".Trash"):
        for directory in ("cur", "new", "tmp"):
            (maildir / mailbox / directory).mkdir(parents=True)
        message = maildir / mailbox / "cur" / f"1700000000.M{len(mailbox)}.host,S=100,W=100:2,S"
        message.write_bytes(b"Subject: x\r\n\r\n" + b"x" * 85)
    os.utime(message, (time.time() - 100 * 86400,) * 2)
    return maildir


@pytest.fixture
def user(server_config: Path) -> Iterator[str]:
    """An account of the running server with nothing in it."""
    name = f"quota{next(NUMBERS)}@{DOMAIN}"
    added = invoke("account", "add", name, "--password-stdin", "--config", server_config, stdin=PASSWORD)
    assert added.exit_code == 0, added.stderr
    yield name
    invoke("account", "remove", name, "--config", server_config)


def quota(config: Path, *words: str) -> str:
    result = invoke("account", "quota", *words, "--config", config)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_what_is_said_is_set_and_the_rest_stays(config: Path, mail: Path) -> None:
    assert quota(config, ALICE) == f"{ALICE} 200 octets, 2 messages, no quota\n"
    assert not (mail / "maildirsize").exists()
    assert quota(config, "Alice@example.org", "--bytes", "2G") == f"{ALICE} 200 octets of 2 GiB, 2 messages\n"
    assert (mail / "maildirsize").read_bytes() == b"2147483648S\n200 2\n"
    assert quota(config, ALICE, "--messages", "100") == f"{ALICE} 200 octets of 2 GiB, 2 of 100 messages\n"
    assert (
        quota(config, ALICE, "--bytes", "1.5 MiB", "--messages", "0") == f"{ALICE} 200 octets of 1.5 MiB, 2 messages\n"
    )
    assert quota(config, ALICE) == f"{ALICE} 200 octets of 1.5 MiB, 2 messages\n"
    assert quota(config, ALICE, "--default") == f"{ALICE} 200 octets, 2 messages, no quota\n"
    assert quota(config, BOB, "--messages", "5") == f"{BOB} 0 octets, 0 of 5 messages\n"


def test_a_quota_that_comes_back_is_counted_anew(config: Path, mail: Path) -> None:
    quota(config, ALICE, "--messages", "5")
    quota(config, ALICE, "--default")
    (mail / ".Trash/cur/1700000001.M9.host,S=7:2,").write_bytes(b"x")  # while nobody counted
    assert quota(config, ALICE, "--messages", "5") == f"{ALICE} 207 octets, 3 of 5 messages\n"


def test_list_has_use_and_limit_of_those_that_have_one(config: Path, mail: Path) -> None:
    quota(config, ALICE, "--bytes", "1K")
    assert invoke("account", "list", "--config", config).stdout == f"{ALICE} 200 octets of 1 KiB, 2 messages\n{BOB}\n"
    alice, bob = json.loads(invoke("account", "list", "--json", "--config", config).stdout)
    del alice["created"], bob["created"]
    assert not alice.pop("scram") and not bob.pop("scram")
    assert alice == {"name": ALICE, "octets": 200, "messages": 2, "max_octets": 1024, "max_messages": None}
    assert bob == {"name": BOB}


def test_the_domain_s_quota_is_that_of_all(config: Path, mail: Path) -> None:
    text = config.read_text().replace(f'name = "{DOMAIN}"', f'name = "{DOMAIN}"\nquota_messages = 7')
    config.write_text(text)
    assert quota(config, BOB) == f"{BOB} 0 octets, 0 of 7 messages\n"
    assert quota(config, ALICE, "--bytes", "1K") == f"{ALICE} 200 octets of 1 KiB, 2 of 7 messages\n"
    assert quota(config, ALICE, "--default") == f"{ALICE} 200 octets, 2 of 7 messages\n"


def test_recalculate_counts_what_others_did(config: Path, mail: Path) -> None:
    quota(config, ALICE, "--messages", "5")
    for message in (mail / "cur").iterdir():
        message.unlink()
    assert quota(config, ALICE) == f"{ALICE} 200 octets, 2 of 5 messages\n"
    result = invoke("account", "recalculate", ALICE, "--config", config)
    assert result.stdout == f"{ALICE} 100 octets, 1 of 5 messages\n"
    assert (mail / "maildirsize").read_bytes() == b"5C\n100 1\n"
    result = invoke("account", "recalculate", "--all", "--config", config)
    assert result.stdout == f"{ALICE} 100 octets, 1 of 5 messages\n{BOB} 0 octets, 0 messages, no quota\n"


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        ("quota nobody@example.org", 1, "there is no account nobody@example.org"),
        ("quota alice@example.org --bytes much", 2, "expected a size as 2G, 500M or a number of octets, not 'much'"),
        ("quota alice@example.org --bytes -1", 2, "expected a size"),
        ("quota alice@example.org --messages -1", 2, "x>=0"),
        ("quota alice@example.org --messages 5 --default", 2, "exclude each other"),
        ("quota", 2, "Missing argument"),
        ("recalculate", 2, "give addresses, or --all"),
        ("recalculate alice@example.org --all", 2, "give addresses, or --all"),
        ("recalculate nobody@example.org", 1, "there is no account nobody@example.org"),
    ],
)
def test_what_is_refused(config: Path, words: str, status: int, reason: str) -> None:
    result = invoke("account", *words.split(), "--config", config)
    assert (result.exit_code, reason in result.stderr) == (status, True), result.stderr


def test_a_running_server_sees_the_quota_at_once(server: Server, server_config: Path, user: str) -> None:
    size = 2000
    assert "of 2 KiB" in quota(server_config, user, "--bytes", "2K")
    send_message(server, user, BODY)
    with server.connect("smtp") as client:
        client.smtp(b"EHLO client.example", b"250")
        client.smtp(b"MAIL FROM:<a@example.net> SIZE=%d" % size, b"250")
        client.smtp(b"RCPT TO:<%s>" % user.encode(), b"452 4.2.2")
        client.smtp(b"RCPT TO:<%s>" % ALICE.encode(), b"250")
    quota(server_config, user, "--bytes", "1M")
    with server.connect("smtp") as client:
        client.smtp(b"EHLO client.example", b"250")
        client.smtp(b"MAIL FROM:<a@example.net> SIZE=%d" % size, b"250")
        client.smtp(b"RCPT TO:<%s>" % user.encode(), b"250")
    listed = json.loads(invoke("account", "list", "--json", "--config", server_config).stdout)
    (found,) = [account for account in listed if account["name"] == user]
    assert found["messages"] == 1 and len(BODY) < found["octets"] < size
    quota(server_config, user, "--default")
    book = server.data / "mail" / user / "maildirsize"
    assert book.stat().st_uid == server.data.stat().st_uid, "the server must be able to write it"


def test_append_over_the_quota(server: Server, server_config: Path, user: str) -> None:
    quota(server_config, user, "--bytes", "2K")
    with server.connect("imaps", greeting=False) as client:
        client.start_tls()
        client.line()
        client.send(b"a AUTHENTICATE PLAIN %s\r\n" % plain(user))
        client.until(b"a OK")
        client.send(b"b APPEND INBOX {2049+}\r\n%s\r\n" % (b"x" * 2049))
        assert client.until(b"b ")[-1] == b"b NO [OVERQUOTA] quota exceeded"
        client.send(b"c APPEND INBOX {1500+}\r\n%s\r\n" % (b"x" * 1500))
        assert client.until(b"c ")[-1].startswith(b"c OK [APPENDUID")
        client.send(b"d SELECT INBOX\r\n")
        client.until(b"d OK")
        client.send(b"e COPY * Trash\r\n")
        assert client.until(b"e ")[-1] == b"e NO [OVERQUOTA] quota exceeded"
        client.send(b"f MOVE 1:* Trash\r\n")
        assert client.until(b"f ")[-1].startswith(b"f OK")
    quota(server_config, user, "--default")


def expire(config: Path, *words: str) -> str:
    result = invoke("store", "expire", *words, "--config", config)
    assert result.exit_code == 0, result.stderr
    return result.stdout


RETENTION = '[[retention]]\nmailbox = "Trash"\ndays = 30\n'


def test_expire_says_what_it_does(config: Path, mail: Path) -> None:
    config.write_text(configuration(config.parent, tables=RETENTION))
    assert expire(config, "--dry-run") == f"{ALICE} Trash: 1 would expire\n"
    assert len(os.listdir(mail / ".Trash/cur")) == 1
    assert expire(config, BOB) == ""
    assert expire(config, "ALICE@example.org") == f"{ALICE} Trash: 1 expired\n"
    assert os.listdir(mail / ".Trash/cur") == []
    assert len(os.listdir(mail / "cur")) == 1
    assert expire(config) == ""


def test_expire_needs_rules(config: Path) -> None:
    result = invoke("store", "expire", "--config", config)
    assert result.exit_code == 1
    assert "has no [[retention]]: nothing ever expires" in result.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_root_leaves_nothing_of_its_own(place: Path) -> None:
    path = prepare(place / "etc", configuration(place / "etc", tables=RETENTION))
    maildir = path.parent / "data" / "mail" / ALICE / ".Trash"
    for directory in ("cur", "new", "tmp", "../cur", "../new", "../tmp"):
        (maildir / directory).mkdir(parents=True)
    (maildir / "cur" / "1.M1.host:2,").write_bytes(b"x\n")
    os.utime(maildir / "cur" / "1.M1.host:2,", (1, 1))
    given_to_nobody(place)
    owner = maildir.stat().st_uid
    assert command("store", "expire", "--config", str(path)).out == f"{ALICE} Trash: 1 expired\n"
    assert command("account", "quota", ALICE, "--bytes", "1K", "--config", str(path)).status == 0
    assert (maildir.parent / "maildirsize").exists()
    assert {entry.stat().st_uid for entry in (path.parent / "data").rglob("*")} == {owner}


def test_secured_sessions_see_the_quota_too(server: Server, server_config: Path, user: str) -> None:
    send_message(server, user, BODY)
    quota(server_config, user, "--messages", "1")
    client = secured(server, "submission")
    client.smtp(b"AUTH PLAIN " + plain(ALICE), b"235")
    client.smtp(b"MAIL FROM:<%s>" % ALICE.encode(), b"250")
    client.smtp(b"RCPT TO:<%s>" % user.encode(), b"452 4.2.2")
    client.close()
    quota(server_config, user, "--default")
