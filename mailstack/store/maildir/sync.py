"""What others did to a mailbox's files since the last look, and taking in new mail.

`sync` does as little as it may: nothing when no time stamp moved, the named files when a watch tells which,
and both directories otherwise. See DESIGN.md, "Taking in" and "Others"."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from contextlib import suppress

from mailstack.errors import Refused
from mailstack.store.maildir import names
from mailstack.store.maildir.arrivals import insert, number
from mailstack.store.maildir.differences import Differences, Hints
from mailstack.store.maildir.folder import FolderFiles, now
from mailstack.store.maildir.sweep import sweep
from mailstack.store.maildir.uidlist import Broken, Loaded

READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
"""What the system says of a mailbox in which we may read and not write."""
COMPACT_AFTER = 100
"""Records of vanished messages in the uidlist that are worth writing it anew."""
RACES = 5
"""Readings of the directories in one look while other processes take in new mail at the same time."""
LINKED = 10.0
"""Seconds after which a file that has two names keeps them: some programs rename by link(2) and unlink(2)."""


def sync(files: FolderFiles, hints: Hints | None = None, *, force: bool = False) -> Differences:
    """Look for what others did; move new mail to cur/ and give it UIDs. `hints` is what a watch saw, None
    when nobody watches. Raises: OSError, Refused(STORE_UNAVAILABLE)."""
    try:
        stamps = files.stat()
    except FileNotFoundError:
        return Differences(gone=True)
    except OSError:
        files.lost = True
        raise
    if not files.swept:
        files.swept = True
        sweep(files.path, now(), files.log)
    if hints is None and stamps == files.stamps and not (files.unsure or force or files.keywords_changed()):
        return Differences()
    looked = now()
    if hints is None and not (files.unsure or force) and stamps[1] == files.stamps[1]:
        hints = Hints(new=dict.fromkeys(os.listdir(files.path / "new"), True))  # cur/ is as it was
    run = _Sync(files)
    try:
        everything = run.look(hints, force=force, unchanged=stamps[1] == files.stamps[1] and not files.unsure)
    except (OSError, Refused) as error:
        run.found.error = error
        everything, files.lost = False, True
    number(files, run.found)
    files.unsure = True
    if everything:
        with suppress(FileNotFoundError):  # gone meanwhile: the next look says so
            files.note_stamps(stamps, looked)
    return run.found


class _Sync:
    """One look."""

    def __init__(self, files: FolderFiles) -> None:
        self.files = files
        self.found = Differences()
        self.unfinished = False
        """Whether somebody is in the midst of a rename, so that the next look has to be a whole one."""
        self.told = files.rows.uids[-1] if len(files.rows) else 0
        """The highest UID that sessions may know of: what comes now is to have a higher one."""
        self.judged: frozenset[str] = frozenset()
        """Records that this look finds a message for, or drops: they were read before the directories."""

    def look(self, hints: Hints | None, *, force: bool, unchanged: bool) -> bool:
        """Whether all is known now that others did. Raises: OSError, Refused; `found` has what was found
        until then."""
        try:
            return self._look(hints, force=force, unchanged=unchanged)
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
        return self._look_only()

    def _look(self, hints: Hints | None, *, force: bool, unchanged: bool) -> bool:
        files = self.files
        self._load_uidlist()
        begun_anew = self.found.reset
        if files.uidlist.damage:
            self._mend()
        if hints is None or hints.everything or force or files.lost or begun_anew:
            files.lost = files.read_only = False  # from here on: a rename that fails may have hidden a hint
            self.look_everywhere()
            everything = True
        else:
            self.look_at(hints)
            everything = files.watch is not None or unchanged
        files.read_keywords()
        self._compact()
        if self.found.reset and not begun_anew:  # the uidlist was replaced while we looked
            self.look_everywhere()
            everything = True
        files.lost = files.lost or self.unfinished
        return everything and not files.lost

    def _look_only(self) -> bool:
        """Where nothing can be written: the messages that have UIDs are there to be read, the others wait.
        Without a uidlist they get UIDs for as long as this process has the mailbox open."""
        files = self.files
        there = self._scan("cur")
        self.told = 0  # no UIDs can be given
        if not files.uidlist.validity:
            files.uidlist.pretend(now())
            files.unseen = {base: uid for uid, base in enumerate(sorted(there, key=names.arrival), 1)}
        self._compare(there, {})
        known = {base for base in there if base in files.unseen or files.rows.find(base)}
        if not files.read_only:
            files.read_only = True
            files.log.warning("mailbox is read-only; messages without UIDs are not shown",
                              folder=str(files.path), count=len(there) - len(known))  # fmt: skip
        self._admit({base: there[base] for base in known}, {})
        files.read_keywords()
        files.lost = True  # as soon as it can be written, what waits is taken in
        return False

    # --- the whole of both directories

    def look_everywhere(self) -> None:
        """Read both directories; again while another process takes in what we were about to."""
        for _ in range(RACES):
            if self._look_once():
                return
        self.unfinished = True

    def _look_once(self) -> bool:
        """Whether nothing was on its way from new/ to cur/."""
        if self._as_known():
            return True
        self.judged = frozenset(self.files.unseen)  # what is recorded while we look may come after we looked
        fresh = self._scan("new")
        there = self._scan("cur")
        self._compare(there, fresh)
        settled = self._admit(there, fresh)
        missed = self.judged & self.files.unseen.keys()
        if missed:
            again = self._scan("cur")
            for base in missed - again.keys():
                del self.files.unseen[base]
            self._admit({base: again[base] for base in missed & again.keys()}, {})
        return settled

    def _as_known(self) -> bool:
        """Whether there is nothing in new/, and in cur/ what we know and nothing else: the usual thing after many
        changes of our own. Costs half of what comparing costs."""
        files, rows = self.files, self.files.rows
        if files.unseen or not len(rows) or os.listdir(files.new):
            return False
        listing = os.listdir(os.fsencode(files.cur))
        return len(listing) == len(rows) and set(listing) == set(rows.all_names())

    def _scan(self, directory: str) -> dict[str, str]:
        """Base name → file name of the messages in new/ or cur/."""
        listing = os.listdir(self.files.path / directory)
        found = {name.partition(":")[0]: name for name in listing}
        if len(found) != len(listing):
            for name in listing:
                other = found[name.partition(":")[0]]
                if other != name:
                    found[name.partition(":")[0]] = self._twin(directory, other, name)
        for base in [base for base in found if base.startswith(".") or not base]:
            del found[base]
        return found

    def _twin(self, directory: str, one: str, two: str) -> str:
        """Two names with one base: usually one file that was renamed while its directory was read."""
        files = self.files
        here = [name for name in (one, two) if files.present(directory, name)]
        if len(here) < 2:
            return here[0] if here else two
        if files.rows.name_of(files.rows.find(names.split(one)[0])) == two:
            one, two = two, one
        paths = files.path / directory / one, files.path / directory / two
        try:
            linked, changed = os.path.samefile(*paths), paths[0].stat().st_ctime
        except FileNotFoundError:
            self.unfinished = True
            return two
        if not linked:
            self._set_aside(directory, two)
            return one
        if time.time() - changed > LINKED:
            paths[0].unlink(missing_ok=True)
        else:
            self.unfinished = True
        return two

    def _set_aside(self, directory: str, name: str) -> None:
        """A second file with the base name of a message becomes a message of its own."""
        aside = names.UniqueNames().new()
        self.files.log.warning("two files of one name; the second is kept as another message",
                               folder=str(self.files.path), name=name, kept=aside)  # fmt: skip
        with suppress(FileNotFoundError):
            os.rename(self.files.path / directory / name, self.files.path / "new" / aside)
        self.unfinished = True

    def _part(self, new: str, cur: str) -> None:
        """A file in new/ has the base name of one in cur/, which may be the same file under way."""
        paths = self.files.path / "new" / new, self.files.path / "cur" / cur
        with suppress(FileNotFoundError):
            if not os.path.samefile(*paths):
                self._set_aside("new", new)

    def _compare(self, there: dict[str, str], fresh: dict[str, str]) -> None:
        """Known messages against what is there."""
        rows, suffix = self.files.rows, names.suffix
        odd = rows.odd()
        missing: list[tuple[int, str]] = []
        renamed: list[tuple[int, str]] = []
        for (uid, base), flags in zip(rows.items(), list(rows.flags), strict=True):
            name = there.get(base)
            if name is None:
                missing.append((uid, base))
            elif name != base + suffix(flags) and name != odd.get(uid):
                renamed.append((uid, name))
        if missing:
            # A file that is renamed while its directory is read may be missed once.
            again = self._scan("cur")
            for uid, base in missing:
                found = again.get(base) or (self.files.take_in(fresh.pop(base)) if base in fresh else None)
                if found is not None:
                    there[base] = found
                    renamed.append((uid, found))
        self._rename(renamed)
        self._vanish([uid for uid, base in missing if base not in there])

    def _rename(self, renamed: Iterable[tuple[int, str]]) -> None:
        rows = self.files.rows
        for uid, name in renamed:
            row = rows.row(uid)
            before = rows.flags[row]
            flags = rows.rename(row, name)
            if flags != before:
                self.found.changed.append((uid, flags))

    def _vanish(self, uids: list[int]) -> None:
        self.files.rows.remove(uids)
        self.found.vanish(uids)

    def _admit(self, there: dict[str, str], fresh: dict[str, str]) -> bool:
        """Give UIDs to what is not known yet, and take it in. False if somebody else took in some of it."""
        files = self.files
        known = set(map(os.fsdecode, files.rows.bases())) if len(files.rows) else set()
        unknown = [base for base in there if base not in known]
        coming = [base for base in fresh if base not in there and base not in known]
        for base in fresh.keys() & there.keys():
            self._part(fresh[base], there[base])
        if not unknown and not coming:
            return True
        self._give_uids(unknown + coming)
        for base in sorted(coming, key=files.unseen.__getitem__):  # an error keeps the higher UIDs from being told
            name = files.take_in(fresh[base])
            if name is not None:
                there[base] = name
        arrived = [(files.unseen.pop(base), there[base]) for base in unknown + coming if base in there]
        recent = {files_uid for files_uid, name in arrived if name.partition(":")[0] in fresh} if coming else set()
        self._insert(sorted(arrived), recent)
        return all(base in there for base in coming)

    def _insert(self, arrived: list[tuple[int, str]], recent: set[int]) -> None:
        """Rows for messages that have UIDs now."""
        if not arrived:
            return
        self.files.taken_in = True
        insert(self.files, self.found, arrived)
        self.found.recent |= recent

    # --- the files that a watch named

    def look_at(self, hints: Hints) -> None:
        files = self.files
        touched: dict[str, dict[str, bool]] = {}
        for name, came in hints.cur.items():
            touched.setdefault(name.partition(":")[0], {})[name] = came
        strangers: dict[str, str] = {}
        renamed: list[tuple[int, str]] = []
        vanished: list[int] = []
        for base, seen in touched.items():
            if base.startswith(".") or not base:
                continue
            uid = files.rows.find(base)
            now_named = self._where(uid, seen) or (self._back(base, hints) if uid else None)
            if now_named is None and uid:
                known = files.rows.name_of(uid) or ""
                arrived = [name for name, there in seen.items() if there]
                if arrived:  # and went on meanwhile: a later hint will say where to
                    renamed.append((uid, arrived[-1]))
                elif seen.get(known) is False:
                    vanished.append(uid)
                else:
                    self.unfinished = True
            elif now_named is None:
                continue  # what came is gone again
            elif uid:
                renamed.append((uid, now_named))
            else:
                strangers[base] = now_named
        self._rename(renamed)
        if vanished:
            self._vanish(vanished)
        self._take_in_hinted(strangers, hints)

    def _back(self, base: str, hints: Hints) -> str | None:
        """Somebody put a message of ours into new/ again; its name after it was taken in."""
        for name, came in hints.new.items():
            if came and name.partition(":")[0] == base and (taken := self.files.take_in(name)) is not None:
                return taken
        return None

    def _where(self, uid: int, seen: dict[str, bool]) -> str | None:
        """The name that a message's file in cur/ has now, among those that it may have; None if none."""
        known = self.files.rows.name_of(uid) if uid else None
        candidates = dict.fromkeys([*seen] if known is None else [known, *seen])
        here = [name for name in candidates if self.files.present("cur", name)]
        while len(here) > 1:
            here = [self._twin("cur", here[0], here[1]), *here[2:]]
        return here[0] if here else None

    def _take_in_hinted(self, strangers: dict[str, str], hints: Hints) -> None:
        files = self.files
        fresh: dict[str, str] = {}
        for name, came in hints.new.items():
            base = name.partition(":")[0]
            if not came or not base or base.startswith("."):
                continue
            if base in strangers:
                self._part(name, strangers[base])
            elif uid := files.rows.find(base):
                self._part(name, files.rows.name_of(uid) or name)
            else:
                fresh[base] = name
        bases = [*strangers, *fresh]
        if not bases:
            return
        self._give_uids(bases)
        arrived = [(files.unseen.pop(base), name) for base, name in strangers.items()]
        recent: set[int] = set()
        try:
            for base, name in sorted(fresh.items(), key=lambda item: files.unseen[item[0]]):
                taken = files.take_in(name)
                if taken is not None:
                    uid = files.unseen.pop(base)
                    arrived.append((uid, taken))
                    recent.add(uid)
        finally:
            self._insert(sorted(arrived), recent)
        if files.unseen:  # another process gave UIDs below ours: its messages come first
            self.look_everywhere()

    # --- UIDs

    def _load_uidlist(self) -> None:
        """As `_load_locked`, for who does not hold the lock: it is taken when there is something to mend."""
        files, validity = self.files, self.files.uidlist.validity
        loaded: Loaded | None = None
        with suppress(Broken):
            loaded = files.uidlist.load()
        if loaded is None:
            with files.lock():
                self._load_locked()
        else:
            self._know(loaded, validity)

    def _load_locked(self) -> None:
        files, validity = self.files, self.files.uidlist.validity
        loaded: Loaded | None = None
        try:
            loaded = files.uidlist.load()
        except Broken as broken:
            files.log.warning("uidlist broken; all messages get new UIDs", folder=str(files.path), reason=str(broken))
        if loaded is None:
            files.uidlist.create(files.account)
        self._know(loaded or Loaded(anew=True), validity)

    def _mend(self) -> None:
        """Write the file anew with what it still says, and with what we know of lines that were lost."""
        files = self.files
        with files.lock():
            self._load_locked()
            if not files.uidlist.damage:
                return
            files.log.warning("uidlist mended", folder=str(files.path), reason=files.uidlist.damage)
            self._vanish([uid for uid in files.rows.uids if uid in files.uidlist.doubled])
            files.lost = files.lost or bool(files.uidlist.doubled)
            self._write()

    def _reset(self) -> None:
        self.found = Differences(reset=True)  # what was found before is of other UIDs
        self.told = 0
        self.files.rows.clear()
        self.files.unseen.clear()

    def _know(self, loaded: Loaded, validity: int) -> None:
        """Take in what others wrote; `validity` is the UIDVALIDITY from before."""
        files, records = self.files, loaded.records
        if validity and validity != files.uidlist.validity:
            self._reset()
        if not loaded.anew:
            for uid, base in records:
                known = files.rows.find(base)
                if known and known != uid:  # it was away, and we missed that
                    self._vanish([known])
                    files.lost = True
                if known != uid:
                    files.unseen[base] = uid
            return
        files.unseen = {base: uid for uid, base in records}
        if renumbered := [base for uid, base in files.rows.items() if files.unseen.pop(base, uid) != uid]:
            files.log.warning("uidlist: messages have other UIDs now", folder=str(files.path), count=len(renumbered))
            self._reset()
            files.unseen = {base: uid for uid, base in records}

    def _give_uids(self, bases: list[str]) -> None:
        """Afterwards `unseen` has a UID for each, above all that were told. Raises: OSError, Refused."""
        files = self.files
        self._renumber(bases)
        if all(base in files.unseen for base in bases):
            return
        with files.lock():
            self._load_locked()
            late = self._find_late(bases)
            self._renumber([*bases, *late])
            wanted = [base for base in (*bases, *late) if base not in files.unseen]
            wanted.sort(key=None if names.alike(wanted) else names.arrival)
            files.unseen.update(zip(wanted, files.uidlist.append(wanted), strict=True))
        if late:
            self._insert(sorted((files.unseen.pop(base), name) for base, name in late.items()), set())

    def _renumber(self, bases: Iterable[str]) -> None:
        """A message that comes below one that was told, as when its file was away, gets another UID: clients look
        for new ones above those that they know (RFC 9051 §2.3.1.1). Of two records the later counts for all."""
        unseen, told = self.files.unseen, self.told
        for base in [base for base in bases if unseen.get(base, told) < told]:
            del unseen[base]

    def _find_late(self, bases: Iterable[str]) -> dict[str, str]:
        """Under the lock: messages to which others gave UIDs since we looked, base → name in cur/. They are told
        together with those that get higher UIDs now. Nobody gives UIDs meanwhile: what has a record and is not
        there is gone."""
        files = self.files
        late = files.unseen.keys() - self.judged - set(bases)
        if not late:
            return {}
        fresh = self._scan("new")  # before cur/: what is on its way is in one of them
        for base in late & fresh.keys():
            files.take_in(fresh[base])
        there = self._scan("cur")
        if late - there.keys():
            there |= self._scan("cur")  # a file that is renamed while its directory is read may be missed once
        for base in late - there.keys():
            del files.unseen[base]
        return {base: there[base] for base in late & there.keys()}

    def _compact(self) -> None:
        files = self.files
        if files.uidlist.records - len(files.rows) < max(COMPACT_AFTER, len(files.rows) // 4):
            return
        with files.lock():
            self._load_locked()
            self._write()

    def _write(self) -> None:
        others = [(uid, base) for base, uid in self.files.unseen.items()]
        self.files.uidlist.write(sorted([*self.files.rows.items(), *others]))
