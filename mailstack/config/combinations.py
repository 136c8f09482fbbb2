"""What cannot be in one configuration, although each value by itself may. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from mailstack.config.acme import Acme
from mailstack.config.outgoing import Carriage, OutboundTls, Route
from mailstack.config.policy import milter_place
from mailstack.config.sections import IMPLICIT_TLS_SERVICES, USUAL_PORTS, Config, Listener, ServiceName, TlsMode
from mailstack.config.units import Unexpected, duration
from mailstack.mail.address import ascii_domain
from mailstack.mail.mta_sts import MAX_AGE
from mailstack.names import BadServer, NameServer

MAX_PORT = 65535
NEVER_HIDDEN = frozenset({"IMAP4REV1", "STARTTLS", "LOGINDISABLED", "AUTH"})
"""What CAPABILITY must say (RFC 9051 §6.1.1, §7.2.2); mechanisms have keys of their own."""
_SHA256 = re.compile(r"(?:[0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}")
_LABEL = r"(?!-)(?:[A-Za-z0-9_-]|[^\x00-\x7f]){1,63}(?<!-)"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_HOST = re.compile(r"unix:/.+|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?|[^:\[\]\s]+(?::[0-9]{1,5})?")
"""A next hop: a name or address, with a port or without, or a unix socket."""
_LISTED = 5
"""Listeners that are named in one message."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One error: its `place` as "[limits] connections", "" for the whole file, and what is wrong."""

    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" if self.place else self.text


def mistakes(config: Config) -> tuple[Mistake, ...]:
    """Everything that is impossible, and everything out of range."""
    return (
        *_names(config),
        *_domains(config),
        *_listeners(config),
        *_duplicate_ports(config),
        *_certificates(config),
        *_acme(config),
        *_logins(config),
        *_client_certificates(config),
        *_oauth(config),
        *_forwarding(config),
        *_hidden(config),
        *_ranges(config),
        *_quotas(config),
        *_retention(config),
        *_administrators(config),
        *_policy(config),
        *_dns(config),
        *_outbound(config),
        *_mta_sts(config),
        *_milters(config),
    )


def _names(config: Config) -> Iterator[Mistake]:
    if not _DOMAIN.fullmatch(config.hostname):
        yield Mistake("hostname", f'expected a host name as "mail.example.org", not "{config.hostname}"')
    if config.group and not config.user:
        yield Mistake("group", "set without user, so it would have no effect")


def _domains(config: Config) -> Iterator[Mistake]:
    if not config.domains:
        yield Mistake("domains", "none; at least one [[domains]] with a name is needed")
    seen: set[str] = set()
    for number, domain in enumerate(config.domains, 1):
        place = f"[[domains]] number {number}"
        if not _DOMAIN.fullmatch(domain.name):
            yield Mistake(f"{place}, name", f'expected a domain as "example.org", not "{domain.name}"')
        elif domain.name.lower() in seen:
            yield Mistake(f"{place}, name", f"{domain.name} is there twice")
        seen.add(domain.name.lower())
        if len(domain.plus_delimiter) > 1 or domain.plus_delimiter in tuple("@. "):
            yield Mistake(f"{place}, plus_delimiter", 'expected one character as "+", or "" for none')
        for key, account in (("postmaster", domain.postmaster), ("catch_all", domain.catch_all)):
            if account and not all(account.rpartition("@")[::2]):
                yield Mistake(f"{place}, {key}", f'expected an account as "alice@{domain.name}", not "{account}"')


def _listeners(config: Config) -> Iterator[Mistake]:
    if not config.listeners:
        yield Mistake("listeners", 'none; at least one [[listeners]] with a service as "smtp" is needed')
    for number, listener in enumerate(config.listeners, 1):
        place = f"[[listeners]] number {number}"
        if not 0 <= listener.port <= MAX_PORT:
            yield Mistake(f"{place}, port", f"expected 0 to {MAX_PORT}, not {listener.port}")
        if _address(listener.address) is None:
            yield Mistake(
                f"{place}, address", f'expected an IP address as "::" or "127.0.0.1", not "{listener.address}"'
            )
        yield from _lmtp(listener, place)
        implicit = listener.service in IMPLICIT_TLS_SERVICES
        if implicit and listener.tls is not TlsMode.IMPLICIT:
            yield Mistake(f"{place}, tls", f'{listener.service.value} is "implicit" by its very name')
        if not implicit and listener.tls is TlsMode.IMPLICIT:
            better = "submissions" if listener.service is ServiceName.SUBMISSION else f"{listener.service.value}s"
            known = better in {service.value for service in ServiceName}
            hint = f'use service "{better}"' if known else "SMTP on port 25 and LMTP have STARTTLS only"
            yield Mistake(f"{place}, tls", f"{listener.service.value} cannot begin with TLS; {hint}")


