"""IMAP libraries of other languages, all on the errand of programs/README.md."""

from __future__ import annotations

import subprocess
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from letters import FLAGS, LETTERS, Account, as_flags
from node_libraries import node_libraries
from server_process import Server

pytestmark = pytest.mark.interop

PROGRAMS = Path(__file__).parent / "programs"
JARS = ("jakarta-mail", "jakarta-activation")
MADE = "Entw&APw-rfe/Neue &- alte"
APPENDED = b"Subject: app\xc3\xa9nd\xc3\xa9\r\n\r\n.\r\n\tbody\r\n"
CAME = b"Subject: came while idle\r\n\r\nHello.\r\n"
LIMIT = 60


def perl(client: Any) -> list[str]:
    if subprocess.run(["perl", "-MMail::IMAPClient", "-e1"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("Mail::IMAPClient is not installed (Debian: apt-get install libmail-imapclient-perl)")
    return ["perl", str(PROGRAMS / "errand.pl")]


def php(client: Any) -> list[str]:
    if b"\nimap\n" not in subprocess.run(["php", "-m"], stdout=subprocess.PIPE).stdout:
        pytest.skip("PHP's imap extension is not installed (Debian: apt-get install php-cli php-imap)")
    return ["php", str(PROGRAMS / "errand.php")]


def java(client: Any) -> list[str]:
    jars = [f"/usr/share/java/{name}.jar" for name in JARS]
    if missing := [jar for jar in jars if not Path(jar).exists()]:
        pytest.skip(f"no {', '.join(missing)} (Debian: apt-get install {' '.join(f'lib{name}-java' for name in JARS)})")
    quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
    return ["java", *quick, "-cp", ":".join(jars), str(PROGRAMS / "Errand.java")]


def node(client: Any) -> list[str]:
    client.environment["MODULES"] = str(node_libraries())
    return ["node", str(PROGRAMS / "errand.mjs")]


@pytest.mark.parametrize(
    ("command", "keywords", "idles"),
    [
        pytest.param(perl, True, True, marks=pytest.mark.needs("perl")),
        pytest.param(php, False, False, marks=pytest.mark.needs("php", package="php-cli")),
        pytest.param(java, True, True, marks=pytest.mark.needs("java", "javac", package="default-jdk-headless")),
        pytest.param(node, True, True, marks=pytest.mark.needs("node", "npm", package="nodejs npm")),
    ],
    ids=["perl", "php", "java", "node"],
)
def test_errand(server: Server, client: Any, command: Any, keywords: bool, idles: bool) -> None:
    """`keywords`: the library tells of keywords; `idles`: it knows IDLE."""
    account = Account(server, f"{command.__name__}@example.org")
    account.put()
    (client.home / "appended").write_bytes(APPENDED)
    arguments = [str(server.port("imap")), account.user, str(client.home / "appended")]
    said = run([*command(client), *arguments], client, account)

    names = [words[0] for words in said["mailbox"]]
    assert sorted(names) == ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"]
    for uid, (octets, flags) in enumerate(zip(LETTERS, FLAGS, strict=True), 1):
        wanted = {flag for flag in as_flags(flags) if keywords or flag.startswith("\\")}
        words = said["message"][uid - 1]
        assert words[0] == str(uid)
        assert (bytes.fromhex(words[2]), as_flags(words[1])) == (octets, wanted)
    assert said["found"] == [["4"]]
    assert said.get("woken") == ([["came while idle"]] if idles else None)
    assert said["done"] == [[]]
    check_afterwards(account, came=idles)


def run(command: list[str], client: Any, account: Account) -> dict[str, list[list[str]]]:
    """The first word of each line → the others, line by line. A message comes when it idles."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=client.environment, cwd=client.home, text=True
    )
    assert process.stdout and process.stderr
    timer = threading.Timer(LIMIT, process.kill)
    timer.start()
    said: dict[str, list[list[str]]] = {}
    try:
        for line in process.stdout:
            kind, *words = line.rstrip("\n").split("\t")
            said.setdefault(kind, []).append(words)
            if kind == "idling":
                account.put(letters=[CAME])
        errors = process.stderr.read()
        assert process.wait() == 0, errors
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
    return said


def check_afterwards(account: Account, came: bool) -> None:
    """What the errand changed, as another client sees it."""
    flags = ["\\flagged", "", "\\flagged \\seen $errand", "\\answered"]
    inbox = account.mailbox().messages
    assert [message.flags for _, message in sorted(inbox.items())] == [as_flags(each) for each in flags] + (
        [frozenset()] if came else []
    )
    assert sorted(inbox) == [1, 2, 3, 4] + ([7] if came else [])
    made = [message for _, message in sorted(account.mailbox(MADE).messages.items())]
    assert [message.octets for message in made] == [APPENDED, LETTERS[2], LETTERS[3], LETTERS[4]]
    copied = ["\\draft $errand", flags[2], flags[3], "\\draft \\seen"]
    assert [message.flags for message in made] == [as_flags(each) for each in copied]
    assert datetime.fromtimestamp(made[0].internal_date, UTC) == datetime(2020, 2, 29, 7, 4, 56, tzinfo=UTC)
