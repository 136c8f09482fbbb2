"""SEARCH over every kind of store says what a search by hand says of messages that are known by their making."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_messages import COUNT, FIELDS, MESSAGES, NOW, WORDS
from maildir_world import ALICE, got
from transcripts import result

from mailstack.imap.ext.rfc5032_within import Older, Younger
from mailstack.imap.search import Searched, search
from mailstack.imap.wire.values import (
    STAR,
    All,
    And,
    BodyHas,
    DateOrder,
    HasFlag,
    HasKeyword,
    HeaderHas,
    InSequence,
    InternalDay,
    InUids,
    IsRecent,
    Larger,
    Not,
    Or,
    SearchKey,
    SentDay,
    Smaller,
    TextHas,
)
from mailstack.ports import Flag, Mailbox, NewMessage, Spool
from mailstack.store.api import Store
from mailstack.store.workers import InlineWorkers
from mailstack.testing.log import RecordingLog
from mailstack.testing.store import MemorySpool, MemoryStore


class Quiet:
    def changed(self, change: Any) -> None:
        """Nothing."""


def opened(store: Any, spool: Spool) -> Mailbox:
    def blob(octets: bytes) -> Any:
        sink = spool.sink()
        result(sink.write(octets))
        return result(sink.finish())

    account = result(store.account(ALICE))
    messages = [NewMessage(blob(each.octets), each.flags, float(each.internal)) for each in MESSAGES]
    result(account.append("INBOX", messages))
    mailbox: Mailbox = result(account.open("INBOX", Quiet()))
    gone = result(mailbox.expunge([10, 11, 130], None))
    assert list(gone) == [10, 11, 130]
    return mailbox


@pytest.fixture(scope="module", params=["memory", "maildir", "maildir with texts"])
def mailbox(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mailbox]:
    if request.param == "memory":
        yield opened(MemoryStore(), MemorySpool())
        return
    data: Path = tmp_path_factory.mktemp("data")
    log = RecordingLog()
    store = Store(data, InlineWorkers(), log, texts="texts" in request.param)
    found = opened(store, store.spool)
    yield found
    assert log.lines == []
    assert (data / "mail" / ALICE / "mailstack-texts").exists() is found.keeps_texts
    got(store.close())


def same(text: str) -> str:
    return text.casefold()


def by_hand(key: SearchKey, uid: int, uids: list[int], recent: set[int]) -> bool:
    message = MESSAGES[uid - 1]
    day = datetime.fromtimestamp(message.internal, UTC).date()
    match key:
        case All():
            return True
        case And(keys):
            return all(by_hand(each, uid, uids, recent) for each in keys)
        case Or(left, right):
            return by_hand(left, uid, uids, recent) or by_hand(right, uid, uids, recent)
        case Not(inside):
            return not by_hand(inside, uid, uids, recent)
        case InSequence(numbers):
            return within(uids.index(uid) + 1, numbers, len(uids))
        case InUids(numbers):
            return within(uid, numbers, uids[-1])
        case HasFlag(flag):
            return flag in message.flags.system
        case HasKeyword(keyword):
            return keyword.lower() in {known.lower() for known in message.flags.keywords}
        case IsRecent():
            return uid in recent
        case InternalDay(order, wanted):
            return compared(order, day, wanted)
        case SentDay(order, wanted):
            return message.sent is not None and compared(order, message.sent, wanted)
        case Larger(octets):
            return len(message.octets) > octets
        case Smaller(octets):
            return len(message.octets) < octets
        case HeaderHas(field, text):
            return any(name == field and same(text) in same(value) for name, value in message.fields)
        case BodyHas(text):
            return any(same(text) in same(each) for each in message.parts)
        case TextHas(text):
            fields = (value for _, value in message.fields)
            return any(same(text) in same(each) for each in (*message.parts, *fields))
        case Older(interval):
            return message.internal <= NOW - interval
        case Younger(interval):
            return message.internal >= NOW - interval
    raise AssertionError(key)


def within(number: int, ranges: Any, largest: int) -> bool:
    ends = [[largest if end == STAR else end for end in pair] for pair in ranges]
    return any(min(pair) <= number <= max(pair) for pair in ends)


def compared(order: DateOrder, actual: date, wanted: date) -> bool:
    return {DateOrder.BEFORE: actual < wanted, DateOrder.ON: actual == wanted, DateOrder.SINCE: actual >= wanted}[order]


NUMBERS = st.lists(st.tuples(*[st.integers(1, COUNT + 5) | st.just(STAR)] * 2), min_size=1, max_size=4).map(tuple)
DAYS = st.dates(date(2022, 6, 1), date(2023, 12, 1))
TEXTS = st.sampled_from([*WORDS, "APPLE", "birne", "größe", "äpfel", "NAÏVE §", "ne tw", "nowhere", "本 日"])
SIZES = st.sampled_from(sorted({len(each.octets) for each in MESSAGES}))
LEAVES = st.one_of(
    st.just(All()), st.just(IsRecent()), NUMBERS.map(InSequence), NUMBERS.map(InUids),
    st.sampled_from([*Flag]).map(HasFlag), st.sampled_from(["$work", "none"]).map(HasKeyword),
    st.builds(InternalDay, st.sampled_from(DateOrder), DAYS), st.builds(SentDay, st.sampled_from(DateOrder), DAYS),
    SIZES.map(Larger), SIZES.map(Smaller), st.builds(HeaderHas, st.sampled_from(FIELDS), TEXTS | st.just("")),
    TEXTS.map(BodyHas), TEXTS.map(TextHas),
    st.integers(1, 400 * 86400).map(Older), st.integers(1, 400 * 86400).map(Younger),
)  # fmt: skip
KEYS = st.recursive(
    LEAVES,
    lambda inside: st.one_of(
        st.builds(Not, inside), st.builds(Or, inside, inside),
        st.lists(inside, min_size=1, max_size=3).map(lambda keys: And(tuple(keys))),
    ),
    max_leaves=6,
)  # fmt: skip


def test_found_as_by_hand(mailbox: Mailbox) -> None:
    uids = list(mailbox.uids)
    assert len(uids) == COUNT - 3

    async def turn() -> None:
        """Nobody else is there."""

    @settings(max_examples=150, deadline=None)
    @given(key=KEYS, recent=st.sets(st.integers(1, COUNT), max_size=5))
    def compare(key: SearchKey, recent: set[int]) -> None:
        found = result(search(key, Searched(mailbox, uids, recent), float(NOW), turn))
        assert found == [uid for uid in uids if by_hand(key, uid, uids, recent)]

    compare()


def test_many_keys_found_as_by_hand(mailbox: Mailbox) -> None:
    uids = list(mailbox.uids)

    async def turn() -> None:
        """Nobody else is there."""

    day = date(2023, 1, 20)
    ors: SearchKey = HeaderHas(b"subject", "nowhere")
    for number, field in enumerate((b"subject", b"from", b"to", b"cc", b"message-id")):
        days = SentDay(DateOrder.SINCE, day + timedelta(days=90 * number)), SentDay(DateOrder.BEFORE, day)
        word, other = HeaderHas(field, WORDS[number]), HeaderHas(b"cc", WORDS[number - 3])
        ors = Or(Or(ors, And((word, Not(other)))), And((HeaderHas(b"to", WORDS[-number]), Or(*days))))
    seen = Or(And((days[1], HasFlag(Flag.SEEN))), ors)
    for key in (ors, Not(ors), And((Larger(200), ors)), Or(BodyHas("birne"), ors), seen):
        found = result(search(key, Searched(mailbox, uids, ()), float(NOW), turn))
        assert found == [uid for uid in uids if by_hand(key, uid, uids, set())]
        assert 10 < len(found) < COUNT - 10