def _lmtp(listener: Listener, place: str) -> Iterator[Mistake]:
    """Who hands over by LMTP is believed: no stranger may."""
    if listener.service is not ServiceName.LMTP:
        if listener.unix:
            yield Mistake(f"{place}, unix", f"only lmtp listens at a unix socket, not {listener.service.value}")
        return
    if listener.unix and not listener.unix.startswith("/"):
        yield Mistake(f"{place}, unix", f'expected an absolute path as "/run/mailstack/lmtp", not "{listener.unix}"')
    if listener.port == USUAL_PORTS[ServiceName.SMTP] and not listener.unix:
        yield Mistake(f"{place}, port", "25 is SMTP's, and LMTP must not be there (RFC 2033 §5)")
    if not (listener.unix or listener.allowed or _is_loopback(listener)):
        yield Mistake(f"{place}, allowed", "lmtp outside of loopback needs the networks of those who may use it")


def _duplicate_ports(config: Config) -> Iterator[Mistake]:
    seen: dict[tuple[int, object], int] = {}
    sockets: dict[str, int] = {}
    for number, listener in enumerate(config.listeners, 1):
        place = f"[[listeners]] number {number}"
        if listener.socket:
            if listener.socket in sockets:
                yield Mistake(
                    f"{place}, socket", f'"{listener.socket}" is that of number {sockets[listener.socket]} too'
                )
            sockets.setdefault(listener.socket, number)
        address = _address(listener.address)
        if listener.port == 0 or address is None or listener.unix:
            continue
        for (port, other), first in seen.items():
            if port == listener.port and _overlap(address, other):
                yield Mistake(f"{place}, port", f"{listener.address} port {port} is taken by number {first} already")
                break
        seen.setdefault((listener.port, address), number)


def _certificates(config: Config) -> Iterator[Mistake]:
    if config.tls.certificates or config.acme.is_on:
        return
    wanting = [listener.service.value for listener in config.listeners if listener.tls is not TlsMode.NONE]
    if wanting:
        who = ", ".join(wanting[:_LISTED]) + (", …" if len(wanting) > _LISTED else "")
        hint = 'add one, get one by [acme], or set their tls = "none"'
        yield Mistake("[tls] certificates", f"none, but these listeners use TLS ({who}); {hint}")


def _acme(config: Config) -> Iterator[Mistake]:
    acme = config.acme
    if not acme.is_on:
        if acme != Acme():
            yield Mistake("[acme] agree_to_terms", "expected true: without it nothing of [acme] has an effect")
        return
    for host in acme.certified(config.hostname):
        place = "[acme] hosts" if acme.hosts else "hostname"
        if not _DOMAIN.fullmatch(host) or _address(host) is not None:
            yield Mistake(place, f'expected host names as "mail.example.org", not "{host}"')
    if not _is_private_url(acme.directory):
        yield Mistake("[acme] directory", f'expected https://..., or http://... on loopback, not "{acme.directory}"')
    if acme.email and not all(acme.email.rpartition("@")[::2]):
        yield Mistake("[acme] email", f'expected an address as "postmaster@example.org", not "{acme.email}"')
    if not 0.1 <= acme.renew_after <= 0.95:
        yield Mistake("[acme] renew_after", f"expected 0.1 to 0.95, not {acme.renew_after}")
    address = _address(acme.address)
    if address is None:
        yield Mistake("[acme] address", f'expected an IP address as "::" or "127.0.0.1", not "{acme.address}"')
    if not 0 <= acme.challenge_port <= MAX_PORT:
        yield Mistake("[acme] port", f"expected 0 to {MAX_PORT}, not {acme.challenge_port}")
    for number, listener in enumerate(config.listeners, 1):
        other = _address(listener.address)
        taken = listener.port == acme.challenge_port != 0 and not listener.unix
        if taken and address is not None and other is not None and _overlap(address, other):
            yield Mistake("[acme] port", f"{acme.challenge_port} is taken by [[listeners]] number {number} already")


