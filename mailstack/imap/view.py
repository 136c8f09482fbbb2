"""The selected mailbox as one client knows it: the only place where message sequence numbers exist.

The client knows `uids`, in order; what others changed since is noted and told at the next flush. An
EXPUNGE is withheld while sequence numbers are in use (RFC 9051 §7.5.1)."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import compress, count, islice
from typing import TYPE_CHECKING, Protocol

from mailstack.acl import ALL_RIGHTS, Rights
from mailstack.imap.wire import encode
from mailstack.imap.wire.values import STAR, SequenceSet
from mailstack.ports import MAX_KEYWORDS, Added, Change, Expunged, FlagsChanged, Mailbox, MailboxGone

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

_FEW = 8
"""Messages among which one is asked for, on average, from which on each is looked up by itself."""


class Watcher(Protocol):
    """What follows the changes of the selected mailbox beside the client, and tells it more of them."""

    async def expunged(self, session: ImapSession, uids: Collection[int]) -> None:
        """Before the client is told that these messages are gone."""

    async def changed(self, session: ImapSession, uids: Sequence[int]) -> None:
        """After the client was told that these messages (UIDs ascending) are new, or have other flags."""


class View:
    """Implements `ports.MailboxListener`."""

    def __init__(self, wake: Callable[[], None], *, read_only: bool, uid_only: bool = False) -> None:
        self.read_only = read_only
        self.uid_only = uid_only
        """No message sequence number is said (RFC 9586): `number` and `numbers` are UIDs."""
        self.gone = False
        """The mailbox is not there any more; the session must leave it."""
        self.uids: array[int] = array("I")
        """What the client knows; `uids[n-1]` is message n."""
        self.recent: set[int] = set()
        self.tells_flags = True
        """Whether the client is to be told of flags that others change."""
        self.saved: tuple[int, ...] = ()
        """UIDs of the last SEARCH RETURN (SAVE) (RFC 5182)."""
        self.watchers: dict[bytes, Watcher] = {}
        """By tag."""
        self._touched: set[int] = set()
        """What watchers are to hear of."""
        self._wake = wake
        self._mailbox: Mailbox | None = None
        self._added: list[int] = []
        self._expunged: set[int] = set()
        self._since_expunged = 0
        """The mod-sequence of the first of the messages in `_expunged`."""
        self._since_untold = 0
        """The mod-sequence of the first change of flags that is not to be told; 0 for none."""
        self._told_expunged = False
        """Whether EXPUNGE or VANISHED was told since `modseq_to_tell` was asked."""
        self._changed: set[int] = set()
        self._renumbered: set[int] = set()
        """Messages of which the client knows the flags, and not the mod-sequence."""
        self._lists = encode.FlagLists(())
        self._listed_keywords = 0
        self._told_keywords = 0
        self._told_rights: Rights = ALL_RIGHTS

    @property
    def mailbox(self) -> Mailbox:
        """The open mailbox."""
        assert self._mailbox is not None
        return self._mailbox

    def begin(self, mailbox: Mailbox) -> None:
        """The client is told of everything that is there now."""
        self._mailbox = mailbox
        self.uids = array("I", mailbox.uids)
        self._added.clear()
        self._expunged.clear()
        self._changed.clear()
        self._renumbered.clear()
        self._told_expunged = False
        self._since_untold = 0
        self._told_keywords = self._listed_keywords = len(mailbox.keywords)
        self._lists = encode.FlagLists(mailbox.keywords)
        self._told_rights = mailbox.rights
        if not self.read_only:
            self.recent.update(mailbox.claim_recent())

    def changed(self, change: Change) -> None:
        if self.watchers and isinstance(change, Added | FlagsChanged):
            self._touched.update(change.uids)
        match change:
            case Added(uids):
                if self.uids and uids[0] <= self.uids[-1]:
                    # UIDs ascend with numbers (RFC 9051 §2.3.1.1): only another SELECT can show it in its place.
                    self.gone = True
                self._added.extend(uids)
            case FlagsChanged(uids, by):
                if by is self:
                    self._renumbered.update(uids)
                elif self.tells_flags:
                    self._changed.update(uids)
                elif not self._since_untold and self._mailbox is not None:
                    self._since_untold = self._mailbox.highest_modseq
            case Expunged(uids):
                if not self._expunged and self._mailbox is not None:
                    self._since_expunged = self._mailbox.highest_modseq
                self._expunged.update(uids)
            case MailboxGone():
                self.gone = True
        self._wake()

    def note_flags(self, uids: Iterable[int]) -> None:
        """The client is to be told the flags of these at the next flush."""
        self._changed.update(uids)

    def note_modseqs(self, uids: Iterable[int]) -> None:
        """The client knows the flags of these, and is to be told their mod-sequences at the next flush if it wants
        any."""
        self._renumbered.update(uids)

    def close(self) -> None:
        mailbox, self._mailbox = self._mailbox, None
        if mailbox is not None:
            mailbox.close(self)

    # --- numbers

    def seq(self, uid: int) -> int:
        """The message sequence number; 0 if the client does not know the message."""
        index = bisect_left(self.uids, uid)
        return index + 1 if index < len(self.uids) and self.uids[index] == uid else 0

    def select(self, numbers: SequenceSet, *, by_uid: bool) -> Sequence[int]:
        """UIDs of the messages that a sequence-set names, ascending, each once. Numbers above the last
        are passed over; `valid_seqs` says whether there are any."""
        if not self.uids:
            return []
        if len(numbers) == 1:
            return self._range(*numbers[0], by_uid=by_uid)
        found: set[int] = set()
        for low, high in numbers:
            found.update(self._range(low, high, by_uid=by_uid))
        return sorted(found)

    def _range(self, low: int, high: int, *, by_uid: bool) -> Sequence[int]:
        uids = self.uids
        if low == -1:  # "$"
            return [uid for uid in self.saved if self.seq(uid)]
        last = uids[-1] if by_uid else len(uids)
        low, high = (last if low == STAR else low), (last if high == STAR else high)
        low, high = min(low, high), max(low, high)
        if by_uid:
            return uids[bisect_left(uids, low) : bisect_right(uids, high)]
        return uids[low - 1 : high]

    def valid_seqs(self, numbers: SequenceSet) -> bool:
        """Whether every message sequence number is one of a message (RFC 9051 §9: seq-number)."""
        count = len(self.uids)
        return all(bound <= count or (bound == STAR and count) or bound == -1 for pair in numbers for bound in pair)

    # --- what the client is told

    def flag_bits(self, uid: int, *, rev2: bool) -> int:
        """Flags with \\Recent, as `encode.FlagLists` wants them."""
        bits = self.mailbox.flags(uid) or 0
        return bits if rev2 or uid not in self.recent else bits | encode.RECENT

    def number(self, uid: int) -> int:
        """What a FETCH response begins with."""
        return uid if self.uid_only else self.seq(uid)

    def numbers(self, uids: Sequence[int]) -> Sequence[int]:
        """The message sequence numbers of messages (UIDs ascending) that the client knows."""
        if self.uid_only:
            return uids
        first = self.seq(uids[0]) if len(uids) else 0
        wanted = uids if isinstance(uids, array) else array("I", uids)
        if first and self.uids[first - 1 : first - 1 + len(uids)] == wanted:
            return range(first, first + len(uids))
        if len(uids) * _FEW < len(self.uids):
            return list(map(self.seq, uids))
        return list(compress(count(1), map(frozenset(uids).__contains__, self.uids)))

    def numbers_of(self, uids: Sequence[int]) -> Sequence[int]:
        """As `numbers`, of messages in any order."""
        if all(map(int.__lt__, uids, islice(uids, 1, None))):
            return self.numbers(uids)
        return list(map(self.numbering(len(uids)), uids))

    def numbering(self, count_of_uids: int) -> Callable[[int], int]:
        """What gives message sequence numbers, made for so many of them in any order."""
        if count_of_uids * _FEW < len(self.uids):
            return self.seq
        return dict(zip(self.uids, count(1), strict=False)).__getitem__

    def all_flag_bits(self, uids: Sequence[int], flags: Sequence[int], *, rev2: bool) -> Sequence[int]:
        """`flag_bits` of many messages whose flags are at hand."""
        if rev2 or not self.recent:
            return flags
        recent = self.recent
        return [bits | encode.RECENT if uid in recent else bits for uid, bits in zip(uids, flags, strict=True)]

    @property
    def lists(self) -> encode.FlagLists:
        """Flag bits → "(\\Seen)"."""
        if len(self.mailbox.keywords) != self._listed_keywords:
            self._listed_keywords = len(self.mailbox.keywords)
            self._lists = encode.FlagLists(self.mailbox.keywords)
        return self._lists

    def new_keywords(self) -> bytes:
        """The untagged FLAGS response, when the mailbox has a keyword that the client was not told of:
        it goes before a response that shows it (RFC 9051 §7.3.5). b"" otherwise."""
        if len(self.mailbox.keywords) == self._told_keywords:
            return b""
        self._told_keywords = len(self.mailbox.keywords)
        return b"* FLAGS %s\r\n" % all_flags(self.mailbox)

    def new_rights(self) -> bool:
        """Whether the user has other rights than the client was told; it is told now. What was selected
        READ-ONLY stays so."""
        if self._mailbox is None or self.read_only or self._mailbox.rights == self._told_rights:
            return False
        self._told_rights = self._mailbox.rights
        return True

    @property
    def idle(self) -> bool:
        """Whether a flush has nothing to say."""
        keywords = 0 if self._mailbox is None else len(self._mailbox.keywords)
        noted = self._added or self._expunged or self._changed or self._renumbered
        return not (noted or self.gone or keywords != self._told_keywords)

    def going(self) -> Collection[int]:
        """Messages whose EXPUNGE was not told yet."""
        return self._expunged

    def touched(self) -> list[int]:
        """Messages that watchers are to hear of, ascending, each once: new ones after they were told, changed ones."""
        if not self._touched:
            return []
        last = self.uids[-1] if self.uids else 0
        known = sorted(uid for uid in self._touched if uid <= last)
        self._touched = {uid for uid in self._touched if uid > last}
        return known

    @property
    def highest_modseq(self) -> int:
        """All that happened up to this mod-sequence, the client was told, or is told at the next flush that may tell
        nothing of EXPUNGE (RFC 7162 §3.2)."""
        untold = [since for since in (self._expunged and self._since_expunged, self._since_untold) if since]
        return max(min(untold) - 1, 1) if untold else self.mailbox.highest_modseq

    def withholds(self, uid: int) -> bool:
        """Whether the message is gone, and the client was not told yet."""
        return uid in self._expunged

    def modseq_to_tell(self) -> int:
        """HIGHESTMODSEQ, if the client must hear it after a flush, since what it would make of the mod-sequences
        that it was told is too high while an EXPUNGE is withheld, and too low after one (RFC 7162 §3.2 and §6);
        0 otherwise."""
        told, self._told_expunged = self._told_expunged, False
        return self.highest_modseq if told or self._expunged or self._since_untold else 0

    def flush(
        self, *, allow_expunge: bool, rev2: bool, condstore: bool = False, qresync: bool = False
    ) -> Iterator[bytes]:
        """Untagged responses for what others did, in an order that keeps numbers true. `condstore`: with
        mod-sequences; `qresync`: VANISHED in the place of EXPUNGE."""
        if self.idle or self.gone:
            return
        if allow_expunge and self._expunged:
            yield from self._flush_expunged(qresync=qresync)
        if self._added:
            yield from self._flush_added(rev2=rev2)
        if new := self.new_keywords():
            yield new
        yield from self.flush_flags(rev2=rev2, condstore=condstore)

    def flush_flags(self, *, rev2: bool, condstore: bool = False) -> Iterator[bytes]:
        """Of what is to be told, the flags and mod-sequences alone."""
        changed, self._changed = self._changed, set()
        renumbered, self._renumbered = self._renumbered, set()
        if changed:
            yield from self._flush_changed(changed, rev2=rev2, condstore=condstore)
        if condstore:
            yield from self._flush_renumbered(renumbered - changed)

    def _flush_expunged(self, *, qresync: bool) -> Iterator[bytes]:
        expunged, self._expunged = self._expunged, set()
        self._added = [uid for uid in self._added if uid not in expunged]
        self._changed -= expunged
        self._renumbered -= expunged
        self.recent -= expunged
        known = [(uid, seq) for uid in sorted(expunged) if (seq := self.seq(uid))]
        self.uids = array("I", [uid for uid in self.uids if uid not in expunged])
        self._told_expunged = self._told_expunged or bool(known)
        if qresync or self.uid_only:
            yield from encode.vanished(encode.sequence_set([uid for uid, _ in known]))
            return
        for _, seq in reversed(known):  # highest first: each is still true when it is read
            yield b"* %d EXPUNGE\r\n" % seq

    def _flush_changed(self, changed: set[int], *, rev2: bool, condstore: bool) -> Iterator[bytes]:
        found = self.mailbox.columns(sorted(changed))
        flags = self.all_flag_bits(found.uids, found.flags, rev2=rev2)
        lists = self.lists
        for uid, bits, modseq in zip(found.uids, flags, found.modseqs, strict=True):
            if seq := self.seq(uid):
                more = b" MODSEQ (%d)" % modseq if condstore else b""
                yield b"* %b(%bFLAGS %b%b)\r\n" % (*self._fetch(seq, uid), lists[bits], more)

    def _flush_renumbered(self, renumbered: set[int]) -> Iterator[bytes]:
        found = self.mailbox.columns(sorted(renumbered))
        for uid, modseq in zip(found.uids, found.modseqs, strict=True):
            if seq := self.seq(uid):
                yield b"* %b(%bMODSEQ (%d))\r\n" % (*self._fetch(seq, uid), modseq)

    def _fetch(self, seq: int, uid: int) -> tuple[bytes, bytes]:
        """What an unsolicited FETCH begins with, and its first item."""
        return (b"%d UIDFETCH " % uid, b"") if self.uid_only else (b"%d FETCH " % seq, b"UID %d " % uid)

    def _flush_added(self, *, rev2: bool) -> Iterator[bytes]:
        added, self._added = self._added, []
        last = self.uids[-1] if self.uids else 0
        new = sorted({uid for uid in added if uid > last})
        if not new:
            return
        self.uids.extend(new)
        if not self.read_only:
            self.recent.update(self.mailbox.claim_recent())
        yield b"* %d EXISTS\r\n" % len(self.uids)
        if not rev2:
            yield b"* %d RECENT\r\n" % len(self.recent)


def all_flags(mailbox: Mailbox) -> bytes:
    """Every flag that messages of the mailbox may have."""
    keywords = "".join(f" {name}" for name in mailbox.keywords if name)
    return b"(\\Answered \\Flagged \\Deleted \\Seen \\Draft%s)" % keywords.encode()


def permanent_flags(view: View) -> str:
    """The PERMANENTFLAGS response code: the flags that the user may change (RFC 4314 §5.1.1)."""
    rights = frozenset[str]() if view.read_only else view.mailbox.rights
    needed = {"\\Answered": "w", "\\Flagged": "w", "\\Deleted": "t", "\\Seen": "s", "\\Draft": "w"}
    flags = [flag for flag, right in needed.items() if right in rights]
    if "w" in rights:
        keywords = [*filter(None, view.mailbox.keywords)]
        flags += keywords if len(keywords) == MAX_KEYWORDS else [*keywords, "\\*"]  # "\*": it has room for more
    return f"PERMANENTFLAGS ({' '.join(flags)})"
