"""An authority that answers oddly: down, garbage, too busy, too slow, no certificate of ours."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from acme_fakes import START, issued, wanted

pytest.importorskip("acme", reason="the extra acme is not installed")

from mailstack.acme.authority import Authority, new_account_key, retry_after
from mailstack.acme.challenges import Challenges
from mailstack.acme.keeping import Failed, Stopped, Wanted
from mailstack.config.acme import Challenge

HOST = "mail.example.org"
NONCE = ("Replay-Nonce", "oFvnlFP1wIhRlYS2jTaXbA")
Answer = tuple[int, list[tuple[str, str]], bytes]
ACCOUNT_KEY = new_account_key()


class Stub:
    """An HTTP server whose answers the test gives, by path; a function is called each time."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Callable[[], Answer]] = {}
        self.requests: list[str] = []
        self.payloads: dict[str, dict[str, Any]] = {}
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 65536
            disable_nagle_algorithm = True

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if body and (payload := json.loads(body)["payload"]):
                    stub.payloads[self.path] = json.loads(decoded(payload))
                stub.requests.append(self.path)
                found = stub.answers.get(self.path, (404, [], b"none"))
                status, headers, content = found if isinstance(found, tuple) else found()
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_POST = do_HEAD = answer

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def json(self, path: str, document: object, status: int = 200, **headers: str) -> None:
        kind = "application/problem+json" if status >= 400 else "application/json"
        found = [("Content-Type", kind), NONCE, *((name.replace("_", "-"), value) for name, value in headers.items())]
        self.answers[path] = (status, found, json.dumps(document).encode())


def decoded(text: str) -> bytes:
    import base64

    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.fixture(scope="module")
def serving() -> Iterator[Stub]:
    made = Stub()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture
def stub(serving: Stub) -> Stub:
    """An authority with which all goes well until the order, of which nobody has proven anything."""
    made = serving
    for known in (made.answers, made.requests, made.payloads):
        known.clear()
    directory = {name: f"{made.url}/{name}" for name in ("newNonce", "newAccount", "newOrder", "revokeCert")}
    made.json("/dir", directory)
    made.answers["/newNonce"] = (200, [NONCE], b"")
    made.json("/newAccount", {"status": "valid"}, 201, Location=f"{made.url}/account")
    made.json("/newOrder", order(made, "pending"), 201, Location=f"{made.url}/order")
    made.json("/order", order(made, "ready"))
    made.json("/authz", authorization(made, "pending"))
    made.json("/challenge", {"status": "processing"})
    return made


def order(stub: Stub, status: str, **more: object) -> dict[str, object]:
    return {"status": status, "authorizations": [f"{stub.url}/authz"], "finalize": f"{stub.url}/finalize", **more}


def authorization(stub: Stub, status: str, kind: str = "http-01", token: str = "t" * 22) -> dict[str, object]:
    challenge = {"type": kind, "url": f"{stub.url}/challenge", "token": token, "status": status}
    return {"status": status, "identifier": {"type": "dns", "value": HOST}, "challenges": [challenge]}


def asked(stub: Stub, **more: Any) -> Wanted:
    return wanted(HOST, directory=f"{stub.url}/dir", **more)


def no_wait(seconds: float) -> bool:
    """Nothing is to be waited for; a bug must not ask for ever."""
    raise AssertionError(f"it waits {seconds} s")


def authority(directory: Path, wait: Callable[[float], bool] = no_wait) -> Authority:
    return Authority(Challenges(directory / "challenges"), ACCOUNT_KEY, wait)


def failure(stub: Stub, directory: Path) -> Failed:
    with pytest.raises(Failed) as caught:
        authority(directory).obtain(asked(stub), None, "")
    assert list(directory.glob("challenges/*")) == []  # no proof stays
    return caught.value


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="cannot be reached"):
        authority(tmp_path).obtain(wanted(HOST, directory="http://127.0.0.1:1/dir"), None, "")


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"[]", b"null", b"{}", b'{"newNonce": 5}', b'{"meta": []}', b'"x"', b"\xff\xfe"]
)
def test_the_directory_is_garbage(stub: Stub, tmp_path: Path, content: bytes) -> None:
    stub.answers["/dir"] = (200, [("Content-Type", "application/json")], content)
    assert str(failure(stub, tmp_path))


@pytest.mark.parametrize("path", ["/newAccount", "/newOrder", "/authz", "/challenge", "/order"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"[1]", b'{"status": 7}', b'{"status": "odd", "challenges": 3}'])
def test_any_answer_is_garbage(stub: Stub, tmp_path: Path, path: str, content: bytes) -> None:
    stub.json("/authz", authorization(stub, "valid"))
    if path == "/challenge":
        stub.json("/authz", authorization(stub, "invalid"))
    stub.answers[path] = (200, [("Content-Type", "application/json"), NONCE], content)
    assert str(failure(stub, tmp_path))


