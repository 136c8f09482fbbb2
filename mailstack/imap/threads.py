"""Threads of messages (RFC 5256 §3, THREAD; draft-ietf-morg-inthread-01 §4 for REFS). Pure: it knows neither
sessions nor the store. Nothing here recurses, however deep a thread is, and all of it is linear but for sorting.

Messages are nodes by their place in the mailbox, 0 to n-1; dummy messages follow them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain

from mailstack.imap.sorting import in_parts

STEPS_PER_MESSAGE = 50
LEAST_STEPS = 1_000_000
"""Steps of one THREAD in search of loops; ours. Mail that was not made to reach them stays far below; then no more
links are made that would need a search."""
NONE = -1


@dataclass(slots=True)
class Messages:
    """What threads are made of: columns in the order of the mailbox."""

    dates: list[int] = field(default_factory=list)
    """Sent dates, in seconds since the epoch."""
    arrivals: Sequence[int] = ()
    """Internal dates; only REFS wants them."""
    ids: array[int] = field(default_factory=lambda: array("Q"))
    """A number for each Message ID, 0 for none."""
    references: array[int] = field(default_factory=lambda: array("Q"))
    """Those of all messages, one message after the other."""
    counts: array[int] = field(default_factory=lambda: array("H"))
    """How many references each has."""
    subjects: array[int] = field(default_factory=lambda: array("I"))
    """A number for each base subject, in no order; 0 for the empty one."""
    replies: bytearray = field(default_factory=bytearray)
    """Whether each is a reply or forward."""
    names: dict[bytes, int] = field(default_factory=lambda: {b"": 0})
    """Base subjects and their numbers."""

    def __len__(self) -> int:
        return len(self.dates)

    def add(self, date: int, reply: bool, own: int, references: bytes, subject: bytes) -> None:
        """One more message. `references`: the octets of an array of numbers."""
        self.dates.append(date)
        self.replies.append(reply)
        self.ids.append(own)
        self.references.frombytes(references)
        self.counts.append(len(references) // 8)
        self.subjects.append(self.names.setdefault(subject, len(self.names)))


@dataclass(slots=True)
class Forest:
    """Threads in the order of the response: the messages, and what stands before each of them."""

    nodes: array[int]
    marks: list[bytes]
    """As b")(", one a message."""
    end: bytes
    """What stands behind the last one."""


Algorithm = Callable[[Messages], Forest]


# --- ORDEREDSUBJECT -------------------------------------------------------------------------


def ordered_subject(messages: Messages) -> Forest:
    """RFC 5256 §3: messages of one base subject are a thread, by sent date."""
    by_date = _by_date(messages)
    threads: dict[int, list[int]] = {}
    for node in by_date:
        threads.setdefault(messages.subjects[node], []).append(node)
    children: dict[int, list[int]] = {members[0]: members[1:] for members in threads.values()}
    return _Writer(len(messages), children).forest([*children])  # in the order of their first messages, as met above


# --- REFERENCES and REFS --------------------------------------------------------------------


def references(messages: Messages) -> Forest:
    """RFC 5256 §3."""
    ranks = _ranks(_by_date(messages))
    tree = _Tree(messages, ranks)
    roots = _by_subject(tree, messages)
    tree.sort(roots)
    return _Writer(tree.count, tree.children).forest(roots)


def refs(messages: Messages) -> Forest:
    """draft-ietf-morg-inthread-01 §4: as REFERENCES, but threads stand in the order of their most recent internal
    dates, and subjects do not count."""
    arrivals = messages.arrivals
    order = in_parts(range(len(messages)), arrivals.__getitem__)
    tree = _Tree(messages, _ranks(_by_date(messages)))
    roots = tree.roots
    tree.sort(roots)
    latest = dict.fromkeys(roots, NONE)
    top = tree.tops()
    for rank, node in enumerate(order):
        latest[top[node]] = rank
    roots.sort(key=latest.__getitem__)
    return _Writer(tree.count, tree.children).forest(roots)


def _by_date(messages: Messages) -> list[int]:
    """Messages by sent date; the place in the mailbox breaks ties."""
    return in_parts(range(len(messages)), messages.dates.__getitem__)


def _ranks(order: Sequence[int]) -> array[int]:
    ranks = array("I", bytes(4 * len(order)))
    for rank, node in enumerate(order):
        ranks[node] = rank
    return ranks


class _Links:
    """Step (1): who is whose parent."""

    def __init__(self, messages: Messages) -> None:
        self.parents = array("i", [NONE]) * len(messages)
        self._child_counts = array("I", bytes(4 * len(messages)))
        self._steps = LEAST_STEPS + STEPS_PER_MESSAGE * len(messages)
        nodes: dict[int, int] = {}
        for node, own in enumerate(messages.ids):
            if own:
                nodes.setdefault(own, node)  # the first message has the Message ID, others have one of their own
        starts = accumulate(messages.counts, initial=0)
        for node, (start, count) in enumerate(zip(starts, messages.counts, strict=False)):
            last = self._chain(messages.references[start : start + count], nodes) if count else NONE
            self._set_parent(node, last)

    def _chain(self, ids: Sequence[int], nodes: dict[int, int]) -> int:
        """(1.A): each reference is the parent of the next. Returns the last one's node."""
        parents = self.parents
        before = NONE
        for own in ids:
            node = nodes.get(own)
            if node is None:
                node = nodes[own] = len(parents)
                parents.append(NONE)
                self._child_counts.append(0)
            if before != NONE and parents[node] == NONE and not self._is_loop(before, node):
                self._link(before, node)
            before = node
        return before

    def _set_parent(self, node: int, parent: int) -> None:
        """(1.B): the last reference is the parent, whatever other messages said."""
        known = self.parents[node]
        if known == parent:
            return
        if known != NONE:
            self._child_counts[known] -= 1
            self.parents[node] = NONE
        if parent != NONE and not self._is_loop(parent, node):
            self._link(parent, node)

    def _link(self, parent: int, node: int) -> None:
        self.parents[node] = parent
        self._child_counts[parent] += 1

    def _is_loop(self, parent: int, node: int) -> bool:
        """Whether `parent` is `node`, which has no parent now, or a descendant of it."""
        if parent == node:
            return True
        if not self._child_counts[node]:
            return False
        parents = self.parents
        while (above := parents[parent]) != NONE:
            self._steps -= 1
            if self._steps < 0:
                return True
            parent = above
        return parent == node