def _logins(config: Config) -> Iterator[Mistake]:
    if not config.auth.mechanisms:
        yield Mistake("[auth] mechanisms", "none; nobody could log in")
    for number, listener in enumerate(config.listeners, 1):
        place = f"[[listeners]] number {number}, tls"
        if listener.service in (ServiceName.SMTP, ServiceName.LMTP):
            continue
        if config.auth.require_tls and listener.tls is TlsMode.NONE:
            yield Mistake(place, "nobody could log in: [auth] require_tls is true and this listener has no TLS")
        if not config.auth.require_tls and listener.tls is not TlsMode.IMPLICIT and not _is_loopback(listener):
            yield Mistake(
                "[auth] require_tls",
                f"false would send passwords in plain text over the network (listener number {number}, "
                f"{listener.service.value}, {listener.address}); only listeners on loopback may",
            )


def _client_certificates(config: Config) -> Iterator[Mistake]:
    certificates = config.auth.certificates
    if certificates and config.tls.client_ca is None:
        yield Mistake("[[auth.certificates]]", "without effect: [tls] client_ca is not set")
    for number, certificate in enumerate(certificates, 1):
        place = f"[[auth.certificates]] number {number}"
        if not _SHA256.fullmatch(certificate.sha256):
            yield Mistake(f"{place}, sha256", f'expected 64 hexadecimal digits, not "{certificate.sha256}"')
        if not all(certificate.account.rpartition("@")[::2]):
            yield Mistake(
                f"{place}, account", f'expected an account as "alice@example.org", not "{certificate.account}"'
            )


def _oauth(config: Config) -> Iterator[Mistake]:
    oauth = config.oauth
    if oauth.keys is not None and not oauth.audience:
        yield Mistake("[oauth] audience", "needed with keys: else a token for another service would do here")
    if oauth.introspection_url and not _is_private_url(oauth.introspection_url):
        yield Mistake("[oauth] introspection_url", "expected https://..., or http://... on loopback: tokens go there")
    if not oauth.account_claim:
        yield Mistake("[oauth] account_claim", 'expected the name of a claim, as "email"')
    if oauth.introspection_timeout <= 0:
        yield Mistake("[oauth] introspection_timeout", f"expected more than 0, not {oauth.introspection_timeout}")
    if oauth.leeway < 0:
        yield Mistake("[oauth] leeway", f"expected 0 or more, not {oauth.leeway}")
    if bool(oauth.introspection_client) is not (oauth.introspection_secret is not None):
        yield Mistake("[oauth] introspection_secret", "introspection_client and introspection_secret go together")


def _is_private_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        url.port  # noqa: B018  # raises ValueError for one that is none
    except ValueError:
        return False
    if url.scheme == "https" and url.hostname:
        return True
    address = _address(url.hostname or "")
    return url.scheme == "http" and (url.hostname == "localhost" or (address is not None and address.is_loopback))


def _hidden(config: Config) -> Iterator[Mistake]:
    places = [("[imap] hide_capabilities", config.imap.hide_capabilities)]
    for number, listener in enumerate(config.listeners, 1):
        places.append((f"[[listeners]] number {number}, hide_capabilities", listener.hide_capabilities))
    for number, rule in enumerate(config.imap.hide, 1):
        places.append((f"[[imap.hide]] number {number}, capabilities", rule.capabilities))
        if not rule.account or not rule.client:
            yield Mistake(
                f"[[imap.hide]] number {number}", 'expected a name or a pattern as "*" for account and client'
            )
    for place, names in places:
        for name in names:
            if name.upper().partition("=")[0] in NEVER_HIDDEN:
                yield Mistake(place, f"{name} cannot be hidden: clients could not know how to go on")