@pytest.mark.parametrize("path", ["/dir", "/newAccount", "/newOrder", "/order"])
@pytest.mark.parametrize("as_json", [True, False])
def test_rate_limits_say_when_to_come_back(stub: Stub, tmp_path: Path, path: str, as_json: bool) -> None:
    stub.json("/authz", authorization(stub, "valid"))
    problem = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many certificates already issued"}
    if as_json:
        stub.json(path, problem, 429, Retry_After="3600")
    else:
        stub.answers[path] = (503, [("Retry-After", "3600"), NONCE], b"busy")
    failed = failure(stub, tmp_path)
    assert failed.retry_after == 3600
    if as_json:
        assert "too many certificates already issued" in str(failed)


def test_a_date_to_come_back_at(stub: Stub, tmp_path: Path) -> None:
    stub.answers["/newOrder"] = (503, [("Retry-After", formatdate(time.time() + 500, usegmt=True)), NONCE], b"")
    assert 400 < (failure(stub, tmp_path).retry_after or 0) <= 500


@pytest.mark.parametrize("value", ["", "soon", "-5", "1e9", "Thu, 99 Foo 2000", "\u0663"])
def test_a_retry_after_that_is_none(value: str) -> None:
    class Response:
        headers = {"Retry-After": value}

    assert retry_after(Response()) is None  # type: ignore[arg-type]  # all that is looked at


def test_the_order_expires(stub: Stub, tmp_path: Path) -> None:
    stub.json("/authz", authorization(stub, "valid"))
    stub.json("/order", order(stub, "invalid", error={"type": "urn:x", "detail": "the order has expired"}))
    assert "the order has expired" in str(failure(stub, tmp_path))


def test_the_order_is_gone(stub: Stub, tmp_path: Path) -> None:
    stub.json("/authz", authorization(stub, "valid"))
    stub.json("/order", {"type": "urn:ietf:params:acme:error:malformed", "detail": "order expired"}, 404)
    assert "order expired" in str(failure(stub, tmp_path))


@pytest.mark.parametrize("token", ["../../../etc/passwd", "short", "a" * 300, "t" * 20 + "/x", "é" * 22])
def test_a_token_that_is_no_name_of_a_file(stub: Stub, tmp_path: Path, token: str) -> None:
    stub.json("/authz", authorization(stub, "pending", token=token))
    assert "token" in str(failure(stub, tmp_path))
    assert "/challenge" not in stub.requests


def test_another_host_than_ours_is_not_proven(stub: Stub, tmp_path: Path) -> None:
    stub.json("/authz", {**authorization(stub, "pending"), "identifier": {"type": "dns", "value": "evil.example"}})
    assert "evil.example" in str(failure(stub, tmp_path))


def test_the_challenge_is_not_offered(stub: Stub, tmp_path: Path) -> None:
    stub.json("/authz", authorization(stub, "pending", "dns-01"))
    assert "no http-01 among the challenges: dns-01" in str(failure(stub, tmp_path))


def test_the_proof_is_there_while_the_authority_looks(stub: Stub, tmp_path: Path) -> None:
    seen: list[bytes] = []

    def challenge() -> Answer:
        seen.extend(path.read_bytes() for path in (tmp_path / "challenges").iterdir())
        failed = authorization(stub, "invalid")
        failed["challenges"][0]["error"] = {"detail": "wrong answer"}  # type: ignore[index]
        stub.json("/authz", failed)
        return 200, [NONCE], b"{}"

    stub.answers["/challenge"] = challenge
    assert "mail.example.org: http-01: wrong answer" in str(failure(stub, tmp_path))
    (proof,) = seen
    assert proof.startswith(b"t" * 22 + b".")


def test_a_decision_that_does_not_come(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailstack.acme.authority.ORDER_TIME", 0.0)
    assert "did not decide" in str(failure(stub, tmp_path))


def test_the_process_ends_meanwhile(stub: Stub, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        authority(tmp_path, lambda seconds: True).obtain(asked(stub), None, "")
    assert list(tmp_path.glob("challenges/*")) == []


def test_a_nonce_is_refused_several_times(stub: Stub, tmp_path: Path) -> None:
    left = [3]

    def once_more() -> Answer:
        if not left[0]:
            return 400, [NONCE], b'{"type": "urn:ietf:params:acme:error:malformed", "detail": "the end"}'
        left[0] -= 1
        return 400, [NONCE], b'{"type": "urn:ietf:params:acme:error:badNonce"}'

    stub.answers["/newOrder"] = once_more
    assert "the end" in str(failure(stub, tmp_path))


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        (b"", "no certificate"),
        (b"garbage", "no certificate"),
        (issued(("other.example",), START).chain, "lacks mail.example.org"),
        (issued((HOST,), START).chain, "for another key"),
        (b"x" * 300_000, "too long"),
    ],
)
def test_the_certificate_is_not_what_was_ordered(stub: Stub, tmp_path: Path, chain: bytes, reason: str) -> None:
    stub.json("/authz", authorization(stub, "valid"))
    stub.json("/order", order(stub, "valid", certificate=f"{stub.url}/cert"))
    stub.answers["/cert"] = (200, [("Content-Type", "application/pem-certificate-chain"), NONCE], chain)
    assert reason in str(failure(stub, tmp_path))


