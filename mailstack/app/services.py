"""From a configuration and the resources to what is offered at each listener."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mailstack.config.policy import NO_POLICY, MilterService
from mailstack.config.sections import Config, Listener, MailboxFull, MechanismName, ServiceName, TlsMode
from mailstack.imap.hidden import Hidden
from mailstack.imap.session import ImapSession
from mailstack.imap.settings import ImapResources, ImapSettings
from mailstack.journeys import Journal
from mailstack.mail.address import ascii_domain
from mailstack.net.listener import Service
from mailstack.net.wire_protocol import Session, WireProtocol
from mailstack.pop3.logins import LoginTimes
from mailstack.pop3.session import Pop3Session
from mailstack.pop3.settings import Pop3Resources, Pop3Settings
from mailstack.ports import (
    Accounts,
    Clock,
    Connection,
    Counters,
    Directory,
    Log,
    MailStore,
    Outbound,
    Resolver,
    SendingLimits,
    Spool,
)
from mailstack.smtp.checks.frame import Check
from mailstack.smtp.milter.stream import Dial
from mailstack.smtp.session import SmtpSession
from mailstack.smtp.settings import Rates, Role, SmtpResources, SmtpSettings

if TYPE_CHECKING:
    from mailstack.faults.book import FaultBook

SMTP_BUSY = b"421 4.3.2 %s, try again later\r\n"
IMAP_BUSY = b"* BYE [UNAVAILABLE] %s\r\n"
POP3_BUSY = b"-ERR [SYS/TEMP] %s\r\n"

_SMTP = {
    ServiceName.SMTP: Role.RECEIVE,
    ServiceName.SUBMISSION: Role.SUBMISSION,
    ServiceName.SUBMISSIONS: Role.SUBMISSION,
    ServiceName.LMTP: Role.LMTP,
}
_MILTERS = {
    Role.RECEIVE: MilterService.SMTP,
    Role.SUBMISSION: MilterService.SUBMISSION,
    Role.LMTP: MilterService.LMTP,
}
_IMAP = {ServiceName.IMAP, ServiceName.IMAPS}


class ServiceAccounts(Accounts, Protocol):
    """Who may log in; with some passwords to some services only."""

    def within(self, scope: str) -> Accounts:
        """To one of app_passwords.SCOPES."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Everything that sessions ask, made once a process."""

    store: MailStore
    shared: MailStore
    """The same, with what users share with each other."""
    spool: Spool
    accounts: ServiceAccounts
    directory: Directory
    outbound: Outbound
    log: Log
    counters: Counters
    clock: Clock
    rates: Rates
    resolver: Resolver | None = None
    sending: SendingLimits | None = None
    journal: Journal | None = None
    dial: Dial | None = None
    logins: LoginTimes = field(default_factory=LoginTimes)
    """To POP3."""
    faults: FaultBook | None = None
    """Only in the development mode, and so is the next one."""
    transcripts: Path | None = None
    """Where dialogues are written down."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How strict the mode is: `anybody` is the development mode."""

    anybody: bool = False
    transcripts: Path | None = None
    """In the development mode: where dialogues are written down."""


def service(config: Config, listener: Listener, resources: Resources, manners: Manners) -> Service:
    """What `listener` offers."""
    if listener.service in _SMTP:
        session, busy = _smtp(config, listener, resources, manners), SMTP_BUSY
    elif listener.service in _IMAP:
        session, busy = _imap(config, listener, resources, manners), IMAP_BUSY
    else:
        session, busy = _pop3(config, listener, resources, manners), POP3_BUSY
    return Service(
        name=listener.service.value,
        session=in_development(session, listener, resources),
        busy=busy,
        implicit_tls=listener.tls is TlsMode.IMPLICIT,
        proxy_trusted=listener.proxy_trusted,
        allowed=listener.allowed,
    )


def _mechanisms(config: Config, without: tuple[MechanismName, ...]) -> frozenset[str]:
    """The SASL mechanisms that a service may offer."""
    return frozenset(mechanism.value for mechanism in config.auth.mechanisms if mechanism not in without)


def _hidden(config: Config, listener: Listener) -> tuple[Hidden, ...]:
    """What IMAP does not announce at this listener."""
    everywhere = frozenset(name.upper() for name in (*config.imap.hide_capabilities, *listener.hide_capabilities))
    rules = [Hidden(everywhere)] if everywhere else []
    for rule in config.imap.hide:
        rules.append(Hidden(frozenset(name.upper() for name in rule.capabilities), rule.account, rule.client))
    return tuple(rules)


MakeSession = Callable[[Connection], Session]


def protocol_of(service: ServiceName) -> str:
    """What is spoken there: "smtp", "imap" or "pop3"."""
    if service in _SMTP:
        return "smtp"
    return "imap" if service in _IMAP else "pop3"


