"""Carries messages to other servers, and to mailboxes of ours: the queue's `Carrier`."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from mailstack.handover import Content, HopFailed, Outcome, Transcript, Verdict
from mailstack.names import Resolver
from mailstack.net.hop import HopProtocol, Target
from mailstack.ports import Clock, Counters, Log
from mailstack.queue.carrying import Hop, Pace
from mailstack.queue.items import LOCAL, Waiting
from mailstack.relay.candidates import Candidate, Lookups, Unfit, candidates, for_message, others_first, suits
from mailstack.relay.downgrades import PLAIN, Guard
from mailstack.relay.routes import Destination
from mailstack.relay.settings import Way
from mailstack.relay.tls_notes import Notes
from mailstack.relay.tls_policy import STS, Policies
from mailstack.smtp.client.session import ClientSession
from mailstack.smtp.client.settings import ClientSettings, Downconvert

MAX_TRIED = 10
"""Addresses that are tried in one attempt."""


class Dial(Protocol):
    """Opens connections, as `net.hop.Dialer`."""

    async def connect(self, target: Target) -> HopProtocol:
        """Raises: HopFailed."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a carrier needs of everything else. `ours` are the names of this server."""

    dial: Dial
    resolver: Resolver
    policies: Policies
    ours: Collection[str]
    clock: Clock
    log: Log
    counters: Counters
    notes: Notes
    guard: Guard
    downconvert: Downconvert | None = None


class SmtpHop:
    """Implements `carrying.Hop` over a session of SMTP or LMTP."""

    def __init__(self, session: ClientSession, candidate: Candidate) -> None:
        self._session = session
        self._candidate = candidate

    @property
    def usable(self) -> bool:
        return self._session.usable

    @property
    def offers_require_tls(self) -> bool:
        """Whether the server passes messages on with TLS only (RFC 8689)."""
        return "REQUIRETLS" in self._session.offers

    def suits(self, waiting: Waiting) -> bool:
        require_tls = _requires_tls(waiting)
        return suits(self._candidate, require_tls) and (self.offers_require_tls or not require_tls)

    async def send(self, waiting: Waiting, content: Content, transcript: Transcript) -> Mapping[int, Outcome]:
        self._session.transcript = transcript
        left, found = list(waiting.recipients), dict[int, Outcome]()
        while left:
            try:
                outcomes = await self._session.send(waiting.item.envelope, left, content)
            except HopFailed as failed:
                if not found:
                    raise
                outcomes = dict.fromkeys(left, failed.outcome)
            except Exception as error:
                if not found:
                    raise
                # The others have it. What is wrong is found again in the next attempt, which is for these alone.
                transcript.add(f"-- {error!r}")
                self.abort()
                outcomes = dict.fromkeys(left, _next_time(self._session.mta))
            found.update(outcomes)
            left = [number for number in left if number not in found]
            if left and not self._session.usable:
                found.update(dict.fromkeys(left, _next_time(self._session.mta)))
                break
        return found

    async def close(self) -> None:
        await self._session.quit()

    def abort(self) -> None:
        self._session.abort()