def test_an_authority_that_binds_accounts_says_so(stub: Stub, tmp_path: Path) -> None:
    directory = {"newNonce": f"{stub.url}/newNonce", "newAccount": f"{stub.url}/newAccount"}
    stub.json("/dir", {**directory, "meta": {"externalAccountRequired": True}})
    assert "EAB" in str(failure(stub, tmp_path))


def test_an_account_of_before_hears_of_another_address(stub: Stub, tmp_path: Path) -> None:
    stub.json("/newAccount", {"status": "valid"}, 200, Location=f"{stub.url}/account")
    stub.json("/account", {"status": "valid"})
    stub.json("/newOrder", {"type": "urn:x", "detail": "the end"}, 403)
    for known in ("old@example.org", "new@example.org", None):
        with pytest.raises(Failed, match="the end"):
            authority(tmp_path).obtain(asked(stub, email="new@example.org"), known, "")
    assert stub.payloads["/account"] == {"contact": ["mailto:new@example.org"]}
    assert stub.requests.count("/account") == 1
    assert stub.payloads["/newAccount"]["termsOfServiceAgreed"] is True


# --- ARI (RFC 9773)


def with_renewal_info(stub: Stub, document: object, **headers: str) -> None:
    directory = {name: f"{stub.url}/{name}" for name in ("newNonce", "newAccount", "newOrder")}
    stub.json("/dir", {**directory, "renewalInfo": f"{stub.url}/ari"})
    stub.json("/ari/a.b", document, **headers)


def test_a_window_and_when_to_ask_again(stub: Stub, tmp_path: Path) -> None:
    window = {"start": "2026-01-02T04:00:00Z", "end": "2026-01-03T04:00:00+00:00"}
    with_renewal_info(stub, {"suggestedWindow": window, "explanationURL": "https://x.example"}, Retry_After="21600")
    found = authority(tmp_path).renewal(asked(stub), "a.b")
    assert found.window is not None
    assert (found.window.start, found.window.end) == (1767326400.0, 1767412800.0)
    assert (found.retry_after, found.explanation) == (21600, "https://x.example")


@pytest.mark.parametrize(
    "document",
    [
        [], {}, {"suggestedWindow": 5}, {"suggestedWindow": {}}, {"suggestedWindow": {"start": "now", "end": "then"}},
        {"suggestedWindow": {"start": "2026-01-03T04:00:00Z", "end": "2026-01-02T04:00:00Z"}},
    ],
)  # fmt: skip
def test_a_window_that_is_none(stub: Stub, tmp_path: Path, document: object) -> None:
    with_renewal_info(stub, document)
    with pytest.raises(Failed):
        authority(tmp_path).renewal(asked(stub), "a.b")


def test_an_authority_without_windows_is_not_asked(stub: Stub, tmp_path: Path) -> None:
    assert authority(tmp_path).renewal(asked(stub), "a.b").window is None
    assert stub.requests == ["/dir"]


@pytest.mark.parametrize("status", [400, 409])
def test_what_is_replaced_already_is_ordered_without_saying_so(stub: Stub, tmp_path: Path, status: int) -> None:
    with_renewal_info(stub, {})
    stub.json("/authz", authorization(stub, "valid"))
    stub.json("/order", order(stub, "invalid", error={"detail": "the end"}))
    orders: list[bool] = []

    def new_order() -> Answer:
        orders.append("replaces" in stub.payloads["/newOrder"])
        if orders[-1]:
            problem = {"type": "urn:ietf:params:acme:error:alreadyReplaced", "detail": "so"}
            return status, [("Content-Type", "application/problem+json"), NONCE], json.dumps(problem).encode()
        return 201, [NONCE, ("Location", f"{stub.url}/order")], json.dumps(order(stub, "pending")).encode()

    stub.answers["/newOrder"] = new_order
    with pytest.raises(Failed, match="the end"):
        authority(tmp_path).obtain(asked(stub), None, "a.b")
    assert orders == [True, False]


def test_the_challenges_are_those_of_the_configuration() -> None:
    assert {each.value for each in Challenge} == {"http-01", "tls-alpn-01"}
