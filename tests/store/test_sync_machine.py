"""Random doings of this process, another one, and other programs on one mailbox; a model knows what is there."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from maildir_world import SHM, VARIANTS, World, got

from mailstack.ports import Flag, FlagAction, Flags
from mailstack.store.maildir import names

LETTERS = {"": 0, "S": int(Flag.SEEN), "F": int(Flag.FLAGGED), "FS": int(Flag.SEEN | Flag.FLAGGED)}
numbers = st.integers(0, 1000)
letters = st.sampled_from(sorted(LETTERS))


class Machine(RuleBasedStateMachine):
    """`model` has the base name of every file → its first line and its flags."""

    variant = "stamps"

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="mailstack-", dir=SHM if SHM.is_dir() else None))
        self.world = World(self.directory, self.variant)
        self.other = World(self.directory, "stamps")
        self.path = self.world.path
        self.model: dict[str, tuple[bytes, int]] = {}
        self.uid_of: dict[str, int] = {}
        self.known = True
        self.stamp = 1_700_000_000

    def teardown(self) -> None:
        self.world.stop()
        self.other.stop()
        shutil.rmtree(self.directory)

    # --- what is where

    def files(self, directory: str) -> list[str]:
        return sorted(name for name in os.listdir(self.path / directory) if not name.startswith("."))

    def pick(self, directory: str, number: int) -> tuple[str, str] | None:
        """A file's name and base."""
        found = self.files(directory)
        if not found:
            return None
        name = found[number % len(found)]
        return name, names.split(name)[0]

    def note_new(self) -> None:
        """What our own process put there."""
        for name in [*self.files("new"), *self.files("cur")]:
            base, flags = names.split(name)
            if base not in self.model:
                path = self.path / "new" / name
                path = path if path.exists() else self.path / "cur" / name
                self.model[base] = (path.read_bytes().splitlines()[0], names.bits(flags))

    # --- other programs

    @rule(crlf=st.booleans(), sized=st.booleans())
    def procmail_or_maildrop(self, crlf: bool, sized: bool) -> None:
        path = self.world.foreign(crlf=crlf, sized=sized)
        self.model[path.name] = (path.read_bytes().splitlines()[0], 0)

    @rule(flags=letters)
    def rsync(self, flags: str) -> None:
        name = names.join(self.world.unique(), flags)
        part = self.world.foreign(f".{name}.Xy12", "cur")
        path = part.rename(self.path / "cur" / name)
        self.model[names.split(name)[0]] = (path.read_bytes().splitlines()[0], LETTERS[flags])

    @rule(number=numbers, flags=letters, by_link=st.booleans())
    def mutt_takes_in(self, number: int, flags: str, by_link: bool) -> None:
        if found := self.pick("new", number):
            self.move(self.path / "new" / found[0], self.path / "cur" / names.join(found[1], flags), by_link)
            self.model[found[1]] = (self.model[found[1]][0], LETTERS[flags])

    @rule(number=numbers, flags=letters, by_link=st.booleans())
    def mutt_flags(self, number: int, flags: str, by_link: bool) -> None:
        if found := self.pick("cur", number):
            self.move(self.path / "cur" / found[0], self.path / "cur" / names.join(found[1], flags), by_link)
            self.model[found[1]] = (self.model[found[1]][0], LETTERS[flags])

    def move(self, before: Path, after: Path, by_link: bool) -> None:
        if by_link and before != after:
            os.link(before, after)
            before.unlink()
        else:
            before.rename(after)

    @rule(number=numbers)
    def back_to_new(self, number: int) -> None:
        if found := self.pick("cur", number):
            (self.path / "cur" / found[0]).rename(self.path / "new" / found[0])

    @rule(number=numbers, directory=st.sampled_from(["new", "cur"]))
    def rm(self, number: int, directory: str) -> None:
        if found := self.pick(directory, number):
            (self.path / directory / found[0]).unlink()
            del self.model[found[1]]

    @rule()
    def time_passes(self) -> None:
        """The directories' stamps are old and known, so that only another stamp tells of a change."""
        for name in ("new", "cur"):
            self.stamp += 1
            os.utime(self.path / name, (self.stamp, self.stamp))
        self.world.refresh()

    @rule()
    def another_process_looks(self) -> None:
        self.other.refresh()

    @rule(number=numbers)
    def another_process_expunges(self, number: int) -> None:
        self.other.refresh()
        if uids := list(self.other.mailbox.uids):
            (uid,) = got(self.other.mailbox.expunge([uids[number % len(uids)]], None))
            (base,) = [base for base, known in self.other_uids().items() if known == uid]
            del self.model[base]

    def other_uids(self) -> dict[str, int]:
        recorded = (self.path / "dovecot-uidlist").read_text().splitlines()[1:]
        return {line.partition(" :")[2]: int(line.split()[0]) for line in recorded}

    # --- our process

    @rule(flags=letters)
    def append(self, flags: str) -> None:
        self.world.append(Flags(Flag(LETTERS[flags])))
        self.note_new()

    @rule()
    def deliver(self) -> None:
        self.world.deliver()
        self.note_new()

    @rule(number=numbers, flags=letters, action=st.sampled_from(FlagAction), fresh=st.booleans())
    def store(self, number: int, flags: str, action: FlagAction, fresh: bool) -> None:
        if fresh:
            self.world.refresh()
        mailbox = self.world.mailbox
        uids = list(mailbox.uids)
        if not uids:
            return
        uid = uids[number % len(uids)]
        base = mailbox.files.rows.base(mailbox.files.rows.row(uid))
        got(mailbox.store_flags([uid], action, Flags(Flag(LETTERS[flags])), None))
        if any(names.split(name)[0] == base for name in self.files("cur")):
            line, before = self.model[base]
            operand = LETTERS[flags]
            after = {FlagAction.ADD: before | operand, FlagAction.REMOVE: before & ~operand}.get(action, operand)
            self.model[base] = (line, after)

    @rule(number=numbers)
    def expunge(self, number: int) -> None:
        self.world.refresh()
        mailbox = self.world.mailbox
        if uids := list(mailbox.uids):
            uid = uids[number % len(uids)]
            base = mailbox.files.rows.base(mailbox.files.rows.row(uid))
            assert list(got(mailbox.expunge([uid], None))) == [uid]
            del self.model[base]

    @rule(number=numbers)
    def copy(self, number: int) -> None:
        uids = list(self.world.mailbox.uids)
        if uids:
            got(self.world.mailbox.copy([uids[number % len(uids)]], "INBOX"))
            self.note_new()

    @rule(clean=st.booleans())
    def restart(self, clean: bool) -> None:
        if clean:
            self.world.stop()
        else:
            self.world.store.indexes.close()
            if self.world.store.watch is not None:
                self.world.store.watch.close()
        self.world.start()

    # --- what must be true

    @rule()
    def look(self) -> None:
        self.world.refresh()
        self.world.refresh()
        self.compare()

    def compare(self) -> None:
        mailbox, seen = self.world.mailbox, self.world.seen()
        rows = mailbox.files.rows
        found = {rows.base(rows.row(uid)): value for uid, value in seen.items()}
        assert found == self.model
        for uid in seen:
            base = rows.base(rows.row(uid))
            assert self.uid_of.setdefault(base, uid) == uid, "a message has another UID"
        assert self.world.mirror.flags == {uid: flags for uid, (_, flags) in seen.items()}
        self.other.refresh()
        self.other.refresh()
        assert self.other.seen() == seen

    @invariant()
    def nothing_has_two_uids(self) -> None:
        given = self.path / "dovecot-uidlist"
        bases = [line.partition(" :")[2] for line in given.read_text().splitlines()[1:]]
        assert len(bases) == len(set(bases))


@pytest.mark.parametrize("variant", VARIANTS)
def test_machine(variant: str) -> None:
    machine: Any = type("Machine", (Machine,), {"variant": variant})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(os.environ.get("EXAMPLES", 20)),
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_flags_that_others_took_away_unseen_are_given_again(variant: str) -> None:
    """What a client is told to be stored is there, also where we believed that it was there before."""
    machine: Any = type("Machine", (Machine,), {"variant": variant})()
    try:
        machine.append(flags="F")
        machine.mutt_flags(number=0, flags="", by_link=False)
        machine.store(number=0, flags="F", action=FlagAction.REPLACE, fresh=False)
        machine.look()
    finally:
        machine.teardown()
