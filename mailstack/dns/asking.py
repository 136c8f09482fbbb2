"""One question to the servers: whom, how often, and by which way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import dns.rcode

from mailstack.dns.exchange import Exchange, NoReply, Strange
from mailstack.dns.outcomes import Failed, Onward, Outcome, outcome
from mailstack.dns.servers import Servers
from mailstack.dns.wire import Garbled, Question, Recased, Reply, query, read
from mailstack.names import NameServer
from mailstack.ports import Log

FIRST_WAIT = 2.0
"""Seconds for a reply at first; twice as long in each round over the servers."""
ROUNDS = 4
"""How often a server is asked that does not reply."""
_WITHOUT_EDNS = frozenset({dns.rcode.FORMERR, dns.rcode.NOTIMP})
"""What servers say that do not know EDNS (RFC 6891 §7)."""
_ANSWERS = frozenset({dns.rcode.NOERROR, dns.rcode.NXDOMAIN})


@dataclass(frozen=True, slots=True)
class Answered:
    """What has come out, and from whom."""

    outcome: Outcome | Onward
    server: str


class Asking:
    """`trusts` is whose AD bit counts. `bits` gives so many bits of good chance; `now` is time that never goes back."""

    def __init__(
        self,
        servers: Servers,
        exchange: Exchange,
        log: Log,
        *,
        trusts: Callable[[NameServer], bool],
        bits: Callable[[int], int],
        now: Callable[[], float],
    ) -> None:
        self._servers, self._exchange, self._log = servers, exchange, log
        self._trusts, self._bits, self._now = trusts, bits, now

    async def ask(self, question: Question, until: float) -> Answered:
        """Ask until a server knows, all have said that they do not, or it is `until`."""
        left = self._servers.order(self._now())
        said: dict[NameServer, str] = {}
        for round in range(ROUNDS):
            for server in list(left):
                wait = min(FIRST_WAIT * 2**round, until - self._now())
                if wait <= 0:
                    return _failed(said)
                found, why = await self._try(server, question, wait, until)
                if found is not None:
                    return Answered(found, str(server))
                said[server] = why.text
                if why.is_final:
                    left.remove(server)
            if not left:
                break
        return _failed(said)

    async def _try(
        self, server: NameServer, question: Question, wait: float, until: float
    ) -> tuple[Outcome | Onward | None, _Why]:
        try:
            reply = await self._reply(server, question, wait, until)
            self._servers.answered(server)
            if reply.rcode in _ANSWERS:
                return outcome(reply, question, trusted=self._trusts(server)), _Why("")
            return None, _Why(reply.error, is_final=True)
        except NoReply as error:
            aside = self._servers.failed(server, self._now())
            if aside:
                self._log.warning("DNS server set aside", server=str(server), reason=str(error), seconds=aside)
            return None, _Why(str(error))
        except Garbled as error:
            return None, _Why(f"a reply that cannot be read ({error})", is_final=True)

    async def _reply(self, server: NameServer, question: Question, wait: float, until: float) -> Reply:
        """Raises: NoReply, Garbled."""
        reply = await self._once(server, question, wait, until, edns=True)
        if reply.rcode in _WITHOUT_EDNS and self._now() < until:
            reply = await self._once(server, question, wait, until, edns=False)
        return reply

    async def _once(self, server: NameServer, question: Question, wait: float, until: float, *, edns: bool) -> Reply:
        asked = query(
            question, self._bits(16), self._bits(len(question.name)), authenticate=self._trusts(server), edns=edns
        )
        try:
            reply = await self._exchange.udp(server, asked.octets, partial(read, asked=asked, exact=True), wait)
            if not reply.is_truncated:
                return reply
        except (Recased, Strange):
            pass  # TCP cannot be forged so easily, nor does it need chance in the letters' cases
        wait = max(min(wait, until - self._now()), 0.0)
        reply = await self._exchange.tcp(server, asked.octets, partial(read, asked=asked, exact=False), wait)
        if reply.is_truncated:
            raise Garbled("truncated, though by TCP")
        return reply


@dataclass(frozen=True, slots=True)
class _Why:
    """Why a server gave no answer; `is_final`: it need not be asked again."""

    text: str
    is_final: bool = False


def _failed(said: dict[NameServer, str]) -> Answered:
    why = "; ".join(f"{server}: {text}" for server, text in said.items()) or "no time left to ask"
    return Answered(Failed(why), ", ".join(map(str, said)))
