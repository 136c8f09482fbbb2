"""From root to nobody in particular."""

from __future__ import annotations

import grp
import os
import pwd


class CannotDrop(Exception):
    """The privileges cannot be given up as configured; the message says why."""


def drop(user: str, group: str = "") -> None:
    """Become `user` (and `group`, by default the user's own) for good. Nothing happens when the
    process is not root or `user` is the one it runs as.

    Raises: CannotDrop when root has no user to become, or the names are unknown."""
    if os.getuid() != 0:
        return
    if not user:
        raise CannotDrop(
            "refusing to run as root: set `user` in the configuration to the account that owns the mail, "
            "or start as that account"
        )
    try:
        entry = pwd.getpwnam(user)
        gid = grp.getgrnam(group).gr_gid if group else entry.pw_gid
    except KeyError as unknown:
        raise CannotDrop(f"cannot become {user}{':' + group if group else ''}: {unknown}") from None
    if entry.pw_uid == 0:
        raise CannotDrop(f"cannot run as {user}: it is root")
    os.initgroups(user, gid)
    os.setgid(gid)
    os.setuid(entry.pw_uid)
