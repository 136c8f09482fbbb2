"""From a configuration to the ways of logging in that it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mailstack.auth.accounts import Tokens, Ways
from mailstack.auth.bad_keys import BadKeys
from mailstack.config.sections import Config, MechanismName, OAuth, ScramOffer
from mailstack.ports import Log


def ways(config: Config, reactor: Any, log: Log) -> Ways:
    """Raises: BadKeys."""
    try:
        return _ways(config, reactor, log)
    except OSError as error:
        raise BadKeys(f"{error.filename}: {error.strerror}") from error


def _ways(config: Config, reactor: Any, log: Log) -> Ways:
    names = {mechanism.value for mechanism in config.auth.mechanisms}
    tokens = bool(names & {"OAUTHBEARER", "XOAUTH2"}) and config.oauth.is_configured
    return Ways(
        scram=scram_of(config),
        scram_always=config.auth.scram is ScramOffer.ALWAYS,
        tokens=_tokens(config.oauth, reactor, log) if tokens else None,
        certificate=_certificates(config) if "EXTERNAL" in names and config.tls.client_ca is not None else None,
    )


def scram_of(config: Config) -> frozenset[str]:
    """The SCRAM mechanisms, without -PLUS, that keys are kept for."""
    return frozenset(
        mechanism.value.removesuffix("-PLUS")
        for mechanism in config.auth.mechanisms
        if mechanism in _SCRAM
    )  # fmt: skip


_SCRAM = {name for name in MechanismName if name.value.startswith("SCRAM-")}


def _tokens(oauth: OAuth, reactor: Any, log: Log) -> Tokens:
    # Late: HTTP and JWT take their time to import, and few use them.
    from mailstack.auth import tokens

    return tokens.Tokens(oauth, _introspection(oauth, reactor, log) if oauth.introspection_url else None)


def _introspection(oauth: OAuth, reactor: Any, log: Log) -> Any:
    from mailstack.net.introspection import Introspection

    secret = ""
    if oauth.introspection_secret is not None:
        secret = first_line(oauth.introspection_secret)
    return Introspection(
        reactor, log, oauth.introspection_url, oauth.introspection_client, secret, oauth.introspection_timeout
    )


def first_line(path: Path) -> str:
    """What a file of one secret says. Raises: BadKeys, OSError."""
    try:
        return path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except UnicodeDecodeError as error:
        raise BadKeys(f"{path}: not UTF-8") from error


def _certificates(config: Config) -> Any:
    from mailstack.auth.certificates import CertificateNames

    return CertificateNames(
        {each.sha256.replace(":", "").lower(): each.account.lower() for each in config.auth.certificates}
    )
