"""Orders and threads by themselves, without a session."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.imap.sorting import (
    PART,
    compare,
    in_parts,
    missing_from,
    order,
    ordered_subset,
)  # fmt: skip
from mailstack.imap.threads import Forest, Messages, ordered_subject, references, refs
from mailstack.imap.wire.values import Criterion, SortKey

DATE, SUBJECT = Criterion(SortKey.DATE), Criterion(SortKey.SUBJECT)


def reverse(criterion: Criterion) -> Criterion:
    return Criterion(criterion.key, reverse=True)


# --- orders -----------------------------------------------------------------------------------


def test_rfc_5256_example_of_reverse() -> None:
    """REVERSE leaves equal ones in the order of the mailbox."""
    subjects = [b"B", b"A", b"B", b"A"]
    assert order([subjects], (SUBJECT,)) == [1, 3, 0, 2]
    assert order([subjects], (reverse(SUBJECT),)) == [0, 2, 1, 3]
    assert order([subjects, [1, 2, 3, 4]], (SUBJECT, reverse(DATE))) == [3, 1, 2, 0]


@given(st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=1)), min_size=1), st.booleans(), st.booleans())
def test_orders_are_those_of_comparing_pairs(rows: list[tuple[int, bytes]], one: bool, other: bool) -> None:
    criteria = (Criterion(SortKey.DATE, one), Criterion(SortKey.SUBJECT, other))
    made = order([[date for date, _ in rows], [text for _, text in rows]], criteria)
    assert sorted(made) == list(range(len(rows)))
    for before, after in zip(made, made[1:], strict=False):
        sign = compare(rows[before], rows[after], criteria)
        assert sign < 0 or (sign == 0 and before < after)


@pytest.mark.parametrize("count", [2 * PART, 2 * PART + 1, 20 * PART + 7])
def test_parts_are_sorted_as_the_whole_would_be(count: int) -> None:
    chance = random.Random(count)
    values = [chance.randrange(count // 3) for _ in range(count)]
    for backwards in (False, True):
        expected = sorted(range(count), key=values.__getitem__, reverse=backwards)
        assert in_parts(range(count), values.__getitem__, reverse=backwards) == expected


@given(st.lists(st.integers(1, 30), unique=True), st.sets(st.integers(1, 30)))
def test_subsets_keep_the_order(ordered: list[int], wanted: set[int]) -> None:
    assert ordered_subset(ordered, sorted(wanted)) == [uid for uid in ordered if uid in wanted]


@given(st.sets(st.integers(1, 30)), st.sets(st.integers(1, 30)))
def test_new_messages_are_found(known: set[int], now: set[int]) -> None:
    assert missing_from(array("I", sorted(known)), array("I", sorted(now))) == sorted(now - known)


# --- threads ----------------------------------------------------------------------------------


def said(forest: Forest) -> str:
    """The threads as they are on the wire; the first message is 1."""
    return "".join(
        mark.decode() + str(node + 1) for mark, node in zip(forest.marks, forest.nodes, strict=True)
    ) + forest.end.decode()  # fmt: skip


Row = tuple[int, str, str, str]
"""Sent date, subject with "Re: " if it is a reply, Message ID, references with spaces."""


def messages(rows: Sequence[Row]) -> Messages:
    made, ids = Messages(), {"": 0}
    for date, subject, own, above in rows:
        numbers = array("Q", [ids.setdefault(name, len(ids)) for name in above.split()])
        base = subject.removeprefix("Re: ")
        made.add(date, base != subject, ids.setdefault(own, len(ids)), numbers.tobytes(), base.encode())
    made.arrivals = [date for date, *_ in rows]
    return made


THREADS: list[tuple[str, list[Row], str]] = [
    ("none", [], ""),
    ("one", [(1, "a", "1", "")], "(1)"),
    ("a reply", [(1, "a", "1", ""), (2, "Re: a", "2", "1")], "(1 2)"),
    # RFC 5256 §4: the example of the THREAD response
    (
        "the RFC's example",
        [
            (date, "", str(number), above)
            for date, number, above in [
                (1, 2, ""), (2, 3, ""), (3, 6, "3"), (4, 4, "3 6"), (9, 23, "3 6 4"), (5, 44, "3 6"), (6, 7, "6 44"),
                (7, 96, "44 7"),
            ]
        ],  # fmt: skip
        "(1)(2 3 (4 5)(6 7 8))",
    ),
    # … and ((3)(5)): the parent is not there
    ("siblings without a parent", [(1, "", "1", "x"), (2, "", "2", "x")], "((1)(2))"),
    ("one child of a missing parent", [(1, "", "1", "x")], "(1)"),
    ("missing ones between", [(1, "", "1", ""), (2, "", "2", "1 x y")], "(1 2)"),
    ("missing ones above and between", [(1, "", "1", "x"), (2, "", "2", "x y z"), (3, "", "3", "x y")], "((1)(2)(3))"),
    ("siblings by sent date", [(1, "", "1", ""), (3, "", "2", "1"), (2, "", "3", "1")], "(1 (3)(2))"),
    ("threads by sent date", [(3, "a", "1", ""), (1, "b", "2", ""), (2, "c", "3", "")], "(2)(3)(1)"),
    ("the same dates", [(1, "a", "1", ""), (1, "b", "2", ""), (1, "c", "3", "")], "(1)(2)(3)"),
    ("a reply before its parent", [(2, "Re: a", "2", "1"), (1, "a", "1", "")], "(2 1)"),
    # (1.A): an existing link is not changed by other messages' references, (1.B) but by the message's own
    ("a link stays", [(1, "", "1", ""), (2, "", "3", "1"), (3, "", "4", "2 3")], "(1 2 3)"),
    (
        "the own reference wins",
        [(1, "", "1", ""), (2, "", "4", "1 3"), (3, "", "2", ""), (4, "", "3", "2")],
        "(1)(3 4 2)",
    ),
    ("no reference, no parent", [(1, "", "4", "1 3"), (2, "", "3", ""), (3, "", "1", "")], "(2 1)(3)"),
    ("itself", [(1, "", "1", "1")], "(1)"),
    ("two of each other", [(1, "", "1", "2"), (2, "", "2", "1")], "(2 1)"),
    ("a loop of three", [(1, "", "1", "3"), (2, "", "2", "1"), (3, "", "3", "2")], "(3 1 2)"),
    ("a loop in one line", [(1, "", "4", "1 2 3 1")], "(1)"),
    ("the same Message ID", [(1, "a", "1", ""), (2, "b", "1", ""), (3, "Re: b", "3", "1")], "(1 3)(2)"),
    # (5): the subject
    ("a reply by subject", [(1, "a", "1", ""), (2, "Re: a", "2", "")], "(1 2)"),
    ("a reply by subject that comes first", [(1, "Re: a", "1", ""), (2, "a", "2", "")], "(2 1)"),
    ("the same subject twice", [(1, "a", "1", ""), (2, "a", "2", "")], "((1)(2))"),
    ("the same subject thrice", [(1, "a", "1", ""), (2, "a", "2", ""), (3, "a", "3", "")], "((1)(2)(3))"),
    ("two and a reply", [(1, "a", "1", ""), (2, "a", "2", ""), (3, "Re: a", "3", "")], "((1)(2)(3))"),
    ("two replies", [(1, "Re: a", "1", ""), (2, "Re: a", "2", "")], "((1)(2))"),
    (
        "a reply by subject to one with children",
        [(1, "a", "1", ""), (3, "Re: a", "2", "1"), (2, "Re: a", "3", "")],
        "(1 (3)(2))",
    ),
    ("two dummies", [(n, "a", str(n), "x" if n % 2 else "y") for n in range(1, 5)], "((1)(2)(3)(4))"),
    ("a dummy and a message", [(1, "a", "1", "x"), (2, "Re: a", "2", "x"), (3, "a", "3", "")], "((1)(2)(3))"),
    ("a message and a dummy", [(1, "a", "3", ""), (2, "a", "1", "x"), (3, "Re: a", "2", "x")], "((1)(2)(3))"),
    ("empty subjects stay apart", [(1, "", "1", ""), (2, "Re: ", "2", "")], "(1)(2)"),
    ("children's subjects do not count", [(1, "a", "1", ""), (2, "b", "2", "1"), (3, "b", "3", "")], "(1 2)(3)"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "expected"), [row[1:] for row in THREADS], ids=[row[0] for row in THREADS])
def test_references(rows: list[Row], expected: str) -> None:
    assert said(references(messages(rows))) == expected


def test_refs_has_the_latest_thread_last_and_no_subjects() -> None:
    rows = [
        (1, "a", "1", ""),
        (2, "a", "2", ""),
        (3, "Re: a", "3", ""),
        (9, "Re: a", "4", "1"),
        (5, "", "5", "x"),
        (6, "", "6", "x"),
    ]
    assert said(refs(messages(rows))) == "(2)(3)((5)(6))(1 4)"
    made = messages(rows)
    made.arrivals = [60, 50, 40, 1, 30, 55]
    assert said(refs(made)) == "(3)(2)((5)(6))(1 4)"


def test_ordered_subject() -> None:
    rows = [
        (5, "b", "", ""),
        (4, "Re: a", "", ""),
        (1, "b", "", ""),
        (3, "b", "", ""),
        (2, "a", "", ""),
        (6, "c", "", ""),
    ]
    assert said(ordered_subject(messages(rows))) == "(3 (4)(1))(5 2)(6)"
    assert said(ordered_subject(messages([]))) == ""


# --- whatever the references are --------------------------------------------------------------

rows_of_any_kind = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from(["", "a", "Re: a", "b", "Re: b"]),
        st.sampled_from(["", *"12345678"]),
        st.lists(st.sampled_from("12345678xyz"), max_size=4).map(" ".join),
    ),
    max_size=14,
)  # fmt: skip


def parents(text: str) -> dict[int, int]:
    """Message → the one above it, 0 for none. Also checks that the text is of thread-list's form."""
    found: dict[int, int] = {}
    above: list[int] = []
    current, number = 0, ""
    for char in text + " ":
        if char.isdigit():
            number += char
            continue
        if number:
            found[int(number)], current, number = current, int(number), ""
        if char == "(":
            above.append(current)
        elif char == ")":
            current = above.pop()
    assert not above and "()" not in text and "( " not in text and " )" not in text
    return found


