"""When a certificate is renewed, what happens when that fails, and who does it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from acme_fakes import DAY, START, FakeAuthority, issued, wanted

from mailstack.acme.keeping import LOOK_AT_MOST, Failed, Keeper, Outcome, Renewal, Stopped, What
from mailstack.acme.state import Progress, State
from mailstack.acme.times import ASK_AGAIN, ASK_MOST, BACKOFF_FIRST, BACKOFF_MOST, Window, ask_after, pause_after
from mailstack.net.certificate_facts import facts_of

HOST = "mail.example.org"


class World:
    """A keeper with a clock that the test moves, and no chance: every random number is one half."""

    def __init__(self, data: Path) -> None:
        self.state = State(data)
        self.authority = FakeAuthority()
        self.now = START
        self.half = 0.5
        self.keeper = Keeper(self.state, lambda state: self.authority, lambda: self.now, lambda: self.half)

    def look(self, *hosts: str, at_once: bool = False, directory: str = "https://authority.example/dir") -> Outcome:
        self.authority.now = self.now
        return self.keeper.look(wanted(*hosts, directory=directory), at_once=at_once)

    def serial(self) -> str:
        return facts_of(self.state.certificate.read_bytes()).serial

    def pass_time(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # the disk takes its time, and nobody cuts the power


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_first_one_is_gotten_at_once_and_then_there_is_nothing_to_do(world: World) -> None:
    assert world.look().what is What.RENEWED
    assert world.authority.orders == [((HOST,), None, "")]
    outcome = world.look()
    assert (outcome.what, outcome.wait) == (What.NOTHING, LOOK_AT_MOST)
    assert len(world.authority.orders) == 1
    assert world.state.key.stat().st_mode & 0o777 == 0o600


def test_it_is_renewed_after_two_thirds_of_its_life(world: World) -> None:
    world.look()
    first = world.serial()
    ari = facts_of(world.state.certificate.read_bytes()).ari
    world.pass_time(60 * DAY - 10)
    outcome = world.look()
    assert (outcome.what, outcome.wait) == (What.NOTHING, pytest.approx(10, abs=0.01))
    world.pass_time(11)
    assert world.look().what is What.RENEWED
    assert world.serial() != first
    assert world.authority.orders[-1] == ((HOST,), "", ari)  # it replaces the one before


def test_a_failure_keeps_the_old_one_and_waits_longer_each_time(world: World) -> None:
    world.look()
    first = world.serial()
    world.pass_time(61 * DAY)
    world.authority.fails = Failed("it does not want to")
    waits = []
    for _ in range(12):
        outcome = world.look()
        assert (outcome.what, outcome.text) == (What.FAILED, "it does not want to")
        waits.append(world.state.progress().not_before_again - world.now)
        tried = len(world.authority.orders)
        world.pass_time(waits[-1] - 1)
        assert world.look().what is What.NOTHING
        assert len(world.authority.orders) == tried
        world.pass_time(2)
    assert waits == [min(BACKOFF_MOST, BACKOFF_FIRST * 2**number) for number in range(12)]
    assert world.serial() == first
    assert world.state.progress().error == "it does not want to"
    world.authority.fails = None
    assert world.look().what is What.RENEWED
    assert world.state.progress().failures == 0


def test_pauses_differ_by_chance(world: World) -> None:
    assert pause_after(1, 0.0) == 0.75 * BACKOFF_FIRST
    assert pause_after(1, 1.0) == 1.25 * BACKOFF_FIRST
    assert pause_after(1000, 0.5) == BACKOFF_MOST


@pytest.mark.parametrize(("asked", "least", "most"), [(10.0, 225, 375), (7200.0, 7200, 9000), (1e9, 7 * DAY, 9 * DAY)])
def test_the_authority_can_ask_for_a_longer_pause_but_not_for_ever(asked: float, least: float, most: float) -> None:
    for chance in (0.0, 0.5, 1.0):
        assert least <= pause_after(1, chance, asked) <= most


def test_a_rate_limit_is_kept_over_a_restart(world: World, tmp_path: Path) -> None:
    world.authority.fails = Failed("too many", retry_after=5 * 3600)
    world.look()
    again = World(tmp_path)
    again.pass_time(5 * 3600 - 1)
    assert again.look().what is What.NOTHING
    assert again.authority.orders == []
    again.pass_time(0.25 * 5 * 3600)
    assert again.look().what is What.RENEWED


def test_other_hosts_are_a_new_matter(world: World) -> None:
    world.authority.fails = Failed("no")
    world.look()
    assert world.look().what is What.NOTHING  # it waits
    world.authority.fails = None
    assert world.look("other.example").what is What.RENEWED
    assert world.look("other.example").what is What.NOTHING
    assert world.look("other.example", "more.example").what is What.RENEWED
    assert world.look("more.example").what is What.NOTHING  # which the certificate has, too


def test_one_that_cannot_be_read_is_replaced(world: World) -> None:
    world.look()
    os.truncate(world.state.certificate, 100)
    assert world.look().what is What.RENEWED
    world.state.key.unlink()
    assert world.look().what is What.RENEWED


# --- the authority's window (RFC 9773)


def windowed(world: World, start: float, end: float, retry_after: float | None = None) -> None:
    world.authority.answer = Renewal(Window(START + start * DAY, START + end * DAY), retry_after)


def test_it_is_renewed_at_a_time_in_the_window(world: World) -> None:
    world.look()
    windowed(world, 40, 50)
    assert world.look().what is What.NOTHING
    assert world.state.progress().renew_at == START + 45 * DAY
    world.pass_time(44.9 * DAY)
    assert world.look().what is What.NOTHING
    world.pass_time(0.2 * DAY)
    assert world.look().what is What.RENEWED


def test_a_window_in_the_past_is_now(world: World) -> None:
    world.look()
    windowed(world, -3, -2)
    assert world.look().what is What.RENEWED  # which is how an authority asks for it when it has to revoke


def test_the_time_is_chosen_once_a_window(world: World) -> None:
    world.look()
    windowed(world, 40, 50)
    world.look()
    world.half = 0.9
    world.pass_time(ASK_AGAIN + 1)
    world.look()
    assert len(world.authority.asked) == 2
    assert world.state.progress().renew_at == START + 45 * DAY
    windowed(world, 20, 30)
    world.pass_time(ASK_AGAIN + 1)
    world.look()
    assert world.state.progress().renew_at == START + 29 * DAY


def test_the_window_is_asked_for_as_often_as_the_authority_says(world: World) -> None:
    world.look()
    windowed(world, 40, 50, retry_after=600)
    assert world.look().wait == 600
    world.pass_time(599)
    world.look()
    assert len(world.authority.asked) == 1
    world.pass_time(2)
    world.look()
    assert len(world.authority.asked) == 2
    assert (ask_after(0.0), ask_after(1e9), ask_after(None)) == (60.0, ASK_MOST, ASK_AGAIN)


@pytest.mark.parametrize("wrong", [Failed("garbage"), OSError(2, "no such file", "ca.pem")])
def test_an_answer_that_cannot_be_used_leaves_the_time_as_it_is(world: World, wrong: Exception) -> None:
    world.look()
    world.authority.answer = wrong
    assert world.look().what is What.NOTHING
    world.pass_time(59.9 * DAY)
    assert world.look().what is What.NOTHING
    world.pass_time(0.2 * DAY)
    assert world.look().what is What.RENEWED


def test_after_its_end_nobody_is_asked(world: World) -> None:
    world.look()
    world.pass_time(91 * DAY)
    assert world.look().what is What.RENEWED
    assert world.authority.asked == []


def test_a_window_after_its_end_does_not_let_it_expire(world: World) -> None:
    world.look()
    windowed(world, 200, 300)
    world.look()
    world.pass_time(85.4 * DAY)
    assert world.look().what is What.NOTHING
    world.pass_time(0.2 * DAY)
    assert world.look().what is What.RENEWED


def test_the_name_for_the_question_is_that_of_the_rfc() -> None:
    facts = facts_of(issued((HOST,), START, serial=0x8765432100000001).chain)
    assert facts.ari.partition(".")[2] == "AIdlQyEAAAAB"  # with the zero octet before a set first bit (RFC 9773 §4.1)


# --- several processes, crashes


def test_one_process_renews_while_others_wait(world: World, tmp_path: Path) -> None:
    other = World(tmp_path)
    world.state.make()
    with world.state.sole() as alone:
        assert alone
        assert other.look().what is What.OTHERS
        assert other.authority.orders == []
    assert other.look().what is What.RENEWED
    assert world.look().what is What.NOTHING
    assert world.authority.orders == []


def test_who_is_killed_in_the_midst_of_it_does_not_ask_again_at_once(world: World, tmp_path: Path) -> None:
    world.authority.fails = KeyboardInterrupt()  # type: ignore[assignment]  # what no code of ours catches
    with pytest.raises(KeyboardInterrupt):
        world.look()
    again = World(tmp_path)
    assert again.look().what is What.NOTHING
    assert again.keeper.due_at(wanted()) == START + BACKOFF_FIRST


def test_a_stop_is_no_failure(world: World) -> None:
    world.authority.fails = Stopped()
    with pytest.raises(Stopped):
        world.look()
    world.authority.fails = None
    assert world.look().what is What.RENEWED


def test_a_full_disk_is_a_failure_and_leaves_the_old_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.look()
    first = world.serial()
    monkeypatch.setattr(State, "_point_to", full)
    outcome = world.look(at_once=True)
    assert outcome.what is What.FAILED
    assert "No space left" in outcome.text
    assert world.serial() == first


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_revoked_is_due_now(world: World) -> None:
    world.look()
    world.keeper.revoke(wanted(), 1)
    assert world.authority.revoked == [1]
    assert world.look().what is What.RENEWED
    assert world.look().what is What.NOTHING


# --- on disk


def test_self_signed_until_there_is_one_and_never_after(world: World) -> None:
    world.state.begin_with_self_signed((HOST,))
    assert world.state.is_there()
    assert world.state.is_self_signed()
    assert world.keeper.facts() is None
    assert world.look().what is What.RENEWED
    world.state.begin_with_self_signed((HOST,))
    assert not world.state.is_self_signed()


def test_the_link_is_never_half(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.look()
    before = os.readlink(world.state.current)

    def killed(self: Path, target: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", killed)
        world.look(at_once=True)
    assert os.readlink(world.state.current) == before
    world.pass_time(1)
    assert world.look(at_once=True).what is What.RENEWED  # what is left over is in nobody's way


def test_some_are_kept(world: World) -> None:
    for _ in range(5):
        world.look(at_once=True)
        world.pass_time(1)
    assert len(list((world.state.directory / "certificates").iterdir())) == 3


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"failures": "x"}', b'{"failures": null}', b"\xff"])
def test_a_state_that_cannot_be_read_is_none(world: World, content: bytes) -> None:
    world.state.make()
    (world.state.directory / "state.json").write_bytes(content)
    assert world.state.progress() == Progress()


def test_another_authority_has_no_failures_yet(world: World) -> None:
    world.authority.fails = Failed("no")
    world.look()
    world.authority.fails = None
    assert world.look(directory="https://other.example/dir").what is What.RENEWED