def _ranges(config: Config) -> Iterator[Mistake]:
    limits, auth = config.limits, config.auth
    positive = (
        ("[limits] max_message_size", limits.max_message_size),
        ("[limits] max_recipients", limits.max_recipients),
        ("[limits] connections", limits.connections),
        ("[limits] connections_per_address", limits.connections_per_address),
        ("[auth] failures_per_address", auth.failures_per_address),
        ("[auth] failures_per_account", auth.failures_per_account),
        ("[auth] failure_window", auth.failure_window),
        ("[smtp] timeout", config.smtp.timeout),
        ("[dns] timeout", config.dns.timeout),
        ("[smtp] message_time", config.smtp.message_time),
        ("[imap] timeout", config.imap.timeout),
        ("[pop3] timeout", config.pop3.timeout),
    )
    for place, value in positive:
        if value <= 0:
            yield Mistake(place, f"expected more than 0, not {value}")
    if config.metrics.port is not None and not 0 <= config.metrics.port <= MAX_PORT:
        yield Mistake("[metrics] port", f"expected 0 to {MAX_PORT}, not {config.metrics.port}")
    if _address(config.metrics.address) is None:
        yield Mistake("[metrics] address", f'expected an IP address as "127.0.0.1", not "{config.metrics.address}"')


def _quotas(config: Config) -> Iterator[Mistake]:
    places = [("[quota] messages", config.quota.messages)]
    for number, domain in enumerate(config.domains, 1):
        places.append((f"[[domains]] number {number}, quota_messages", domain.quota_messages or 0))
    for place, value in places:
        if value < 0:
            yield Mistake(place, f"expected 0 or more, not {value}")


def _retention(config: Config) -> Iterator[Mistake]:
    for number, rule in enumerate(config.retention, 1):
        place = f"[[retention]] number {number}"
        for key, value in (("days", rule.days), ("messages", rule.messages)):
            if value < 0:
                yield Mistake(f"{place}, {key}", f"expected 0 or more, not {value}")
        if not rule.days and not rule.messages:
            yield Mistake(place, "expires nothing; say days, messages or both")
        if not rule.mailbox or not rule.account:
            yield Mistake(place, 'expected a name or a pattern as "*" for mailbox and account, not ""')


def _administrators(config: Config) -> Iterator[Mistake]:
    for account in config.auth.administrators:
        if not all(account.rpartition("@")[::2]):
            yield Mistake("[auth] administrators", f'expected accounts as "postmaster@example.org", not "{account}"')


def _policy(config: Config) -> Iterator[Mistake]:
    for name, section in (("policy", config.policy), ("sending", config.sending), ("reports", config.reports)):
        for key in fields(section):
            value = getattr(section, key.name)
            if isinstance(value, int) and value < 0:
                yield Mistake(f"[{name}] {key.name}", f"expected 0 or more, not {value}")
    if config.reports.suppress_after == 0:
        yield Mistake("[reports] suppress_after", "expected 1 or more, not 0")
    for account in config.sending.unlimited:
        if not all(account.rpartition("@")[::2]) or account != account.lower():
            yield Mistake("[sending] unlimited", f'expected accounts as "news@example.org", not "{account}"')


def _dns(config: Config) -> Iterator[Mistake]:
    for server in config.dns.servers:
        try:
            NameServer.parse(server)
        except BadServer as error:
            yield Mistake("[dns] servers", str(error))
    if config.dns.cache_entries < 0:
        yield Mistake("[dns] cache_entries", f"expected 0 or more, not {config.dns.cache_entries}")


def _forwarding(config: Config) -> Iterator[Mistake]:
    domain = config.forwarding.domain
    if domain and ascii_domain(domain) not in {ascii_domain(section.name) for section in config.domains}:
        yield Mistake("[forwarding] domain", f'expected one of [[domains]], not "{domain}"')


def _outbound(config: Config) -> Iterator[Mistake]:
    outbound = config.outbound
    for text in outbound.retry:
        try:
            duration(text)
        except Unexpected as error:
            yield Mistake("[outbound] retry", str(error))
    if not outbound.retry:
        yield Mistake("[outbound] retry", 'expected times as ["5 min", "1 h"]')
    for key, least in (
        ("connections", 1),
        ("connections_per_destination", 1),
        ("messages_per_connection", 0),
        ("port", 1),
        ("mta_sts_port", 1),
    ):
        if getattr(outbound, key) < least:
            yield Mistake(f"[outbound] {key}", f"expected {least} or more, not {getattr(outbound, key)}")
    yield from _sources("[outbound] source", outbound.source)
    if outbound.tls is OutboundTls.IMPLICIT:
        yield Mistake("[outbound] tls", "servers that DNS names have STARTTLS only; implicit is for [[routes]]")
    names: set[str] = set()
    for number, route in enumerate(config.routes, 1):
        yield from _route(route, f"[[routes]] number {number}")
        name = route.name or f"route{number}"
        if name in names:
            yield Mistake(f"[[routes]] number {number}, name", f"{name} is there twice")
        names.add(name)