@given(rows=rows_of_any_kind)
def test_each_message_is_there_once(rows: list[Row]) -> None:
    for algorithm in (references, refs, ordered_subject):
        found = parents(said(algorithm(messages(rows))))
        assert sorted(found) == list(range(1, len(rows) + 1))
        for node in found:  # no loops
            seen = set()
            while node:
                assert node not in seen
                seen.add(node)
                node = found[node]


@given(rows=rows_of_any_kind)
def test_a_parent_is_a_reference_or_has_the_same_subject(rows: list[Row]) -> None:
    ids: dict[str, int] = {}
    for number, (_, _, own, _) in enumerate(rows, 1):
        ids.setdefault(own, number)
    known = {name for row in rows for name in row[3].split()}
    for child, parent in parents(said(references(messages(rows)))).items():
        if parent:
            by_subject = rows[child - 1][1] == f"Re: {rows[parent - 1][1]}"
            assert by_subject or (rows[parent - 1][2] in known and ids[rows[parent - 1][2]] == parent)


@pytest.mark.parametrize(
    "above",
    [
        pytest.param(lambda n, count: [n - 1], id="a chain"),
        pytest.param(lambda n, count: [n + 1], id="a chain, the last first"),
        pytest.param(lambda n, count: [(n + 1) % count], id="a cycle"),
        pytest.param(lambda n, count: [0], id="all of one"),
        pytest.param(lambda n, count: [count + 1], id="all of one that is not there"),
        pytest.param(lambda n, count: list(range(max(0, n - 40), n)), id="many references"),
        pytest.param(lambda n, count: [(n * 7919 + 1) % count], id="any"),
        pytest.param(lambda n, count: [count + n, (n * 31) % count], id="a missing one each"),
        pytest.param(lambda n, count: list(range(n, n + 40)), id="contradictions"),
    ],
)
@pytest.mark.parametrize("algorithm", [references, refs])
def test_deep_and_odd_threads(algorithm: Callable[[Messages], Forest], above: Callable[[int, int], list[int]]) -> None:
    count = 5000
    made = Messages()
    for n in range(count):
        made.add(n, True, n + 1, array("Q", [max(0, other) + 1 for other in above(n, count)]).tobytes(), b"s")
    made.arrivals = made.dates
    forest = algorithm(made)
    assert sorted(forest.nodes) == list(range(count))
    assert sum(map(len, forest.marks)) + len(forest.end) < 8 * count


def test_ten_thousand_of_one_message_id() -> None:
    made = Messages()
    for n in range(10_000):
        made.add(n, False, 7, array("Q", [7]).tobytes(), b"")
    assert said(references(made)).startswith("(1 (2)(3)(4)(5)")
