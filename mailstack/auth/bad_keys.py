"""What can be wrong with files of keys."""

from __future__ import annotations


class BadKeys(Exception):
    """A file of keys or secrets that cannot be used; the message names it and the reason."""
