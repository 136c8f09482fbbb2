"""What browsers and broken clients do to the HTTP API."""

from __future__ import annotations

import pytest
from api_client import ApiClient
from server_process import Dialogue, Server

from mailstack.web.guards import Guards
from mailstack.web.values import HttpProblem

pytestmark = pytest.mark.processes


def answered(dialogue: Dialogue) -> tuple[bytes, bytes]:
    """Status line and body of the next answer."""
    status = dialogue.line()
    length = int(dialogue.until(b"Content-Length")[-1].split()[1])
    while dialogue.line():
        pass
    return status, dialogue.exactly(length)


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({"Host": "rebound.example"}, "foreign-host"),
        ({"Host": "localhost.example"}, "foreign-host"),
        ({"Host": "192.0.2.1"}, "foreign-host"),
        ({"Host": "user@localhost"}, "foreign-host"),
        ({"Origin": "https://site.example"}, "foreign-origin"),
        ({"Origin": "null"}, "foreign-origin"),
        ({"Origin": "http://localhost:1"}, "foreign-origin"),
        ({"Sec-Fetch-Site": "cross-site"}, "foreign-origin"),
        ({"Sec-Fetch-Site": "same-site"}, "foreign-origin"),
    ],
)
def test_pages_of_other_sites_are_refused(api: ApiClient, headers: dict[str, str], kind: str) -> None:
    api.problem("POST", "/api/v1/reset", 403, kind, headers=headers)
    api.problem("GET", "/api/v1/messages", 403, kind, headers=headers)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:2580", "app.localhost", "127.9.9.9:1", "[::1]:80", "localhost."]
)
def test_names_of_loopback_are_welcome(api: ApiClient, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    reply = api.ask("GET", "/api/v1/ready", headers=headers)
    assert reply.status == 200
    assert not any(name.startswith("access-control") for name in reply.headers)


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/", 404, "no-such-resource"),
        ("GET", "/api/v1/messages/", 404, "no-such-resource"),
        ("GET", "/api/v1/messages/../../etc/passwd", 404, "no-such-resource"),
        ("GET", "/api/v1/messages/..%2F..%2Fetc%2Fpasswd/raw", 404, "no-such-message"),
        ("GET", "/api/v1/messages/%00", 404, "no-such-message"),
        ("GET", "/api/v1/messages/%FF%FE", 404, "no-such-message"),
        ("PUT", "/api/v1/messages", 405, "method-not-allowed"),
        ("OPTIONS", "/api/v1/messages", 405, "method-not-allowed"),
        ("DELETE", "/api/v1/messages?subjct=typo", 400, "unknown-parameter"),
        ("DELETE", "/api/v1/messages?subject=a&subject=b", 400, "bad-parameter"),
        ("GET", "/api/v1/messages?" + "&".join(f"x{n}=1" for n in range(60)), 400, "bad-parameter"),
        ("GET", "/api/v1/messages?subject=" + "x" * 9000, 414, "query-too-long"),
        ("GET", "/api/v1/messages?limit=0", 400, "bad-parameter"),
        ("GET", "/api/v1/messages?limit=1001", 400, "bad-parameter"),
        ("GET", "/api/v1/messages?limit=%C2%B2", 400, "bad-parameter"),
        ("GET", "/api/v1/messages?unread=yes", 400, "bad-parameter"),
        ("GET", "/api/v1/messages?since=yesterday", 400, "bad-parameter"),
        ("GET", "/api/v1/messages?since=nan", 400, "bad-parameter"),
        ("GET", "/api/v1/messages?account=a/b", 400, "bad-parameter"),
        ("GET", "/api/v1/wait?timeout=-1", 400, "bad-parameter"),
        ("GET", "/api/v1/wait?timeout=inf", 400, "bad-parameter"),
        ("GET", "/api/v1/wait?count=101", 400, "bad-parameter"),
        ("POST", "/api/v1/messages", 415, "unknown-content-type"),
        ("DELETE", "/api/v1/users/%20", 400, "bad-parameter"),
        ("DELETE", "/api/v1/users/.." + "%2F..", 400, "bad-parameter"),
        ("GET", "/api/v1/mailboxes?account=" + "%C3%A4" * 150, 400, "bad-parameter"),
    ],
)
def test_bad_requests(running: Server, method: str, path: str, status: int, kind: str) -> None:
    with running.connect("http", greeting=False) as client:
        client.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
        said, body = answered(client)
        assert said.split()[1] == b"%d" % status, body
        assert b'"urn:mailstack:problem:%s"' % kind.encode() in body
        client.send(b"GET /api/v1/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answered(client)[0] == b"HTTP/1.1 200 OK"  # and the connection goes on


def test_what_is_no_http(running: Server) -> None:
    for octets in (
        b"EHLO x\r\n",
        b"\x16\x03\x01\x00\xa5\x01\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 20000 + b"\r\n\r\n",
    ):
        with running.connect("http", greeting=False) as client:
            client.send(octets)
            client.until(b"")
            assert client.at_end() or client.buffer


def test_two_hosts_or_none(running: Server) -> None:
    for head in (b"", b"Host: localhost\r\nHost: localhost\r\n"):
        with running.connect("http", greeting=False) as client:
            client.send(b"GET /api/v1/ready HTTP/1.1\r\n" + head + b"\r\n")
            assert answered(client)[0].split()[1] in (b"400", b"403")


@pytest.mark.parametrize("length", [b"Content-Length: 999999999999", b"Transfer-Encoding: chunked"])
def test_too_much_is_refused_before_it_has_come(running: Server, length: bytes) -> None:
    before = running.rss()
    with running.connect("http", greeting=False) as client:
        client.send(b"POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: message/rfc822\r\n" + length)
        client.send(b"\r\n\r\n")
        if length.startswith(b"T"):
            piece = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
            try:
                for _ in range(110):
                    client.send(piece)
            except (ConnectionResetError, BrokenPipeError):
                return  # it was cut when it was too much
        status, body = answered(client)
        assert (status, b"too-large" in body) == (b"HTTP/1.1 413 Content Too Large", True)
        assert client.at_end()
    assert running.rss() < before + 200 * 1024 * 1024


def test_a_client_that_goes_in_the_middle(running: Server, api: ApiClient) -> None:
    with running.connect("http", greeting=False) as client:
        client.send(b"POST /api/v1/messages?to=a@b.test HTTP/1.1\r\nHost: localhost\r\n")
        client.send(b"Content-Type: message/rfc822\r\nContent-Length: 1000\r\n\r\nSubject: half")
    assert api.get("messages")["messages"] == []


def test_requests_one_after_the_other_in_one_piece(running: Server) -> None:
    with running.connect("http", greeting=False) as client:
        client.send(b"GET /api/v1/ready HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5)
        assert [answered(client)[0] for _ in range(5)] == [b"HTTP/1.1 200 OK"] * 5


@pytest.mark.parametrize(
    ("authorization", "origin", "status"),
    [
        ("", None, 401),
        ("Bearer wrong", None, 401),
        ("Bearer", None, 401),
        ("Basic s3cret", None, 401),
        ("Bearer s3cr\xe9t", None, 401),
        ("bearer  s3cret", None, 0),
        ("Bearer s3cret", "http://mail.example:2580", 0),
        ("Bearer s3cret", "http://other.example", 403),
    ],
)
def test_with_a_token_any_host_will_do(authorization: str, origin: str | None, status: int) -> None:
    try:
        Guards("s3cret").check("mail.example:2580", origin, None, authorization)
    except HttpProblem as problem:
        assert problem.status == status
        assert ("WWW-Authenticate" in problem.headers) is (status == 401)
    else:
        assert not status
