"""Mending what a check has found, without losing anything: no message is removed, no UID given to another
message. What is doubtful becomes a new message, or is left and told.

A UID is the same octets for ever (RFC 9051 §2.3.1.1). So a file that is not what its name says, and of two
files with one name the younger, gets a new name, and with it a new UID."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailstack.errors import Problem, Refused
from mailstack.mail.mailbox_name import to_modified_utf7
from mailstack.store.check import cache
from mailstack.store.check.account import Progress, check_account, named_validities, noted_validity, validity_files
from mailstack.store.check.data import check_data
from mailstack.store.check.findings import Finding, Kind, Mending
from mailstack.store.check.folder import scan
from mailstack.store.maildir import keywords, layout, names
from mailstack.store.maildir.layout import FOLDER_MARK, replace_file, sync_directory
from mailstack.store.maildir.locks import dotlock, stale
from mailstack.store.maildir.maildirsize import FILE as BOOKS
from mailstack.store.maildir.uidlist import FILE as UIDLIST
from mailstack.store.maildir.uidlist import VALIDITY_FILE, Broken, UidList
from mailstack.store.maildir.uidlist_text import MAX_UID
from mailstack.store.measure import read_sizes
from mailstack.store.owner import as_who_started_it

ROUNDS = 4
"""Looks and mendings of an account: a folder that got a name has findings of its own afterwards."""
LOOKS = 3
"""Readings of a directory in which a message must be missing before its record is dropped."""
_REMOVABLE = frozenset({Kind.TMP_OLD, Kind.FILE_LEFT, Kind.QUEUE_ORPHAN, Kind.SPOOL_OLD})
_UIDLIST = frozenset({
    Kind.UIDLIST_MISSING, Kind.UIDLIST_BROKEN, Kind.UIDLIST_TORN, Kind.UID_TWICE, Kind.UID_ORDER, Kind.UID_NONE,
})  # fmt: skip
_FILES = frozenset({Kind.TWINS, Kind.SIZE_WRONG})


@dataclass(frozen=True, slots=True)
class Repaired:
    """What was `mended`, and what is `left` (with what keeps it from being mended, if that is known)."""

    mended: Sequence[Finding]
    left: Sequence[Finding]
    reasons: dict[Finding, str]


def repair_account(name: str, path: Path, *, deep: bool, progress: Progress) -> Repaired:
    """Look, mend, look again until there is nothing more to mend. Raises: OSError."""
    return _until_done(
        lambda: list(check_account(name, path, deep=deep, progress=progress)),
        lambda found: _mend_account(path, found),
    )


def _mend_account(path: Path, found: list[Finding]) -> dict[Finding, str]:
    reasons = _Repair(path).mend(found)
    if len(reasons) < len(found):
        (path / BOOKS).unlink(missing_ok=True)  # what the account uses is counted anew
    return reasons


def repair_data(data: Path) -> Repaired:
    """As `repair_account`, of what lies beside the accounts. Raises: OSError."""
    return _until_done(lambda: list(check_data(data)), lambda found: _Repair(data).mend(found))


def _until_done(look: Callable[[], list[Finding]], mend: Callable[[list[Finding]], dict[Finding, str]]) -> Repaired:
    found = look()
    mended: dict[Finding, None] = {}
    reasons: dict[Finding, str] = {}
    for _ in range(ROUNDS):
        work = [finding for finding in found if finding.kind.mending is Mending.REPAIR and finding not in reasons]
        if not work:
            break
        reasons |= mend(work)
        found = look()
        mended.update(dict.fromkeys(finding for finding in work if finding not in found))
    return Repaired(list(mended), [finding for finding in found if finding.wrong], reasons)


class _Repair:
    """Mends findings of one account, or of what is beside them."""

    def __init__(self, account: Path) -> None:
        self._account = account
        self._reasons: dict[Finding, str] = {}

    def mend(self, found: Iterable[Finding]) -> dict[Finding, str]:
        """Returns what could not be mended, and why."""
        folders: dict[Path, list[Finding]] = {}
        for finding in found:
            if finding.kind in _UIDLIST | _FILES or finding.kind is Kind.KEYWORD_UNKNOWN:
                folder = finding.path.parent.parent if finding.kind in _FILES else finding.path.parent
                folders.setdefault(folder, []).append(finding)
            else:
                self._try(finding, lambda finding=finding: self._one(finding))  # type: ignore[misc]
        for folder, findings in folders.items():
            for finding in findings:
                if finding.kind in _FILES:
                    self._try(finding, lambda finding=finding: self._renew(finding))  # type: ignore[misc]
            rest = [finding for finding in findings if finding.kind not in _FILES]
            self._try_all(rest, lambda folder=folder, rest=rest: self._under_lock(folder, rest))  # type: ignore[misc]
        return self._reasons

    def _try(self, finding: Finding, act: Callable[[], None]) -> None:
        self._try_all([finding], act)

    def _try_all(self, findings: Sequence[Finding], act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as error:
            self._reasons |= dict.fromkeys(findings, error.strerror or str(error))
        except Refused as refused:
            self._reasons |= dict.fromkeys(findings, str(refused))

    def _one(self, finding: Finding) -> None:
        kind, path = finding.kind, finding.path
        if kind in _REMOVABLE and path.is_dir():  # copies, on their way out of a backup
            shutil.rmtree(path)
        elif kind in _REMOVABLE:
            path.unlink(missing_ok=True)
        elif kind is Kind.LOCK_LEFT:
            if stale(path, path.with_suffix("")):
                path.unlink(missing_ok=True)
        elif kind is Kind.DIRECTORY_MISSING:
            _make(path)
        elif kind is Kind.UNREADABLE:
            _give(path, self._account)
        elif kind is Kind.BAD_NAME:
            _rename(path, self._account)
        elif kind is Kind.UIDVALIDITY:
            _note_validity(self._account)
        elif kind is Kind.ID_TWICE:
            with dotlock(path / UIDLIST):
                _rewrite(path, self._account, guid=os.urandom(16).hex())
        elif kind in (Kind.INDEX_BROKEN, Kind.INDEX_WRONG):
            cache.drop(self._account)

    def _under_lock(self, folder: Path, findings: Collection[Finding]) -> None:
        if not findings:
            return
        with dotlock(folder / UIDLIST):
            if any(finding.kind is Kind.KEYWORD_UNKNOWN for finding in findings):
                keywords.name_letters(folder)
            if any(finding.kind in _UIDLIST for finding in findings):
                _rewrite(folder, self._account)

    def _renew(self, finding: Finding) -> None:
        """A message under a new name: a new message."""
        path = finding.path
        folder, base = path.parent.parent, names.split(path.name)[0]
        if finding.kind is Kind.TWINS:
            there = [folder.joinpath(*place) for place in scan(folder).files.get(base, ())]
            kept, *others = sorted(there, key=lambda each: (each.parent.name == "new", each.stat().st_mtime, each.name))
        else:
            others = [path]
        unique = names.UniqueNames()
        for each in others:
            sizes = read_sizes(each)
            renewed = f"{unique.new()},S={sizes.octets},W={sizes.with_crlf}"
            info = names.split_info(each.name)[1]
            each.rename(each.with_name(renewed + info))
            sync_directory(each.parent)


def _rewrite(folder: Path, account: Path, guid: str = "") -> None:
    """The uidlist anew: records of messages that are there, and a UID for each in cur/. Under the lock."""
    uidlist = UidList(folder / UIDLIST)
    try:
        loaded = uidlist.load()
    except Broken:
        loaded = None
    if loaded is None:
        uidlist.create(account)
    uids = {base: uid for uid, base in loaded.records} if loaded else {}
    there: set[str] = set()
    for _ in range(LOOKS):
        looked = scan(folder)
        there |= looked.files.keys()
        if uids.keys() <= there:
            break
    kept = sorted((uid, base) for base, uid in uids.items() if base in there)
    fresh = sorted(looked.bases("cur") - uids.keys(), key=lambda base: (names.second(base) or 0, base))
    first = uidlist.next_uid
    if first + len(fresh) > MAX_UID:
        raise Refused(Problem.STORE_UNAVAILABLE, "no UID is left")
    uidlist.next_uid += len(fresh)
    uidlist.guid = guid or uidlist.guid
    uidlist.write([*kept, *enumerate(fresh, first)])


def _make(path: Path) -> None:
    if path.name == FOLDER_MARK:
        path.touch(mode=0o600)
    else:
        path.mkdir(mode=0o700, exist_ok=True)
    sync_directory(path.parent)


def _give(path: Path, account: Path) -> None:
    """Owner as that of the account, and what an owner needs. As root, where root started it."""
    owner = account.stat()
    with as_who_started_it():
        stat = path.lstat()
        if (stat.st_uid, stat.st_gid) != (owner.st_uid, owner.st_gid) and os.geteuid() == 0:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
        path.chmod(stat.st_mode & 0o777 | (0o700 if path.is_dir() else 0o600))


def _rename(path: Path, account: Path) -> None:
    """A folder gets the name that is most like its own and that a mailbox can have."""
    parts = [_good_part(part) for part in os.fsdecode(os.fsencode(path.name)[1:]).split(".")]
    name = layout.DELIMITER.join(parts[: layout.MAX_DEPTH])
    for number in range(1, 1000):
        place = layout.folder(account, name if number == 1 else f"{name} {number}")
        if not os.path.lexists(place.path):
            path.rename(place.path)
            sync_directory(account)
            return


def _good_part(part: str) -> str:
    """One level of a name. What is no character of it becomes "_"."""
    kept = "".join("_" if c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" else c for c in part)
    kept = "_" + kept[1:] if kept.startswith("~") or not kept else kept
    while len(to_modified_utf7(kept)) > layout.MAX_NAME // 2:
        kept = kept[:-1]
    return kept


def _note_validity(account: Path) -> None:
    """One file whose name has the highest UIDVALIDITY of the account, and one whose content has."""
    peeked = [UidList(folder.path / UIDLIST).peek() for folder in layout.folders(account)]
    used = [found[1] for found in peeked if found]
    highest = max([*used, *named_validities(account), noted_validity(account) or 0, 1])
    target = account / f"{VALIDITY_FILE}.{highest:08x}"
    for path in validity_files(account):
        if path != target:
            path.rename(target)  # over the one before
    target.touch(mode=0o600)
    replace_file(account / VALIDITY_FILE, f"{highest:08x}".encode())
