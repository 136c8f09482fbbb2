"""What an account has besides messages: subscriptions, special uses, its first mailboxes.

subscriptions   Dovecot's format: "V\\t2", an empty line, then one name a line, levels apart by tabs
special-use     ours: one line "<attribute> <name in modified UTF-7>" (RFC 6154)"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from mailstack.errors import Problem, Refused
from mailstack.mail.mailbox_name import from_modified_utf7, to_modified_utf7
from mailstack.store.maildir import layout
from mailstack.store.maildir.layout import DELIMITER, INBOX, OTHER_USERS, Folder, replace_file, sync_directory
from mailstack.store.maildir.sweep import DELETED

SUBSCRIPTIONS = "subscriptions"
SPECIAL_USE = "special-use"
FIRST_MAILBOXES: Mapping[str, str] = {
    "Drafts": "\\Drafts",
    "Sent": "\\Sent",
    "Junk": "\\Junk",
    "Trash": "\\Trash",
    "Archive": "\\Archive",
}
"""What a new account has, with its special use."""
_HEADER = "V\t2"
_OTHERS = OTHER_USERS.encode() + b"\t"


def prepare(account: Path) -> None:
    """Make the account's mailboxes unless it was here before. Raises: OSError."""
    if not (account / "cur").is_dir():
        layout.make(Folder(INBOX, account))
    if (account / SPECIAL_USE).exists():
        return
    for name in FIRST_MAILBOXES:
        place = layout.folder(account, name)
        if not place.exists:
            layout.make(place)
    if not (account / SUBSCRIPTIONS).exists():
        write_subscriptions(account, [INBOX, *FIRST_MAILBOXES])
    write_special_uses(account, FIRST_MAILBOXES)


def subscriptions(account: Path) -> list[str]:
    """Subscribed names, in the file's order. Both of Dovecot's forms are read. Raises: OSError."""
    return [name for _, name in _subscription_lines(account) if name is not None]


def _subscription_lines(account: Path) -> list[tuple[bytes, str | None]]:
    """Each line of the file, with the name it says; None for one that IMAP cannot say."""
    try:
        lines = (account / SUBSCRIPTIONS).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    separator = b"."
    if lines[0].rstrip(b"\r") == _HEADER.encode():
        separator, lines = b"\t", lines[1:]
    return [(line, _subscribed(line, separator)) for line in (line.rstrip(b"\r") for line in lines) if line]


def _subscribed(line: bytes, separator: bytes) -> str | None:
    try:
        if separator == b"\t" and line.startswith(_OTHERS):  # accounts' names have "."
            levels = line.decode().split("\t")
        else:
            levels = line.replace(separator, b".").decode().split(".")  # "." parts levels in either form
    except UnicodeDecodeError:
        return None
    try:
        return DELIMITER.join(from_modified_utf7(part) for part in levels)
    except ValueError:
        return DELIMITER.join(levels)  # written in UTF-8 by somebody


def write_subscriptions(account: Path, names: Iterable[str]) -> None:
    """Lines of others that we cannot read are kept. Raises: OSError."""
    lines = ["\t".join(to_modified_utf7(part) for part in name.split(DELIMITER)).encode() for name in names]
    kept = [line for line, name in _subscription_lines(account) if name is None]
    replace_file(account / SUBSCRIPTIONS, b"\n".join([_HEADER.encode(), b"", *lines, *kept, b""]))


def special_uses(account: Path) -> dict[str, str]:
    """Mailbox name → attribute. Raises: OSError."""
    try:
        lines = (account / SPECIAL_USE).read_text("ascii", "replace").split("\n")
    except FileNotFoundError:
        return {}
    found: dict[str, str] = {}
    for line in lines:
        attribute, _, name = line.partition(" ")
        if not attribute.startswith("\\") or not name:
            continue
        try:
            found[from_modified_utf7(name)] = attribute
        except ValueError:
            continue  # a line that we did not write
    return found


