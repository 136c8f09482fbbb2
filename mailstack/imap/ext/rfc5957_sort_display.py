"""SORT=DISPLAY (RFC 5957): the sort keys DISPLAYFROM and DISPLAYTO, which are in `imap/sort_keys.py`."""

from __future__ import annotations

from mailstack.imap.registry import Capability, Feature

FEATURE = Feature(capabilities=(Capability("SORT=DISPLAY"),))