def _mta_sts(config: Config) -> Iterator[Mistake]:
    settings = config.mta_sts
    if not 0 <= settings.max_age <= MAX_AGE:
        yield Mistake("[mta_sts] max_age", f"expected up to {MAX_AGE} seconds, about a year")
    for host in settings.mx:
        if not _DOMAIN.fullmatch(host.removeprefix("*.")):
            yield Mistake("[mta_sts] mx", f'expected a host as "mx.example.org" or "*.example.org", not "{host}"')


def _route(route: Route, place: str) -> Iterator[Mistake]:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{0,40}", route.name):
        yield Mistake(f"{place}, name", f'expected letters, digits, ".", "-" and "_", not "{route.name}"')
    if not (route.domains or route.senders or route.accounts or route.hosts):
        yield Mistake(place, "neither a condition nor hosts, so it would have no effect")
    for key in ("hosts", "proxy"):
        for text in route.hosts if key == "hosts" else (route.proxy,) if route.proxy else ():
            if not _HOST.fullmatch(text):
                yield Mistake(f"{place}, {key}", f'expected a server as "smtp.example.net:587", not "{text}"')
    yield from _sources(f"{place}, source", route.source)
    if bool(route.user) != bool(route.password):
        yield Mistake(f"{place}, user", "user and password go together")
    if route.user and route.tls in (OutboundTls.NONE, OutboundTls.OPPORTUNISTIC):
        yield Mistake(f"{place}, tls", f'"{route.tls.value}" would send the password in plain text')
    if not route.hosts and (route.protocol is Carriage.LMTP or route.tls is OutboundTls.IMPLICIT or route.user):
        yield Mistake(f"{place}, hosts", "none; servers that DNS names speak SMTP on port 25, without login")
    if bool(route.client_certificate) != bool(route.client_key):
        yield Mistake(f"{place}, client_certificate", "client_certificate and client_key go together")


def _sources(place: str, sources: tuple[str, ...]) -> Iterator[Mistake]:
    for text in sources:
        if _address(text) is None:
            yield Mistake(place, f'expected IP addresses of this machine, not "{text}"')
    if len({":" in text for text in sources}) < len(sources):
        yield Mistake(place, "one address of IPv4 and one of IPv6 at most")


def _milters(config: Config) -> Iterator[Mistake]:
    seen: set[str] = set()
    for number, milter in enumerate(config.smtp.milters, 1):
        place = f"[[smtp.milters]] number {number}"
        if not milter.name or milter.name in seen:
            yield Mistake(f"{place}, name", f'expected a name of its own, not "{milter.name}"')
        seen.add(milter.name)
        try:
            milter_place(milter.address)
        except ValueError:
            expected = 'expected "127.0.0.1:8891", "[::1]:8891" or "unix:/run/opendkim/socket"'
            yield Mistake(f"{place}, address", f'{expected}, not "{milter.address}"')
        if not milter.services:
            yield Mistake(f"{place}, services", "none, so that it would see no mail")
        for key in ("connect_timeout", "command_timeout", "message_timeout"):
            if getattr(milter, key) <= 0:
                yield Mistake(f"{place}, {key}", f"expected more than 0, not {getattr(milter, key)}")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _overlap(one: IPv4Address | IPv6Address, other: object) -> bool:
    """Whether both cannot be bound at one port: "::" takes IPv4 as well, "0.0.0.0" all of IPv4."""
    if one == other:
        return True
    pair = (one, other)
    everything = any(isinstance(address, IPv6Address) and address.is_unspecified for address in pair)
    all_of_4 = any(isinstance(address, IPv4Address) and address.is_unspecified for address in pair)
    return everything or (all_of_4 and all(isinstance(address, IPv4Address) for address in pair))


def _is_loopback(listener: Listener) -> bool:
    address = _address(listener.address)
    return address is not None and address.is_loopback