class _Tree:
    """Steps (2) to (4), and (6). `children` has those of messages and of the dummies that are left, which
    are all under the root."""

    def __init__(self, messages: Messages, ranks: array[int]) -> None:
        self.count = len(messages)
        self.ranks = ranks
        self._next = 0
        """The number of the next dummy."""
        self.children: dict[int, list[int]] = {}
        self.roots: list[int] = []
        self._gather(_Links(messages).parents)

    def is_dummy(self, node: int) -> bool:
        return node >= self.count

    def new_dummy(self, children: list[int]) -> int:
        node, self._next = self._next, self._next + 1
        self.children[node] = children
        return node

    def first(self, node: int) -> int:
        """The message by which a node is sorted: of a dummy, its first child."""
        return node if node < self.count else self.children[node][0]

    def sort(self, nodes: list[int]) -> None:
        """(6): all siblings by sent date."""
        rank = self.ranks.__getitem__
        for siblings in self.children.values():
            if len(siblings) > 1:
                siblings.sort(key=rank)
        nodes.sort(key=lambda node: rank(self.first(node)))

    def tops(self) -> list[int]:
        """The node under the root that each message stands below, or is."""
        top = [NONE] * self.count
        for root in self.roots:
            waiting = [root]
            while waiting:
                node = waiting.pop()
                if node < self.count:
                    top[node] = root
                waiting += self.children.get(node, ())
        return top

    def _gather(self, parents: array[int]) -> None:
        """(2) and (3): every message below its nearest ancestor that is a message; those of which all ancestors
        are dummies below the topmost one, or under the root where there is only one."""
        count, children = self.count, self.children
        nearest: dict[int, int] = {}
        for node in range(count):
            parent = parents[node]
            if parent >= count:
                parent = self._nearest(parent, parents, nearest)
            if parent == NONE:
                self.roots.append(node)
            else:
                children.setdefault(parent, []).append(node)
        self._next = len(parents)
        for node in range(count, len(parents)):
            siblings = children.get(node)
            if siblings is None:
                continue
            siblings.sort(key=self.ranks.__getitem__)
            if len(siblings) == 1:
                self.roots.append(siblings[0])
                del children[node]
            else:
                self.roots.append(node)
        self.roots.sort(key=lambda node: self.ranks[self.first(node)])

    def _nearest(self, dummy: int, parents: array[int], nearest: dict[int, int]) -> int:
        """The nearest ancestor of a dummy that is a message, else the topmost dummy."""
        passed: list[int] = []
        node = dummy
        while node >= self.count and node not in nearest:
            passed.append(node)
            if parents[node] == NONE:
                break
            node = parents[node]
        found = nearest.get(node, node)
        nearest.update(dict.fromkeys(passed, found))
        return found


