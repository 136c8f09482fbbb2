"""From another IMAP server and to one: a mailstack of its own, and a Dovecot."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import invoke
from dovecot_process import MASTER, Dovecot
from production import given_to_nobody
from server_process import Server
from transferred import Seen, fill, imported, seen

from mailstack.transfer import imap_source
from mailstack.transfer.imap_client import Address, Client, Listed, _fetched, _folder_name, _listed, parse_address
from mailstack.transfer.placing import Places
from mailstack.transfer.values import Folder, Unusable

pytestmark = pytest.mark.processes
USER = "alice@localhost"


@pytest.fixture(scope="module")
def server(make_directory: Callable[[], Path]) -> Iterator[Server]:
    directory = make_directory()
    fill(directory / "data")
    with Server(directory) as running:
        yield running


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILSTACK_IMAP_PASSWORD", "any")


def address(server: Server, service: str = "imaps") -> list[str]:
    return [
        f"{service}://{USER.replace('@', '%40')}@127.0.0.1:{server.port(service)}",
        "--ca",
        str(server.ca),
    ]


def contents(mailboxes: dict[str, Seen]) -> dict[str, object]:
    return {name: mailbox.messages for name, mailbox in mailboxes.items()}


def as_sent(mailbox: Seen) -> list[tuple[int, bytes, int, list[str]]]:
    """The messages as they can be sent: not without octets, and with a CR only before LF."""
    rows = [row for row in mailbox.messages if row[0]]
    return [(row[3], row[0].replace(b"\r\r\n", b"\r\n\r\n"), row[1], sorted(row[2])) for row in rows]


@pytest.mark.parametrize("service", ["imaps", "imap"])
def test_from_a_running_mailstack(
    service: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imap_source, "TOGETHER_OCTETS", 100_000)  # the large one comes in pieces
    said = imported(tmp_path, *address(server, service))
    assert "25 messages imported" in said
    found = seen(tmp_path)
    assert contents(found) == contents(seen(server.data))
    assert found["Lists/Py"].subscribed
    assert not found["日本語/メール"].subscribed or seen(server.data)["日本語/メール"].subscribed
    assert "INBOX: 0 imported, 13 there already" in imported(tmp_path, *address(server, service))
    assert contents(seen(tmp_path)) == contents(found)


def test_special_use_decides_and_map_more(server: Server, tmp_path: Path) -> None:
    imported(
        tmp_path,
        "--mailbox",
        "Sent",
        "--mailbox",
        "Lists/Py",
        "--map",
        "Lists=Old",
        *address(server),
    )
    assert seen(tmp_path).keys() == {"Sent", "Old/Py"}


def test_nothing_is_fetched_twice(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported(tmp_path, *address(server))
    fetched: list[object] = []
    fetch = Client.fetch
    monkeypatch.setattr(
        Client,
        "fetch",
        lambda self, uids, items: fetched.append(items) or fetch(self, uids, items),
    )
    imported(tmp_path, *address(server))
    assert fetched == []
    # Into another mailbox all of it is new.
    assert "INBOX: 0" not in imported(tmp_path, *address(server), "--into", "Again")
    assert fetched


def test_out_to_a_running_mailstack_and_in_again(tmp_path: Path, make_directory: Callable[[], Path]) -> None:
    fill(tmp_path)
    with Server(make_directory()) as other:
        to = address(other)
        first = invoke("export", USER, *to, "--data", tmp_path)
        # one has no octets, which a server has to refuse (RFC 3502)
        assert first.exit_code == 1 and first.stderr.startswith("not taken: INBOX UID 9: "), first.output
        assert "24 messages exported" in first.stdout
        assert "\n0 messages exported" in invoke("export", USER, *to, "--data", tmp_path).stdout
        with other.connect("imap") as client:
            client.send(b"a LOGIN %s x\r\nb STATUS INBOX (MESSAGES)\r\n" % USER.encode())
            assert b"(MESSAGES 12)" in client.until(b"b OK")[-2]
        data = other.data
    mine, theirs = seen(tmp_path), seen(data)
    assert mine.keys() == theirs.keys()
    for name, mailbox in mine.items():
        assert as_sent(mailbox) == as_sent(theirs[name]), name


def test_a_certificate_that_is_not_trusted(server: Server, tmp_path: Path) -> None:
    said = imported(tmp_path, address(server)[0], status=1)
    assert "its certificate is not trusted" in said
    assert "--ca FILE" in said


def test_the_password_from_a_file(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAILSTACK_IMAP_PASSWORD")
    (tmp_path / "secret").write_text("any\nmore\n")
    imported(
        tmp_path / "data",
        *address(server),
        "--password-file",
        tmp_path / "secret",
        "--mailbox",
        "Sent",
    )
    assert seen(tmp_path / "data").keys() == {"Sent"}


@contextmanager
def without_tls() -> Iterator[tuple[int, list[bytes]]]:
    """A server of one connection that knows CAPABILITY; its port, and what it heard."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with listening.accept()[0] as sock, sock.makefile("rwb") as file:
                file.write(b"* OK ready\r\n")
                file.flush()
                for line in file:
                    heard.append(line)
                    file.write(b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n%s OK done\r\n" % line.split()[0])
                    file.flush()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1], heard
        thread.join(10)
        assert not thread.is_alive()


