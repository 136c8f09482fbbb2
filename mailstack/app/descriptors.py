"""How many file descriptors the process may have: one a connection, and those of the store."""

from __future__ import annotations

import resource

OF_OURS = 1000
"""For directories of deliveries, messages that are read, databases, sockets."""


def allow(connections: int) -> int:
    """Raise the soft limit so that there may be so many connections, as far as the hard limit lets us;
    returns how many there may be now."""
    wanted = connections + OF_OURS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(0, min(connections, soft - OF_OURS))
