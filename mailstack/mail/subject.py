"""The base subject (RFC 5256 §2.1 and §5): what of a subject is left without "Re:", "Fwd:" and the like."""

from __future__ import annotations

import re
from typing import NamedTuple

_SPACES = re.compile(r"[ \t\r\n]+")
# subj-blob = "[" *BLOBCHAR "]" *WSP
_BLOBS = re.compile(r"(?:\[[^\[\]\x00]*+\] *+)*+")
# subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":"
_REFWD = re.compile(r"(?:re|fwd?) *+(?:\[[^\[\]\x00]*+\] *+)?+:", re.IGNORECASE)
_TRAILER = "(fwd)"
_FWD_HEADER = "[fwd:"


class BaseSubject(NamedTuple):
    """`reply`: whether the subject was that of a reply or forward, which is so if subj-refwd, "(fwd)" or
    "[fwd: ]" was removed (RFC 5256 §3, THREAD)."""

    text: str
    reply: bool


def base_subject(subject: str) -> BaseSubject:
    """The base subject of a subject whose encoded-words are decoded. Linear in its length."""
    text = _SPACES.sub(" ", subject)  # (1)
    start, end, reply = 0, len(text), False
    while True:
        end, removed = _without_trailers(text, start, end)  # (2)
        reply |= removed
        start, removed = _without_leaders(text, start, end)  # (3), (4), (5)
        reply |= removed
        header = start + len(_FWD_HEADER)
        if text[start:header].lower() != _FWD_HEADER or header >= end or text[end - 1] != "]":  # (6)
            return BaseSubject(text[start:end], reply)
        start, end, reply = header, end - 1, True


def _without_trailers(text: str, start: int, end: int) -> tuple[int, bool]:
    # subj-trailer = "(fwd)" / WSP
    removed = False
    while end > start:
        if text[end - 1] == " ":
            end -= 1
        elif end - start >= len(_TRAILER) and text[end - len(_TRAILER) : end].lower() == _TRAILER:
            end -= len(_TRAILER)
            removed = True
        else:
            break
    return end, removed


def _without_leaders(text: str, start: int, end: int) -> tuple[int, bool]:
    # subj-leader = (*subj-blob subj-refwd) / WSP
    """Steps (3) to (5). A run of blobs is looked at once: either subj-refwd follows it and both go, or its blobs
    go one by one as long as something is left behind them."""
    removed = False
    while start < end:
        if text[start] == " ":
            start += 1
            continue
        blobs_end = _end_of(_BLOBS, text, start, end)
        refwd = _REFWD.match(text, blobs_end, end)
        if refwd is not None:
            start, removed = refwd.end(), True
        elif start < blobs_end < end:
            start = blobs_end
        elif blobs_end == end:
            return text.rindex("[", start, end), removed
        else:
            break
    return start, removed


def _end_of(pattern: re.Pattern[str], text: str, start: int, end: int) -> int:
    found = pattern.match(text, start, end)
    return start if found is None else found.end()
