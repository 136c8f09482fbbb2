"""An account: its mailboxes, and what it has besides."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from mailstack.store.check import cache
from mailstack.store.check.findings import Finding, Kind
from mailstack.store.check.folder import FolderCheck
from mailstack.store.maildir import account as account_files
from mailstack.store.maildir import layout
from mailstack.store.maildir.layout import FOLDER_MARK, INBOX, SUBDIRECTORIES, Folder
from mailstack.store.maildir.uidlist import VALIDITY_FILE

Progress = Callable[[str, int], None]
"""Told what is looked at, and how many messages were."""


def check_account(name: str, path: Path, *, deep: bool, progress: Progress) -> Iterator[Finding]:
    """What is found, INBOX first. Raises: OSError."""
    checks: list[FolderCheck] = []
    try:
        places, strange = _places(name, path)
    except OSError as error:
        yield Finding(name, "", Kind.UNREADABLE, f"{error.strerror}", path)
        return
    yield from strange
    for place in places:
        check = FolderCheck(
            name,
            place,
            deep=deep,
            tell=lambda count, place=place: progress(f"{name} {place.name}", count),  # type: ignore[misc]
        )
        try:
            yield from check.run()
        except FileNotFoundError:
            continue  # the mailbox was removed meanwhile
        except OSError as error:
            yield Finding(name, place.name, Kind.UNREADABLE, str(error), place.path)
        checks.append(check)
    yield from _ids(name, places, checks)
    yield from _validity(name, path, [check.validity for check in checks])
    yield from _names(name, path, places)
    yield from cache.check_index(name, path, places)


def _places(name: str, path: Path) -> tuple[list[Folder], list[Finding]]:
    """The mailboxes, with those that lack a directory; and what is like one and none."""
    places, strange = [Folder(INBOX, path)], []
    with os.scandir(path) as entries:
        listing = sorted(entries, key=lambda entry: entry.name)
    for entry in listing:
        if not entry.name.startswith(".") or not entry.is_dir():
            continue
        place = Path(entry.path)
        if not any((place / part).exists() for part in (*SUBDIRECTORIES, FOLDER_MARK)):
            continue
        mailbox = layout.mailbox_name(entry.name)
        if entry.is_symlink() and not place.resolve().is_relative_to(path.resolve()):
            what = f"{entry.name} leads to {place.resolve()}"
            strange.append(Finding(name, mailbox or "", Kind.LINK_OUT, what, place))
        elif mailbox is None:
            strange.append(Finding(name, "", Kind.BAD_NAME, f"no mailbox is called {entry.name!r}", place))
        else:
            places.append(Folder(mailbox, place))
    return places, strange


def _ids(name: str, places: list[Folder], checks: list[FolderCheck]) -> Iterator[Finding]:
    """RFC 8474 §4: a mailbox id is of one mailbox."""
    seen: dict[str, str] = {}
    for place, check in zip(places, checks, strict=False):
        if check.guid and check.guid in seen:
            yield Finding(name, place.name, Kind.ID_TWICE, f"has the mailbox id of {seen[check.guid]}", place.path)
        elif check.guid:
            seen[check.guid] = place.name


def named_validities(path: Path) -> list[int]:
    """What the names `dovecot-uidvalidity.<hex>` of an account say. Raises: OSError."""
    return [int(found.name.rpartition(".")[2], 16) for found in validity_files(path)]


def validity_files(path: Path) -> list[Path]:
    """Raises: OSError."""
    digits = "[0-9a-f]" * 8
    return sorted(path.glob(f"{VALIDITY_FILE}.{digits}"))


def noted_validity(path: Path) -> int | None:
    """What is in `dovecot-uidvalidity`; -1 for something that is no number, None if there is no such file."""
    try:
        return int((path / VALIDITY_FILE).read_bytes().strip(), 16)
    except FileNotFoundError:
        return None
    except ValueError:
        return -1


def _validity(name: str, path: Path, used: list[int]) -> Iterator[Finding]:
    named, noted = named_validities(path), noted_validity(path)
    if not named and noted is None:
        return  # they are made with the next mailbox
    where = path / VALIDITY_FILE
    if len(named) != 1:
        yield Finding(name, "", Kind.UIDVALIDITY, f"{len(named)} files name the last UIDVALIDITY, not one", where)
    elif noted != named[0]:
        what = f"the file says {noted:08x}, the name of another {named[0]:08x}" if noted else "the file is missing"
        yield Finding(name, "", Kind.UIDVALIDITY, what, where)
    elif max(used, default=0) > named[0]:
        what = f"a mailbox has UIDVALIDITY {max(used)}, above the last that is noted, {named[0]}"
        yield Finding(name, "", Kind.UIDVALIDITY, what, where)


def _names(name: str, path: Path, places: list[Folder]) -> Iterator[Finding]:
    known = {place.name for place in places}
    for mailbox in account_files.subscriptions(path):
        if mailbox not in known:
            where = path / account_files.SUBSCRIPTIONS
            yield Finding(name, mailbox, Kind.SUBSCRIPTION, "is subscribed and not there", where)
    for mailbox, use in account_files.special_uses(path).items():
        if mailbox not in known:
            where = path / account_files.SPECIAL_USE
            yield Finding(name, mailbox, Kind.SPECIAL_USE, f"has the use {use} and is not there", where)
