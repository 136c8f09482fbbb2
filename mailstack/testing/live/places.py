"""Where a server listens, in the words of programs that send and read mail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

SERVICES = ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s")


class Place(NamedTuple):
    """A host and a port. Also a tuple, as `socket.create_connection` wants it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def places(document: Mapping[str, Any]) -> dict[str, Place]:
    """Of a ready file."""
    return {
        name: Place(str(value["host"]), int(value["port"]))
        for name, value in document.items()
        if isinstance(value, dict) and "port" in value
    }


def environment(found: Mapping[str, Place], ca: str, user: str = "", password: str = "") -> dict[str, str]:
    """Environment variables by which programs are told where their mail server is. Mail goes to the submission port
    if there is somebody to log in, else to port 25's."""
    sending = found["submission"] if user else found["smtp"]
    login = f"{_quoted(user)}:{_quoted(password)}@" if user else ""
    variables = {
        "MAILSTACK_HTTP": f"http://{found['http']}",
        "MAILSTACK_SERVER": str(found["smtp"]),
        "MAILSTACK_CA": ca,
        "SMTP_URL": f"smtp://{login}{sending}",
        "EMAIL_URL": f"smtp://{login}{sending}",
        "MAILER_DSN": f"smtp://{login}{sending}",
        "EMAIL_HOST": sending.host,
        "EMAIL_PORT": str(sending.port),
        "MAIL_HOST": sending.host,
        "MAIL_SERVER": sending.host,
        "MAIL_PORT": str(sending.port),
    }
    for service in SERVICES:
        variables[f"{service.upper()}_HOST"] = found[service].host
        variables[f"{service.upper()}_PORT"] = str(found[service].port)
    if user:
        for name in ("EMAIL_HOST_USER", "MAIL_USERNAME", "SMTP_USER", "SMTP_USERNAME", "IMAP_USER", "POP3_USER"):
            variables[name] = user
        for name in ("EMAIL_HOST_PASSWORD", "MAIL_PASSWORD", "SMTP_PASSWORD", "IMAP_PASSWORD", "POP3_PASSWORD"):
            variables[name] = password
    return variables


def django_settings(found: Mapping[str, Place], user: str = "", password: str = "") -> dict[str, Any]:
    """Django's EMAIL_* settings, for `override_settings(**…)`; pytest-django and Django's test runner have replaced
    the backend by one that sends nothing."""
    sending = found["submission"] if user else found["smtp"]
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": sending.host,
        "EMAIL_PORT": sending.port,
        "EMAIL_HOST_USER": user,
        "EMAIL_HOST_PASSWORD": password,
        "EMAIL_USE_TLS": False,
        "EMAIL_USE_SSL": False,
        "EMAIL_TIMEOUT": 10,
    }


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")
