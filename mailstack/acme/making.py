"""From what is on disk to an authority that can be asked."""

from __future__ import annotations

from collections.abc import Callable

from mailstack.acme.keeping import Authority
from mailstack.acme.state import State


def make_authority(wait: Callable[[float], bool], state: State) -> Authority:
    """The real one, with our account's key, which is made when it is not there. Raises: OSError."""
    # Late: it takes its time to import, needs an extra, and most look only once an hour.
    from mailstack.acme import authority

    key = state.account_key()
    if key is None:
        key = authority.new_account_key()
        state.keep_account_key(key)
    return authority.Authority(state.challenges, key, wait)
