"""From root to nobody in particular."""

from __future__ import annotations

import encodings
import grp
import os
import pwd

import argon2


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
    except KeyError:
        raise CannotDrop(
            f"cannot become {user}{':' + group if group else ''}: there is no such account or group"
        ) from None
    if entry.pw_uid == 0:
        raise CannotDrop(f"cannot run as {user}: it is root")
    os.initgroups(user, gid)
    os.setgid(gid)
    os.setuid(entry.pw_uid)
    for place in (encodings.__file__, argon2.__file__, __file__):  # the library's, the packages', our own
        if not os.access(place, os.R_OK):
            raise CannotDrop(
                f"{user} may not read the program itself ({place}); "
                "install it where every account can, as with: python3 -m venv /opt/mailstack"
            )