def test_no_password_goes_out_without_tls(tmp_path: Path) -> None:
    with without_tls() as (port, heard):
        said = imported(tmp_path, f"imap://alice@127.0.0.1:{port}", status=1)
    assert "--insecure-plaintext" in said
    assert [line.split()[1] for line in heard] == [b"CAPABILITY"]


def test_a_mailbox_that_the_server_does_not_open_does_not_stop_the_others(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Client.mailboxes
    gone = Listed(Folder("Gone"), "Gone", True)
    monkeypatch.setattr(Client, "mailboxes", lambda self: [gone, *listed(self)])
    said = imported(tmp_path, *address(server), status=1)
    assert "not taken: Gone: " in said
    assert "25 messages imported" in said


def test_nobody_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    said = imported(tmp_path, f"imaps://alice@127.0.0.1:{port}", status=1)
    assert "Connection refused" in said


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "imaps://alice@mail.example.net",
            Address("imaps", "alice", "mail.example.net", 993),
        ),
        ("imap://a%40b.test@[::1]:2143/", Address("imap", "a@b.test", "::1", 2143)),
        (
            "imaps://a@b.test@mail.example.net",
            Address("imaps", "a@b.test", "mail.example.net", 993),
        ),
        ("imaps://alice@mail.example.net:x", None),
        ("imaps://alice@mail.example.net/INBOX", None),
    ],
)
def test_addresses(text: str, found: Address | None) -> None:
    if found is None:
        with pytest.raises(Unusable):
            parse_address(text)
    else:
        assert parse_address(text) == found


def test_names_of_other_servers() -> None:
    assert _folder_name(b"Entw&APw-rfe.a/b", b".") == "Entwürfe/a_b"
    assert _folder_name(b"&bad", b"/") == "&bad"
    listed = _listed(b'(\\HasNoChildren \\Sent) "." "INBOX.Sent \\"x\\""', b"INBOX.", set())
    assert listed is not None
    assert (listed.folder.name, listed.raw, listed.folder.special_use) == (
        'Sent "x"',
        'INBOX.Sent "x"',
        "\\Sent",
    )
    noselect = _listed(b'(\\Noselect) NIL Above ("CHILDINFO" ("SUBSCRIBED"))', b"", None)
    assert noselect is not None
    assert not noselect.selectable
    assert noselect.folder.name == "Above"


def test_a_special_use_is_stronger_than_a_name() -> None:
    places = Places([("Spam", "Old/Spam")], uses={"\\Sent": "Gesendet", "\\Junk": "Junk"})
    assert places.name(Folder("Sent Items", "\\Sent")) == "Gesendet"
    assert places.name(Folder("Spam", "\\Junk")) == "Old/Spam"
    assert places.name(Folder("Drafts", "\\Drafts")) == "Drafts"
    assert places.special_use(Folder("Entwürfe", "\\Drafts")) == "\\Drafts"
    assert places.special_use(Folder("Sent Items", "\\Sent")) == ""
    assert Places(into="Old", uses={"\\Sent": "Sent"}).name(Folder("Sent", "\\Sent")) == "Old/Sent"


def test_items_that_stand_behind_the_literal() -> None:
    data = [
        (b"1 (UID 5 BODY[] {3}", b"abc"),
        b' FLAGS (\\Seen x) INTERNALDATE " 1-Jan-2024 10:00:00 +0100")',
        b'2 (BODY[] "" UID 6)',
    ]
    first, second = _fetched(data)
    assert (first.uid, first.octets, first.words, first.date) == (
        5,
        b"abc",
        ("\\Seen", "x"),
        1704099600,
    )
    assert (second.uid, second.octets) == (6, b"")


@pytest.fixture
def short_place() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="mt", dir="/tmp"))
    given_to_nobody(directory)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.interop
@pytest.mark.skipif(not os.access(MASTER, os.X_OK), reason="Dovecot is not installed")
@pytest.mark.parametrize("separator", ["/", "."])
def test_to_a_dovecot_and_from_it(
    separator: str, short_place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILSTACK_IMAP_PASSWORD", "pass")
    fill(tmp_path / "mine")
    mail = short_place / "mail"
    mail.mkdir()
    given_to_nobody(short_place)
    with Dovecot(short_place, mail, separator=separator) as dovecot:
        where = f"imap://alice@127.0.0.1:{dovecot.port}"
        out = invoke("export", USER, where, "--insecure-plaintext", "--data", tmp_path / "mine")
        # Dovecot takes no message without octets.
        assert (out.exit_code, out.stderr.count("\n")) == (1, 1), out.output
        assert "not taken: INBOX UID 9: Can't save a zero byte message" in out.stderr
        said = imported(tmp_path / "in", where, "--insecure-plaintext")
        assert "24 messages imported" in said
        assert "\n0 messages imported" in imported(tmp_path / "in", where, "--insecure-plaintext")
    mine, theirs = seen(tmp_path / "mine"), seen(tmp_path / "in")
    assert mine.keys() == theirs.keys()
    for name, mailbox in mine.items():
        # Dovecot shows NUL, which mail must not have, as 0x80.
        expected = [(date, octets.replace(b"\0", b"\x80"), *rest) for date, octets, *rest in as_sent(mailbox)]
        assert expected == as_sent(theirs[name]), name
    shutil.copytree(mail / "alice", tmp_path / "copied")
    said = imported(tmp_path / "in", tmp_path / "copied")
    assert "\n1 messages imported" in said, "its files are the same messages but for the one with NUL"
