"""Programs from the distribution log in by SCRAM, certificate and bearer token."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import trustme
from production import DOMAIN, PASSWORD, configuration, prepare, production
from server_process import Server

from mailstack.auth.database import AccountDatabase
from mailstack.auth.passwords import hash_password
from mailstack.auth.scram_store import scram_text

pytestmark = pytest.mark.interop

ALICE = f"alice@{DOMAIN}"
SECRET = b"a secret of the authorization server and us"
LOGINS = """
[tls]
client_ca = "client-ca.pem"

[oauth]
keys = "keys.json"
audience = "mail"
"""


@pytest.fixture(scope="module")
def logins() -> Iterator[Server]:
    """A server where one may log in by everything there is."""
    with tempfile.TemporaryDirectory(
        prefix="mailstack-test-"
    ) as directory:  # where a server of another account gets in
        yield from serving(Path(directory))


def serving(directory: Path) -> Iterator[Server]:
    prepare(directory, configuration(directory, tables=LOGINS), accounts=())
    database = AccountDatabase(directory / "data" / "accounts.sqlite3")
    database.add_account(ALICE, hash_password(PASSWORD), scram_text(PASSWORD))
    database.close()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "client-ca.pem")
    leaf = authority.issue_cert(ALICE)
    leaf.private_key_and_cert_chain_pem.write_to_path(directory / "alice.pem")
    key = jwt.algorithms.HMACAlgorithm.to_jwk(SECRET, as_dict=True)
    (directory / "keys.json").write_text(json.dumps({"keys": [key]}))
    with production(directory) as running:
        yield running


def token(**changes: Any) -> str:
    return jwt.encode({"aud": "mail", "exp": int(time.time()) + 60, "email": ALICE, **changes}, SECRET, "HS256")


def lines(server: Server, mechanism: str) -> int:
    """How often somebody has logged in by it."""
    return sum(
        " login conn=" in line and f"mechanism={mechanism} " in line for line in server.log.read_text().splitlines()
    )


MESSAGE = b"Subject: hello\r\n\r\nHello.\r\n"


@pytest.mark.needs("msmtp")
class TestMsmtp:
    def configure(self, server: Server, client: Any, auth: str, secret: str) -> Path:
        certificate = server.directory / "alice.pem"
        rc: Path = client.write(
            ".msmtprc",
            f"""account default
host 127.0.0.1
port {server.port("submission")}
from {ALICE}
tls on
tls_starttls on
tls_certcheck off
tls_cert_file {certificate}
tls_key_file {certificate}
auth {auth}
user {ALICE}
password {secret}
""",
        )
        return rc

    @pytest.mark.parametrize("auth", ["scram-sha-1", "scram-sha-256", "external", "xoauth2"])
    def test_sends(self, logins: Server, client: Any, auth: str) -> None:
        bearer = auth in ("oauthbearer", "xoauth2")
        rc = self.configure(logins, client, auth, token() if bearer else PASSWORD)
        before = lines(logins, auth.upper())
        client.run("msmtp", "-C", str(rc), ALICE, stdin=MESSAGE)
        assert lines(logins, auth.upper()) == before + 1

    @pytest.mark.parametrize("auth", ["scram-sha-256", "oauthbearer"])
    def test_is_refused(self, logins: Server, client: Any, auth: str) -> None:
        rc = self.configure(logins, client, auth, token(exp=1) if auth != "scram-sha-256" else "wrong")
        output = client.run("msmtp", "-C", str(rc), ALICE, stdin=MESSAGE, statuses=(77,))  # EX_NOPERM
        assert "authentication failed" in output
        logins.wait_log(f"mechanism={auth.upper()} reason")


@pytest.mark.needs("gsasl")
@pytest.mark.parametrize(
    ("service", "mechanism", "priority", "status"),
    [
        ("imap", "SCRAM-SHA-256-PLUS", "NORMAL", 0),
        ("imap", "SCRAM-SHA-256-PLUS", "NORMAL:-VERS-TLS1.3", 0),
        ("smtp", "SCRAM-SHA-1-PLUS", "NORMAL", 0),
        # it says that it could bind, and -PLUS is offered: somebody between has hidden that
        ("imap", "SCRAM-SHA-256", "NORMAL", 1),
    ],
)
def test_gsasl(logins: Server, client: Any, service: str, mechanism: str, priority: str, status: int) -> None:
    port = logins.port("submission" if service == "smtp" else service)
    before = lines(logins, mechanism)
    client.run(
        "gsasl", f"--{service}", "--connect", f"127.0.0.1:{port}", "--mechanism", mechanism,
        "--authentication-id", ALICE, "--password", PASSWORD, f"--x509-ca-file={logins.ca}", "--hostname", "127.0.0.1",
        "--authorization-id", "", "--quality-of-protection=qop-auth", "--no-client-first", "--priority", priority,
        stdin=b"\n", statuses=(status,),
    )  # fmt: skip
    assert lines(logins, mechanism) == before + (not status)


@pytest.mark.needs("curl")
class TestCurl:
    @pytest.mark.parametrize("scheme", ["imaps", "pop3s"])
    def test_token(self, logins: Server, client: Any, scheme: str) -> None:
        mechanism = "OAUTHBEARER"
        url = f"{scheme}://127.0.0.1:{logins.port(scheme)}/"
        options = ["--cacert", str(logins.ca), "-u", f"{ALICE}:", "--login-options", f"AUTH={mechanism}"]
        command = ["curl", "-sS", *options, url]
        before = lines(logins, mechanism)
        client.run(*command, "--oauth2-bearer", token())
        assert lines(logins, mechanism) == before + 1
        client.run(*command, "--oauth2-bearer", token(aud="other"), statuses=(67,))  # CURLE_LOGIN_DENIED

    @pytest.mark.parametrize("scheme", ["imaps", "pop3s"])
    def test_certificate(self, logins: Server, client: Any, scheme: str) -> None:
        certificate = str(logins.directory / "alice.pem")
        url = f"{scheme}://127.0.0.1:{logins.port(scheme)}/"
        before = lines(logins, "EXTERNAL")
        options = ["--cacert", str(logins.ca), "--cert", certificate, "-u", f"{ALICE}:"]
        client.run("curl", "-sS", *options, "--login-options", "AUTH=EXTERNAL", url)
        assert lines(logins, "EXTERNAL") == before + 1


@pytest.mark.needs("mpop")
@pytest.mark.parametrize("auth", ["scram-sha-1", "oauthbearer"])
def test_mpop(logins: Server, client: Any, auth: str) -> None:
    secret = PASSWORD if auth.startswith("scram") else token()
    rc = client.write(
        ".mpoprc",
        f"""account default
host 127.0.0.1
port {logins.port("pop3s")}
tls on
tls_starttls off
tls_trust_file {logins.ca}
tls_certcheck off
auth {auth}
user {ALICE}
password {secret}
keep on
delivery mbox {client.home}/mbox
""",
    )
    before = lines(logins, auth.upper())
    client.run("mpop", "-C", str(rc))
    assert lines(logins, auth.upper()) == before + 1
