"""Whether what a configuration names is there: files, certificates, directories, users. Reads the
system; `combinations` does not."""

from __future__ import annotations

import grp
import os
import pwd
import ssl
from collections.abc import Iterator
from pathlib import Path

from mailstack.config.combinations import Mistake
from mailstack.config.sections import Config


def missing(config: Config) -> tuple[Mistake, ...]:
    """What would keep a server with this configuration from starting on this machine."""
    return (*_certificates(config), *_users(config), *_directories(config))


def _certificates(config: Config) -> Iterator[Mistake]:
    for number, pair in enumerate(config.tls.certificates, 1):
        place = f"[[tls.certificates]] number {number}"
        unreadable = [(key, path) for key, path in (("cert", pair.cert), ("key", pair.key)) if not _readable(path)]
        for key, path in unreadable:
            yield Mistake(f"{place}, {key}", f"{path} is not there, or not readable for this user")
        if unreadable:
            continue
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pair.cert, pair.key, password="")
        except ssl.SSLError as error:
            reason = error.reason or "not PEM"
            yield Mistake(place, f"{pair.cert} and {pair.key} are not a certificate and its unencrypted key ({reason})")


def _users(config: Config) -> Iterator[Mistake]:
    try:
        if config.user:
            pwd.getpwnam(config.user)
    except KeyError:
        yield Mistake("user", f"there is no account {config.user} on this machine")
    try:
        if config.group:
            grp.getgrnam(config.group)
    except KeyError:
        yield Mistake("group", f"there is no group {config.group} on this machine")


def _directories(config: Config) -> Iterator[Mistake]:
    wanted = [("data", config.data)]
    if config.log.file is not None:
        wanted.append(("[log] file", config.log.file.parent))
    for place, directory in wanted:
        if directory.exists() and not directory.is_dir():
            yield Mistake(place, f"{directory} is not a directory")
        elif not directory.exists() and not os.access(_nearest(directory), os.W_OK):
            yield Mistake(place, f"{directory} is not there and this user cannot make it")


def _nearest(directory: Path) -> Path:
    """The closest directory above it that exists."""
    return next(parent for parent in directory.absolute().parents if parent.exists())


def _readable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.R_OK)