def write_special_uses(account: Path, uses: Mapping[str, str]) -> None:
    """Raises: OSError."""
    lines = (f"{attribute} {to_modified_utf7(name)}\n" for name, attribute in uses.items())
    replace_file(account / SPECIAL_USE, "".join(lines).encode())


def set_special_use(account: Path, name: str, special_use: str) -> None:
    """Give a mailbox a special use, which no other has then; "" takes it away. Raises: OSError."""
    before = special_uses(account)
    after = {other: use for other, use in before.items() if other != name and use != special_use}
    if special_use:
        after[name] = special_use
    if after != before:
        write_special_uses(account, after)


def create(account: Path, name: str, special_use: str) -> Folder:
    """Make a mailbox and its superiors. Raises: Refused, OSError."""
    place = layout.new_folder(account, name)
    if place.exists:
        raise Refused(Problem.MAILBOX_EXISTS, place.name)
    parts = place.name.split(DELIMITER)
    for depth in range(1, len(parts)):
        superior = layout.folder(account, DELIMITER.join(parts[:depth]))
        if not superior.exists:
            layout.make(superior)
    layout.make(place)
    if special_use:
        write_special_uses(account, special_uses(account) | {place.name: special_use})
    return place


def delete(account: Path, name: str) -> str:
    """Remove a mailbox with its messages; its inferiors stay. Returns its normal name.
    Raises: Refused, OSError."""
    place = layout.folder(account, name)
    if place.name == INBOX:
        raise Refused(Problem.CANNOT, "INBOX cannot be deleted")
    if not place.exists:
        inferior = place.name + DELIMITER
        if any(other.name.startswith(inferior) for other in layout.folders(account)):
            raise Refused(Problem.MAILBOX_HAS_CHILDREN, place.name)
        raise Refused(Problem.NO_SUCH_MAILBOX, place.name)
    # Out of sight in one step, so that no reader sees half a mailbox.
    aside = account / "tmp" / f"{DELETED}{os.getpid()}.{os.urandom(6).hex()}"
    place.path.rename(aside)
    sync_directory(account)
    shutil.rmtree(aside, ignore_errors=True)  # the mailbox is gone; what is left of it is swept
    uses = special_uses(account)
    if uses.pop(place.name, None) is not None:
        write_special_uses(account, uses)
    return place.name


def rename(account: Path, old: str, new: str) -> list[tuple[str, str]]:
    """Rename a mailbox and its inferiors; returns the (old, new) names. Raises: Refused, OSError."""
    source, target = layout.folder(account, old), layout.new_folder(account, new)
    if source.name == INBOX:
        raise Refused(Problem.CANNOT, "INBOX is moved out of, not renamed")
    if target.exists or target.name == INBOX:
        raise Refused(Problem.MAILBOX_EXISTS, target.name)
    inferior = source.name + DELIMITER
    if target.name.startswith(inferior):
        raise Refused(Problem.CANNOT, "a mailbox cannot become its own inferior")
    moved = [place for place in layout.folders(account) if place.name == source.name or place.name.startswith(inferior)]
    if not moved:
        raise Refused(Problem.NO_SUCH_MAILBOX, source.name)
    pairs = [(place, layout.new_folder(account, target.name + place.name[len(source.name) :])) for place in moved]
    for _, place in pairs:
        if place.exists:
            raise Refused(Problem.MAILBOX_EXISTS, place.name)
    parts = target.name.split(DELIMITER)
    for depth in range(1, len(parts)):
        superior = layout.folder(account, DELIMITER.join(parts[:depth]))
        if not superior.exists:
            layout.make(superior)
    for before, after in pairs:
        before.path.rename(after.path)
    sync_directory(account)
    names = {before.name: after.name for before, after in pairs}
    uses = special_uses(account)
    if names.keys() & uses.keys():
        write_special_uses(account, {names.get(name, name): use for name, use in uses.items()})
    return list(names.items())
