"""I18NLEVEL=1 (RFC 5255 §4.2): SEARCH, SORT and THREAD compare text as i;unicode-casemap does, in US-ASCII and UTF-8.

There is nothing to do: `imap/search_content.py` has what SEARCH compares."""

from __future__ import annotations

from mailstack.imap.registry import Capability, Feature

FEATURE = Feature(capabilities=(Capability("I18NLEVEL=1"),))
