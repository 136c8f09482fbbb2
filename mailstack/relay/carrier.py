"""Carries messages to other servers, and to mailboxes of ours: the queue's `Carrier`."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from mailstack.handover import Certainty, Content, HopFailed, Outcome, Transcript, Verdict
from mailstack.names import Resolver
from mailstack.net.hop import HopProtocol, Target
from mailstack.ports import Clock, Counters, Log
from mailstack.queue.carrying import Hop, Pace
from mailstack.queue.items import LOCAL, Waiting
from mailstack.relay.candidates import Candidate, Lookups, candidates, for_message
from mailstack.relay.routes import Destination
from mailstack.relay.settings import Way
from mailstack.relay.tls_policy import Policies
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
    downconvert: Downconvert | None = None


class SmtpHop:
    """Implements `carrying.Hop` over a session of SMTP or LMTP."""

    def __init__(self, session: ClientSession, candidate: Candidate) -> None:
        self._session = session
        self._candidate = candidate

    @property
    def usable(self) -> bool:
        return self._session.usable

    def suits(self, waiting: Waiting) -> bool:
        if not waiting.item.envelope.parameters.require_tls:
            return True
        demand = self._candidate.demand
        return demand is not None and demand.required and demand.certainty is not Certainty.NONE

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
        last: HopFailed | None = None
        tried = 0
        async for found in candidates(to.domain, way, lookups):
            if isinstance(found, HopFailed):
                transcript.add(f"-- {found.outcome.text}")
                last = _worse(last, found)
                continue
            if tried == MAX_TRIED:
                break
            tried += 1
            try:
                candidate = for_message(found, waiting.item.envelope.parameters.require_tls)
                return await self._reach(candidate, way, transcript)
            except HopFailed as failed:
                transcript.add(f"-- {failed.outcome.text}")
                last = _worse(last, failed)
        raise last or HopFailed(Outcome(Verdict.LATER, "4.4.4", f"no server is known for {to.domain}", remote=False))

    async def _reach(self, candidate: Candidate, way: Way, transcript: Transcript) -> SmtpHop:
        """A session with this host; without TLS if TLS fails that nobody demands. Raises: HopFailed."""
        try:
            return await self._session(candidate, way, transcript)
        except HopFailed as failed:
            demand = candidate.demand
            if not failed.tls or demand is None or demand.required:
                raise
            around = self._around
            around.counters.count("outbound_tls", "failed")
            around.log.event(
                "TLS failed, going on without", mta=failed.outcome.mta, reason=failed.outcome.text, kind=failed.tls
            )
            transcript.add(f"-- {failed.outcome.text}; once more without TLS")
            return await self._session(Candidate(candidate.target, None), way, transcript)

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
        return SmtpHop(session, candidate)


def _worse(before: HopFailed | None, failed: HopFailed) -> HopFailed:
    """Which of two says more of a destination: while one host may take it later, nothing is final."""
    if before is not None and before.outcome.verdict is Verdict.LATER and failed.outcome.verdict is Verdict.NEVER:
        return before
    return failed


def _next_time(mta: str) -> Outcome:
    text = "the server takes no more recipients on this connection"
    return Outcome(Verdict.LATER, "4.5.3", text, mta, remote=False)