def _by_subject(tree: _Tree, messages: Messages) -> list[int]:
    """Step (5): threads of the same base subject come together. Returns what is under the root then."""
    subjects, replies = messages.subjects, messages.replies
    table: dict[int, int] = {}
    for node in tree.roots:
        subject = subjects[tree.first(node)]
        known = table.setdefault(subject, node)
        if known != node and not tree.is_dummy(known) and (
            tree.is_dummy(node) or (replies[known] and not replies[node])
        ):  # fmt: skip
            table[subject] = node
    roots: list[int] = []
    below: set[int] = set()
    for node in tree.roots:
        subject = subjects[tree.first(node)]
        if not subject or table[subject] == node:
            roots.append(node)
        elif node not in below:
            _merge(tree, table, subject, node, replies, roots, below)
    return [node for node in roots if node not in below]


def _merge(
    tree: _Tree, table: dict[int, int], subject: int, node: int, replies: bytearray, roots: list[int], below: set[int]
) -> None:
    """(5.C): `node` with the thread that the subject table has. What comes to stand below another is in `below`."""
    known = table[subject]
    if tree.is_dummy(known):
        if tree.is_dummy(node):
            tree.children[known] += tree.children.pop(node)
        else:
            tree.children[known].append(node)
    elif replies[node] and not replies[known]:
        tree.children.setdefault(known, []).append(node)
    else:
        below.add(known)
        table[subject] = made = tree.new_dummy([known, node])
        roots.append(made)


# --- the response ---------------------------------------------------------------------------


class _Writer:
    """Writes threads as thread-list (RFC 5256 §5). Nodes from `count` on are dummies, which have no number."""

    def __init__(self, count: int, children: dict[int, list[int]]) -> None:
        self._count = count
        self._children = children

    def forest(self, roots: Sequence[int]) -> Forest:
        known: dict[bytes, bytes] = {}
        nodes, marks = array("I"), []
        pending: list[bytes] = []
        for piece in chain.from_iterable(map(self._thread, roots)):
            if isinstance(piece, bytes):
                pending.append(piece)
            else:
                mark = b"".join(pending)
                marks.append(known.setdefault(mark, mark))
                nodes.append(piece)
                pending.clear()
        return Forest(nodes, marks, b"".join(pending))

    def _thread(self, root: int) -> Iterator[bytes | int]:
        # thread-list = "(" (thread-members / thread-nested) ")"
        children = self._children
        waiting: list[bytes | int] = [b")", root, b"("]
        while waiting:
            piece = waiting.pop()
            if isinstance(piece, bytes):
                yield piece
                continue
            below = children.get(piece, ())
            if piece < self._count:
                yield piece
                if len(below) == 1:
                    waiting += (below[0], b" ")
                    continue
            for child in reversed(below):
                waiting += (b")", child, b"(")
            if piece < self._count and below:
                waiting.append(b" ")
