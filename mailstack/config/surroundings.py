"""Whether what a configuration names is there: files, certificates, directories, users. Reads the
system; `combinations` does not. Uses os.path.exists, which is false where we may not look; Path's own raises."""

from __future__ import annotations

import grp
import os
import pwd
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mailstack.config.combinations import Mistake
from mailstack.config.sections import Config

ACME_MISSING = "needs the package acme: pip install 'mailstack[acme]'"


@dataclass(frozen=True, slots=True)
class Someone:
    """The system account that a server started by root becomes."""

    name: str
    uid: int
    gids: frozenset[int]

    def may(self, path: Path, wanted: int) -> bool:
        """Whether it may do this (os.R_OK and its like) by the modes of the file and of all directories
        above it. Access control lists are not looked at."""
        real = path.resolve()
        return self._mode_allows(real, wanted) and all(self._mode_allows(above, os.X_OK) for above in real.parents)

    def _mode_allows(self, path: Path, wanted: int) -> bool:
        status = path.stat()
        shift = 6 if status.st_uid == self.uid else 3 if status.st_gid in self.gids else 0
        return status.st_mode >> shift & wanted == wanted


class Whoever:
    """The account that asks now."""

    name = "this user"

    def may(self, path: Path, wanted: int) -> bool:
        return os.access(path, wanted)


def missing(config: Config) -> tuple[Mistake, ...]:
    """What would keep a server with this configuration from starting on this machine. Asked by root,
    files are looked at as the account sees them that the server becomes."""
    unknown = tuple(_users(config))
    who = Whoever() if unknown or os.getuid() != 0 or not config.user else _someone(config)
    return (*_certificates(config, who), *_extras(config), *_files(config, who), *unknown, *_directories(config, who))


def _someone(config: Config) -> Someone:
    entry = pwd.getpwnam(config.user)
    gid = grp.getgrnam(config.group).gr_gid if config.group else entry.pw_gid
    return Someone(config.user, entry.pw_uid, frozenset(os.getgrouplist(config.user, gid)))


def _certificates(config: Config, who: Someone | Whoever) -> Iterator[Mistake]:
    for number, pair in enumerate(config.tls.certificates, 1):
        place = f"[[tls.certificates]] number {number}"
        pairs = (("cert", pair.cert), ("key", pair.key))
        unreadable = [(key, path) for key, path in pairs if not os.path.isfile(path) or not who.may(path, os.R_OK)]
        for key, path in unreadable:
            yield Mistake(f"{place}, {key}", f"{path} is not there, or not readable for {who.name}")
        if unreadable:
            continue
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pair.cert, pair.key, password="")
        except ssl.SSLError as error:
            reason = error.reason or "not PEM"
            yield Mistake(place, f"{pair.cert} and {pair.key} are not a certificate and its unencrypted key ({reason})")


def _extras(config: Config) -> Iterator[Mistake]:
    if config.acme.is_on and find_spec("acme") is None:
        yield Mistake("[acme]", ACME_MISSING)


def _files(config: Config, who: Someone | Whoever) -> Iterator[Mistake]:
    named = (
        ("[tls] client_ca", config.tls.client_ca),
        ("[acme] ca", config.acme.ca),
        ("[oauth] keys", config.oauth.keys),
        ("[oauth] introspection_secret", config.oauth.introspection_secret),
        ("[forwarding] secrets", config.forwarding.secrets),
    )
    for place, path in named:
        if path is not None and (not os.path.isfile(path) or not who.may(path, os.R_OK)):
            yield Mistake(place, f"{path} is not there, or not readable for {who.name}")


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


def _directories(config: Config, who: Someone | Whoever) -> Iterator[Mistake]:
    wanted = [("data", config.data)]
    if config.log.file is not None:
        wanted.append(("[log] file", config.log.file.parent))
    for place, directory in wanted:
        if os.path.exists(directory) and not os.path.isdir(directory):
            yield Mistake(place, f"{directory} is not a directory")
        elif os.path.exists(directory) and not who.may(directory, os.R_OK | os.W_OK | os.X_OK):
            yield Mistake(place, f"{who.name} may not write in {directory}")
        elif not os.path.exists(directory) and not os.access(_nearest(directory), os.W_OK):
            yield Mistake(place, f"{directory} is not there and this user cannot make it")
    accounts = config.accounts_database
    if os.path.exists(accounts) and not who.may(accounts, os.R_OK | os.W_OK):
        yield Mistake("accounts", f"{who.name} may not read and write {accounts}")


def _nearest(directory: Path) -> Path:
    """The closest directory above it that exists."""
    return next(parent for parent in directory.absolute().parents if os.path.exists(parent))
