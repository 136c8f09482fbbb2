"""One look at the certificate: is anything to be done, who does it, what came of it. Blocking, and knows neither HTTP
nor the package `acme`: an `Authority` does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Protocol

from mailstack.acme.state import Progress, State
from mailstack.acme.times import ASK_AGAIN, Window, ask_after, pause_after, renewal_time
from mailstack.config.acme import Acme, Challenge, KeyType
from mailstack.net.certificate_facts import Facts, facts_in

LOOK_AT_MOST = 3600.0
"""Seconds until the next look, whatever is due when: clocks are set, machines sleep."""
LOOK_AT_LEAST = 1.0
LAST_PART = 0.95
"""The part of its life after which a certificate is renewed whatever its window is: there is time to try again."""
UNDER_WAY = "under way, or interrupted"
OTHERS_TURN = 30.0
"""Seconds until we look again when another process is at work."""


class Failed(Exception):
    """No certificate this time; the message says why. `retry_after`: seconds that the authority asked for."""

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Stopped(Exception):
    """The process ends; nothing is known to be wrong."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be had, and from whom."""

    hosts: tuple[str, ...]
    directory: str
    email: str
    key: KeyType
    challenge: Challenge
    ca: Path | None
    renew_after: float

    @classmethod
    def of(cls, acme: Acme, hostname: str) -> Wanted:
        """As a configuration says it."""
        hosts = acme.certified(hostname)
        return cls(hosts, acme.directory, acme.email, acme.key, acme.challenge, acme.ca, acme.renew_after)

    @property
    def subject(self) -> str:
        """Other failures and windows are about something else when this differs."""
        return f"{self.directory} {' '.join(sorted(self.hosts))}"


@dataclass(frozen=True, slots=True)
class Issued:
    """A new certificate: its chain, leaf first, and its key, as PEM."""

    chain: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Renewal:
    """What the authority says about the time; no `window`: nothing."""

    window: Window | None
    retry_after: float | None
    explanation: str = ""


class Authority(Protocol):
    """Who issues. Every method raises Failed, OSError, and Stopped when the process ends meanwhile."""

    def renewal(self, wanted: Wanted, ari: str) -> Renewal:
        """When the certificate of this name should be renewed (RFC 9773)."""

    def obtain(self, wanted: Wanted, known_contact: str | None, replaces: str) -> Issued:
        """A new certificate. `known_contact` is the address that the authority knows, if it does; `replaces` the name
        of the certificate before, "" if there is none."""

    def revoke(self, wanted: Wanted, chain: bytes, reason: int) -> None:
        """Take a certificate back; `reason` as in RFC 5280 §5.3.1."""