class MailCarrier:
    """Implements `carrying.Carrier`. `way_of` gives the way of a route's name, `local` carries to mailboxes."""

    def __init__(
        self,
        surroundings: Surroundings,
        way_of: Callable[[str], Way],
        local: Callable[[], Hop],
        shuffle: Callable[[list[str]], None] = random.shuffle,
    ) -> None:
        self.way_of = way_of
        self._around = surroundings
        self._local = local
        self._shuffle = shuffle

    def pace(self, destination: str) -> Pace:
        return Pace() if destination == LOCAL else self.way_of(Destination.parse(destination).route).pace

    async def open(self, destination: str, waiting: Waiting, transcript: Transcript) -> Hop:
        if destination == LOCAL:
            return self._local()
        to = Destination.parse(destination)
        way = self.way_of(to.route)
        around = self._around
        lookups = Lookups(around.resolver, around.policies, around.ours, self._shuffle)
        require_tls = _requires_tls(waiting)
        last: HopFailed | None = None
        tried = 0
        async for found in others_first(candidates(to.domain, way, lookups), _broken_down(waiting)):
            if isinstance(found, Unfit):
                transcript.add(f"-- {found.failed.outcome.text}")
                if found.applied is not None and found.failed.tls:
                    host = Target("", host=found.failed.outcome.mta)
                    around.notes.count(found.applied, found.failed.tls, host, found.failed.outcome.text)
                last = _worse(last, found.failed)
                continue
            if tried == MAX_TRIED:
                break
            tried += 1
            try:
                return await self._reach(for_message(found, require_tls), way, transcript, require_tls)
            except HopFailed as failed:
                transcript.add(f"-- {failed.outcome.text}")
                last = _worse(last, failed)
        if last is None:
            raise HopFailed(Outcome(Verdict.LATER, "4.4.4", f"no server is known for {to.domain}", remote=False))
        raise _for_good(last) if require_tls and last.tls not in ("", "dnssec-invalid") else last

    async def _reach(self, candidate: Candidate, way: Way, transcript: Transcript, require_tls: bool) -> SmtpHop:
        """A session with this host; without TLS if TLS fails that nobody demands. Raises: HopFailed."""
        around = self._around
        try:
            hop = await self._session(candidate, way, transcript)
        except HopFailed as failed:
            demand = candidate.demand
            if failed.tls and candidate.applied is not None:
                around.notes.count(candidate.applied, failed.tls, candidate.target, failed.outcome.text)
            if not failed.tls or demand is None or demand.required:
                raise
            around.counters.count("outbound_tls", "failed")
            around.log.event(
                "TLS failed, going on without", mta=failed.outcome.mta, reason=failed.outcome.text, kind=failed.tls
            )
            await around.guard.judge(candidate.target.host, PLAIN, failed.outcome.text)
            transcript.add(f"-- {failed.outcome.text}; once more without TLS")
            return await self._session(replace(candidate, demand=None, applied=None), way, transcript)
        if require_tls and not hop.offers_require_tls:
            await hop.close()
            text = "REQUIRETLS: the server does not offer it"
            raise HopFailed(Outcome(Verdict.NEVER, "5.7.30", text, candidate.target.host, remote=False))
        return hop

    async def _session(self, candidate: Candidate, way: Way, transcript: Transcript) -> SmtpHop:
        around, target = self._around, candidate.target
        transcript.add(f"-- connecting to {target}")
        connection = await around.dial.connect(target)
        settings = ClientSettings(
            hostname=way.helo, lmtp=way.lmtp, implicit_tls=candidate.implicit, login=way.login,
            downconvert=around.downconvert,
        )  # fmt: skip
        session = ClientSession(connection, settings, around.clock, transcript)
        await session.open(candidate.demand)
        tls = "none" if connection.tls is None else "verified" if connection.tls_verified else "unverified"
        around.counters.count("outbound_tls", tls)
        if connection.tls_resumed:
            around.counters.count("outbound_tls_resumed")
        self._note(candidate, connection)
        if candidate.demand is not None:
            try:
                await around.guard.look(connection)
            except HopFailed:
                await session.quit()
                raise
        return SmtpHop(session, candidate)

    def _note(self, candidate: Candidate, connection: HopProtocol) -> None:
        """For the report on TLS: a session that has begun."""
        applied, problem = candidate.applied, connection.tls_problem
        if applied is None or candidate.demand is None:
            return
        failed, reason = "", ""
        if connection.tls is None:
            failed = "starttls-not-supported"
        elif applied.kind == STS and candidate.misnamed:
            failed, reason = "validation-failure", candidate.misnamed
        elif applied.kind == STS and problem is not None:
            failed, reason = problem.kind, str(problem)
        self._around.notes.count(applied, failed, candidate.target, reason)


def _broken_down(waiting: Waiting) -> frozenset[str]:
    """Hosts that took the message up in the last attempt, and then went away, fell silent or had trouble of their own:
    another of the domain's may be well (RFC 5321 §5.1: each is tried until one takes it). Who only wants it later, as
    in greylisting, is asked again."""
    return frozenset(
        outcome.mta
        for outcome in waiting.last.values()
        if outcome.mta and (not outcome.remote or outcome.status.startswith("4.3.") or outcome.text.startswith("421"))
    )


def _requires_tls(waiting: Waiting) -> bool:
    """Whether it may go over verified TLS only. A report need not: better that it arrives (RFC 8689 §4.2.1, §5)."""
    envelope = waiting.item.envelope
    return envelope.parameters.require_tls and envelope.sender is not None


def _for_good(failed: HopFailed) -> HopFailed:
    """Without TLS as it has to be, the sender hears of it at once (RFC 8689 §4.2.1)."""
    return HopFailed(replace(failed.outcome, verdict=Verdict.NEVER, status="5.7.10"), tls=failed.tls)


def _worse(before: HopFailed | None, failed: HopFailed) -> HopFailed:
    """Which of two says more of a destination: while one host may take it later, nothing is final."""
    if before is not None and before.outcome.verdict is Verdict.LATER and failed.outcome.verdict is Verdict.NEVER:
        return before
    return failed


def _next_time(mta: str) -> Outcome:
    text = "the server takes no more recipients on this connection"
    return Outcome(Verdict.LATER, "4.5.3", text, mta, remote=False)
