"""From the `setting:` lines of a transcript to a session over the fakes."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from enum import Enum
from ipaddress import ip_network
from typing import Any

from transcripts import Fakes, FakeSession

from mailstack.config.policy import NO_POLICY, Policy
from mailstack.testing.connection import MemoryConnection

NOT_OF_SESSIONS = frozenset({"domains", "failures"})
USUAL: dict[str, dict[str, Any]] = {
    "smtp": {"hostname": "mx.example.org"},
    "submission": {"hostname": "mx.example.org", "allow_plaintext_auth": True, "role": "submission"},
    "lmtp": {"hostname": "mx.example.org", "role": "lmtp"},
    "imap": {"hostname": "mx.example.org", "allow_plaintext_auth": True},
    "pop3": {"hostname": "mx.example.org", "allow_plaintext_auth": True},
}
"""What scripts need not say."""


def value_of(text: Any, kind: Any) -> Any:
    """A setting's value from its text. Raises: ValueError."""
    if not isinstance(text, str):
        return text
    if kind is bool:
        return {"yes": True, "true": True, "no": False, "false": False}[text.lower()]
    if typing.get_origin(kind) is frozenset:
        return frozenset(text.split())
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(text)
    if typing.get_origin(kind) is frozenset:
        return frozenset(text.split())
    if typing.get_origin(kind) is tuple:
        return tuple(ip_network(word) for word in text.split())
    return kind(text) if kind in (int, float) else text


def settings_of(cls: type, protocol: str, texts: dict[str, str]) -> Any:
    """An unknown setting in the script is an error; an unknown usual one does not concern this class."""
    hints = typing.get_type_hints(cls)
    names = {field.name for field in dataclasses.fields(cls)}
    policy = {key.partition(".")[2]: text for key, text in texts.items() if key.startswith("policy.")}
    texts = {key: text for key, text in texts.items() if not key.startswith("policy.")}
    unknown = texts.keys() - names - NOT_OF_SESSIONS
    if unknown:
        raise ValueError(f"{cls.__name__} has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(names))}")
    wanted = {**USUAL[protocol], **texts}
    if policy:
        kinds = typing.get_type_hints(Policy)
        wanted["policy"] = dataclasses.replace(NO_POLICY, **{key: value_of(policy[key], kinds[key]) for key in policy})
    return cls(**{name: value_of(text, hints[name]) for name, text in wanted.items() if name in names})


def factory(protocol: str, texts: dict[str, str]) -> Callable[[MemoryConnection, Fakes], FakeSession]:
    """What makes the session of each connection of a script."""
    session, resources, settings = classes(protocol)
    chosen = settings_of(settings, protocol, texts)
    names = [field.name for field in dataclasses.fields(resources)]

    def make(connection: MemoryConnection, fakes: Fakes) -> FakeSession:
        made: FakeSession = session(connection, resources(**{name: getattr(fakes, name) for name in names}), chosen)
        return made

    return make


def classes(protocol: str) -> tuple[Any, Any, Any]:
    """Session, resources and settings of a protocol."""
    if protocol == "imap":
        from mailstack.imap.session import ImapResources, ImapSession
        from mailstack.imap.settings import ImapSettings

        return ImapSession, ImapResources, ImapSettings
    if protocol == "pop3":
        from mailstack.pop3.session import Pop3Resources, Pop3Session
        from mailstack.pop3.settings import Pop3Settings

        return Pop3Session, Pop3Resources, Pop3Settings
    from mailstack.smtp.session import SmtpSession
    from mailstack.smtp.settings import SmtpResources, SmtpSettings

    return SmtpSession, SmtpResources, SmtpSettings
