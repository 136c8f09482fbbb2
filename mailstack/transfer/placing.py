"""Which mailbox here is meant by which there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mailstack.errors import Problem, Refused
from mailstack.store.maildir import layout
from mailstack.transfer.values import DELIMITER, INBOX, Folder

Pairs = Sequence[tuple[str, str]]
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f.\ud800-\udfff]")


class Places:
    """`pairs` are (old, new) names, for a mailbox and what is below it; `into` is the mailbox into which all of it
    goes; `uses` has the account's own mailboxes by special use; `excluded` are names at the source that are not
    wanted, with what is below them; `only`, if any, are those that are."""

    def __init__(
        self, pairs: Pairs = (), into: str = "", uses: Mapping[str, str] | None = None,
        excluded: Sequence[str] = (), only: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._excluded = excluded
        self._only = only
        self._pairs = sorted(pairs, key=lambda pair: -len(pair[0]))
        self._into = into
        self._uses = dict(uses or {})

    def excludes(self, folder: Folder) -> bool:
        """Whether nothing of it is wanted."""
        if any(folder.name == name or folder.name.startswith(name + DELIMITER) for name in self._excluded):
            return True
        return bool(self._only) and folder.name not in self._only

    def special_use(self, folder: Folder) -> str:
        """What a mailbox that is to be made for `folder` is for."""
        return "" if self._into or folder.special_use in self._uses else folder.special_use

    def name(self, folder: Folder) -> str:
        """Raises: Refused(BAD_MAILBOX_NAME)."""
        for old, new in self._pairs:
            if folder.name == old:
                return _normal(new)
            if folder.name.startswith(old + DELIMITER):
                below = folder.name[len(old) + 1 :]
                return _normal(f"{new}{DELIMITER}{below}" if new else below)
        is_inbox = folder.name.upper() == INBOX
        if self._into:
            return _normal(self._into if is_inbox else f"{self._into}{DELIMITER}{folder.name}")
        if not is_inbox and folder.special_use in self._uses:
            return self._uses[folder.special_use]
        return _normal(folder.name)


def _normal(name: str) -> str:
    """A name that the store takes: what no part of a name may have becomes "_"."""
    parts = [_UNUSABLE.sub("_", part) or "_" for part in name.split(DELIMITER)]
    return layout.normalise(DELIMITER.join("_" + part[1:] if part.startswith("~") else part for part in parts))


def parse_pair(text: str) -> tuple[str, str]:
    """OLD=NEW. Raises: Refused(BAD_MAILBOX_NAME)."""
    old, equals, new = text.partition("=")
    if not equals or not old:
        raise Refused(Problem.BAD_MAILBOX_NAME, f"expected OLD=NEW, not {text!r}")
    return old, new