def in_development(make: MakeSession, listener: Listener, resources: Resources) -> Callable[[WireProtocol], Session]:
    """The session between which and its true connection faults may happen, and whose dialogue may be written down;
    in production it has neither."""
    faults, directory = resources.faults, resources.transcripts
    if faults is None:
        return make

    def made(connection: WireProtocol) -> Session:
        # Late, as in what follows: the code is loaded when the first client comes, and not in production.
        from mailstack.faults.session import around

        make_faulty = around(make, faults, protocol_of(listener.service), resources.clock, connection)
        return (
            make_faulty(connection) if directory is None else _transcribed(make_faulty, listener, directory, connection)
        )

    return made


def _transcribed(make: MakeSession, listener: Listener, directory: Path, connection: WireProtocol) -> Session:
    from mailstack.transcripts.connection import TranscribedSession

    path = directory / protocol_of(listener.service) / f"{connection.id}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    return TranscribedSession(connection, path, f"{listener.service.value}, {connection.peer.host}", make)


def _fault_checks(connection: Connection) -> Sequence[Check]:
    from mailstack.faults.checks import checks

    return checks(connection)


def _smtp(config: Config, listener: Listener, resources: Resources, manners: Manners) -> MakeSession:
    role = _SMTP[listener.service]
    settings = SmtpSettings(
        hostname=ascii_domain(config.hostname),
        role=role,
        tls_available=listener.tls is TlsMode.STARTTLS,
        auth_required=not manners.anybody,
        allow_plaintext_auth=manners.anybody or not config.auth.require_tls,
        mechanisms=_mechanisms(config, config.smtp.without_mechanisms),
        accept_any=manners.anybody and role is not Role.LMTP,
        bare_newline=config.smtp.bare_newline,
        vrfy=config.smtp.vrfy,
        sender=config.smtp.sender,
        xclient_trusted=config.smtp.xclient_trusted,
        relay_domains=frozenset(map(ascii_domain, config.smtp.relay_domains)),
        etrn_allowed=config.smtp.etrn_allowed,
        policy=NO_POLICY if manners.anybody else config.policy,
        milters=tuple(milter for milter in config.smtp.milters if _MILTERS[role] in milter.services),
        max_size=config.limits.max_message_size,
        max_recipients=config.limits.max_recipients,
        holds=not manners.anybody,
        full_for_good=config.quota.refusal is MailboxFull.PERMANENT,
        command_timeout=config.smtp.timeout,
        message_time=config.smtp.message_time,
    )
    parts = SmtpResources(
        directory=resources.directory,
        accounts=resources.accounts.within("smtp"),
        store=resources.store,
        outbound=resources.outbound,
        spool=resources.spool,
        log=resources.log,
        counters=resources.counters,
        clock=resources.clock,
        rates=resources.rates,
        sending=resources.sending,
        resolver=resources.resolver,
        journal=resources.journal,
        dial=resources.dial,
        more_checks=_fault_checks if resources.faults is not None else None,
        dialogues=manners.anybody,
    )
    return lambda connection: SmtpSession(connection, parts, settings)


def _imap(config: Config, listener: Listener, resources: Resources, manners: Manners) -> MakeSession:
    settings = ImapSettings(
        hostname=config.hostname,
        tls_available=listener.tls is TlsMode.STARTTLS,
        allow_plaintext_auth=manners.anybody or not config.auth.require_tls,
        mechanisms=_mechanisms(config, config.imap.without_mechanisms),
        hidden=_hidden(config, listener),
        max_message_size=config.limits.max_message_size,
        timeout=config.imap.timeout,
        utf8_only=config.imap.utf8_only,
        literal_minus=config.imap.literal_minus,
        message_limit=config.imap.message_limit,
        save_limit=config.imap.save_limit,
        administrators=frozenset(account.lower() for account in config.auth.administrators),
        everybody_administers=manners.anybody,
        admin_contact=f"mailto:{_administrator(config)}",
    )
    parts = ImapResources(
        store=resources.shared,
        spool=resources.spool,
        accounts=resources.accounts.within("imap"),
        log=resources.log,
        counters=resources.counters,
        clock=resources.clock,
    )
    return lambda connection: ImapSession(connection, parts, settings)


def _administrator(config: Config) -> str:
    """Whom to write to: the first administrator, else the postmaster, who is always there."""
    first = config.domains[0].name if config.domains else config.hostname
    return (*config.auth.administrators, f"postmaster@{first}")[0]


def _pop3(config: Config, listener: Listener, resources: Resources, manners: Manners) -> MakeSession:
    settings = Pop3Settings(
        hostname=ascii_domain(config.hostname),
        tls_available=listener.tls is TlsMode.STARTTLS,
        allow_plaintext_auth=manners.anybody or not config.auth.require_tls,
        mechanisms=_mechanisms(config, config.pop3.without_mechanisms),
        timeout=config.pop3.timeout,
        login_delay=config.pop3.login_delay,
        utf8_headers=config.pop3.utf8_headers,
        retention=config.retention,
    )
    parts = Pop3Resources(
        store=resources.store,
        accounts=resources.accounts.within("pop3"),
        log=resources.log,
        counters=resources.counters,
        clock=resources.clock,
        logins=resources.logins,
    )
    return lambda connection: Pop3Session(connection, parts, settings)
