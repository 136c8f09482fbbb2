"""Programs and libraries that send one message: each as a function of how and what."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiosmtplib
from hosted import PASSWORD
from node_libraries import node_libraries

PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True)
class Way:
    """To which port, with TLS "plain", "starttls" or "tls", and who logs in."""

    port: int
    tls: str
    ca: Path
    user: str = ""


@dataclass(frozen=True)
class Letter:
    """What to send, and to whom. Some of the recipients may be refused."""

    sender: str
    recipients: Sequence[str]
    octets: bytes


Send = Callable[[Any, Way, Letter], None]
"""Takes the `client` that runs programs. Raises: AssertionError, when the letter was not accepted for anybody."""


def with_curl(client: Any, way: Way, letter: Letter) -> None:
    (client.home / "letter").write_bytes(letter.octets)
    scheme = "smtps" if way.tls == "tls" else "smtp"
    options = ["--ssl-reqd"] if way.tls == "starttls" else []
    if way.user:
        options += ["-u", f"{way.user}:{PASSWORD}"]
    for recipient in letter.recipients:
        options += ["--mail-rcpt", recipient]
    url = f"{scheme}://127.0.0.1:{way.port}/client.example"
    message = ["--mail-from", letter.sender, "-T", str(client.home / "letter")]
    client.run("curl", "-sS", "--cacert", str(way.ca), url, "--mail-rcpt-allowfails", *message, *options)


def with_swaks(client: Any, way: Way, letter: Letter) -> None:
    # swaks adds a line end
    (client.home / "letter").write_bytes(letter.octets.replace(b"\r\n", b"\n").removesuffix(b"\n"))
    options = {"plain": [], "starttls": ["--tls"], "tls": ["--tlsc"]}[way.tls]
    if options:
        options += ["--tls-verify", "--tls-ca-path", str(way.ca)]
    if way.user:
        options += ["-a", "PLAIN", "-au", way.user, "-ap", PASSWORD]
    envelope = ["--from", letter.sender, "--to", ",".join(letter.recipients)]
    server = ["--server", "127.0.0.1", "--port", str(way.port)]
    data = ["--data", f"@{client.home}/letter"]
    # 24: some recipients were refused
    client.run("swaks", *server, "--pipeline", *envelope, *data, *options, statuses=(0, 24))


def with_msmtp(client: Any, way: Way, letter: Letter) -> None:
    rc = client.write(
        ".msmtprc",
        f"""account default
host 127.0.0.1
port {way.port}
tls {"off" if way.tls == "plain" else "on"}
tls_starttls {"on" if way.tls == "starttls" else "off"}
tls_trust_file {way.ca}
auth {"plain" if way.user else "off"}
user {way.user}
password {PASSWORD}
""",
    )
    options = ["-C", str(rc), f"--from={letter.sender}"]
    client.run("msmtp", *options, "--", *letter.recipients, stdin=letter.octets.replace(b"\r\n", b"\n"))


def with_sendemail(client: Any, way: Way, letter: Letter) -> None:
    client.environment["SSL_CERT_FILE"] = str(way.ca)
    options = ["-f", letter.sender, "-t", *letter.recipients, "-s", f"localhost:{way.port}"]
    options += ["-o", "message-format=raw", "-o", f"tls={'yes' if way.tls == 'starttls' else 'no'}"]
    if way.user:
        options += ["-xu", way.user, "-xp", PASSWORD]
    client.run("sendemail", *options, stdin=letter.octets.replace(b"\r\n", b"\n"))


def with_nodemailer(client: Any, way: Way, letter: Letter) -> None:
    client.environment["MODULES"] = str(node_libraries())
    arguments = [str(way.port), way.tls, str(way.ca), way.user, letter.sender, *letter.recipients]
    client.run("node", str(PROGRAMS / "send.mjs"), *arguments, stdin=letter.octets)


def with_smtplib(client: Any, way: Way, letter: Letter) -> None:
    context = ssl.create_default_context(cafile=way.ca)
    if way.tls == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL("127.0.0.1", way.port, context=context)
    else:
        server = smtplib.SMTP("127.0.0.1", way.port)
    with server:
        if way.tls == "starttls":
            server.starttls(context=context)
        if way.user:
            server.login(way.user, PASSWORD)
        server.ehlo()
        options = () if "".join((letter.sender, *letter.recipients)).isascii() else ("SMTPUTF8", "BODY=8BITMIME")
        server.sendmail(letter.sender, letter.recipients, letter.octets, options)


def with_aiosmtplib(client: Any, way: Way, letter: Letter) -> None:
    async def send() -> None:
        context = ssl.create_default_context(cafile=way.ca)
        options = [] if "".join((letter.sender, *letter.recipients)).isascii() else ["SMTPUTF8", "BODY=8BITMIME"]
        server = aiosmtplib.SMTP(
            hostname="127.0.0.1",
            port=way.port,
            use_tls=way.tls == "tls",
            start_tls=way.tls == "starttls",
            tls_context=context,
            username=way.user or None,
            password=PASSWORD if way.user else None,
        )
        async with server:
            await server.sendmail(letter.sender, letter.recipients, letter.octets, mail_options=options)

    asyncio.run(send())