class What(Enum):
    """What came of a look."""

    NOTHING = "nothing"
    RENEWED = "renewed"
    FAILED = "failed"
    OTHERS = "others"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`wait` is seconds until the next look; `text` is why it failed, or what the new certificate is for."""

    what: What
    wait: float
    text: str = ""


@dataclass(slots=True)
class Keeper:
    """Looks after the certificate of one data directory."""

    state: State
    authority: Callable[[State], Authority]
    """Made when it is needed: it reads the account's key, or makes it."""
    now: Callable[[], float]
    chance: Callable[[], float]
    """From 0 to 1."""

    def look(self, wanted: Wanted, *, at_once: bool = False) -> Outcome:
        """Do what is due; `at_once`: renew whether it is due or not. Raises: OSError, Stopped."""
        self.state.make()
        if not at_once and self.due_at(wanted) > self.now() and not self._ask_due(wanted):
            return Outcome(What.NOTHING, self._wait(wanted))
        with self.state.sole() as alone:
            if not alone:
                return Outcome(What.OTHERS, OTHERS_TURN)
            # Another process may have done it all while we did not have the lock.
            self.state.challenges.sweep()
            if self._ask_due(wanted) and not at_once:
                self._ask(wanted)
            if not at_once and self.due_at(wanted) > self.now():
                return Outcome(What.NOTHING, self._wait(wanted))
            return self._renew(wanted)

    def revoke(self, wanted: Wanted, reason: int) -> None:
        """Take the certificate in use back; another one is due then. Raises: Failed, OSError."""
        facts = self.facts()
        if facts is None:
            raise Failed("there is no certificate to revoke")
        with self.state.sole() as alone:
            if not alone:
                raise Failed("another process is at work with the authority; try again in a minute")
            self.authority(self.state).revoke(wanted, self.state.certificate.read_bytes(), reason)
            now = self.now()
            self.state.note(
                replace(
                    self._progress(wanted), window_of=facts.serial, renew_at=now, asked=now, ask_again=now + ASK_AGAIN
                )
            )

    def due_at(self, wanted: Wanted) -> float:
        """When the next attempt is due; what is past is due now."""
        progress = self._progress(wanted)
        return max(progress.not_before_again, self._renew_at(wanted, progress))

    def facts(self) -> Facts | None:
        """Of the certificate in use; None: there is none, or none that the authority gave."""
        if self.state.is_self_signed():
            return None
        try:
            return facts_in(self.state.certificate)
        except (OSError, ValueError):
            return None

    def _renew_at(self, wanted: Wanted, progress: Progress) -> float:
        facts = self.facts()
        if facts is None or not self.state.key.exists() or not set(wanted.hosts) <= set(facts.names):
            return 0.0
        if progress.window_of == facts.serial and progress.renew_at:
            return min(progress.renew_at, renewal_time(facts.not_before, facts.not_after, LAST_PART))
        return renewal_time(facts.not_before, facts.not_after, wanted.renew_after)

    def _progress(self, wanted: Wanted) -> Progress:
        """Nothing, if what is known is about other hosts or another authority."""
        progress = self.state.progress()
        return progress if progress.wanted == wanted.subject else Progress(wanted=wanted.subject)

    def _wait(self, wanted: Wanted) -> float:
        nearest = self.due_at(wanted)
        if self.facts() is not None:
            nearest = min(nearest, self._progress(wanted).ask_again or nearest)
        return min(LOOK_AT_MOST, max(LOOK_AT_LEAST, nearest - self.now()))

    # --- the authority's window

    def _ask_due(self, wanted: Wanted) -> bool:
        facts, progress, now = self.facts(), self._progress(wanted), self.now()
        if facts is None or not facts.ari or facts.not_after <= now:  # RFC 9773 §4.3: not after its end
            return False
        if not set(wanted.hosts) <= set(facts.names):
            return False  # it will not be renewed, but replaced, at once
        return progress.ask_again <= now or progress.window_of != facts.serial

    def _ask(self, wanted: Wanted) -> None:
        """What is wrong with the answer does not matter: the certificate has a time without it."""
        facts, progress, now = self.facts(), self._progress(wanted), self.now()
        if facts is None:
            return
        mine = progress.window_of == facts.serial
        try:
            answer = self.authority(self.state).renewal(wanted, facts.ari)
        except (Failed, OSError) as failed:
            again = now + ask_after(failed.retry_after if isinstance(failed, Failed) else None)
            kept = progress if mine else replace(progress, window_start=0.0, window_end=0.0, renew_at=0.0)
            self.state.note(replace(kept, asked=now, ask_again=again, window_of=facts.serial))
            return
        window, renew_at = answer.window, 0.0
        if window is not None:
            same = mine and (progress.window_start, progress.window_end) == (window.start, window.end)
            renew_at = progress.renew_at if same and progress.renew_at else window.some_time(self.chance())
        self.state.note(
            replace(
                progress,
                asked=now,
                ask_again=now + ask_after(answer.retry_after),
                window_start=window.start if window else 0.0,
                window_end=window.end if window else 0.0,
                renew_at=renew_at,
                window_of=facts.serial,
                explanation=answer.explanation,
            )
        )

    # --- a new certificate

    def _renew(self, wanted: Wanted) -> Outcome:
        progress, before, now = self._progress(wanted), self.facts(), self.now()
        # Noted before: who is killed in the midst of it, again and again, does not ask again at once.
        failures = progress.failures + 1
        pause = pause_after(failures, self.chance())
        begun = replace(progress, attempted=now, failures=failures, error=UNDER_WAY, not_before_again=now + pause)
        self.state.note(begun)
        replaces = before.ari if before is not None and set(before.names) & set(wanted.hosts) else ""
        known = progress.contact if progress.attempted else None
        try:
            issued = self.authority(self.state).obtain(wanted, known, replaces)
            self.state.keep(issued.chain, issued.key)
        except (Failed, OSError) as error:
            return self._failed(wanted, begun, error)
        except Stopped:
            self.state.note(replace(progress, wanted=wanted.subject))
            raise
        self.state.note(Progress(wanted=wanted.subject, contact=wanted.email, attempted=now))
        facts = facts_in(self.state.certificate)
        ends = datetime.fromtimestamp(facts.not_after, UTC).isoformat(timespec="minutes")
        return Outcome(What.RENEWED, LOOK_AT_LEAST, f"{', '.join(facts.names)}, until {ends}")

    def _failed(self, wanted: Wanted, begun: Progress, error: Failed | OSError) -> Outcome:
        asked = error.retry_after if isinstance(error, Failed) else None
        pause = pause_after(begun.failures, self.chance(), asked)
        text = str(error)
        with suppress(OSError):  # a full disk: what was noted at the beginning holds
            self.state.note(replace(begun, error=text, not_before_again=self.now() + pause))
        return Outcome(What.FAILED, min(LOOK_AT_MOST, max(LOOK_AT_LEAST, pause)), text)
