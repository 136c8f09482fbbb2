"""SEARCH=FUZZY (RFC 6203): words in any order, most of them, each with one slip of the pen; and how well they fit.

A string key under FUZZY matches when the words that are found come to half of those that are asked for: a word counts
for 1 as it is, and for less with one letter too many, too few, another or two in the wrong order. Accents do
not count. All other keys are as they always are (§5)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING

from mailstack.errors import BadSyntax
from mailstack.imap import summary, texts
from mailstack.imap.core.search import Result, ResultPart
from mailstack.imap.registry import Capability, Feature
from mailstack.imap.search_content import Content, fold, readable
from mailstack.imap.search_keys import ColumnKey, ContentKey, Message, Rows, Source, leaves
from mailstack.imap.wire.cursor import Cursor
from mailstack.imap.wire.values import And, BodyHas, HeaderHas, Not, Or, SearchKey, TextHas
from mailstack.ports import MEMORY_LIMIT, Octets, Wanted

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

MAX_WORDS = 20
"""Words of one text that are looked for; ours."""
SHORTEST = 4
"""Letters of a word that may have a slip."""
ENOUGH = 0.5
SLIP = 0.6
"""What a word with a slip counts."""
SCATTERED = 0.9
"""What words count that do not stand together as they were given."""
AT_ONCE = 50
"""Messages that are scored in one visit to a worker."""
MAX_PLACES = 50
"""Places in a text where half a word stands, and is looked at; ours."""
_WORD = re.compile(r"[^\W_]+")
_ACCENTS = re.compile("[\u0300-\u036f]+")


def plain(text: str) -> str:
    """A folded text without its accents."""
    return text if text.isascii() else _ACCENTS.sub("", text)


@dataclass(frozen=True, slots=True)
class Phrase:
    """What is looked for: a plain text, and its words."""

    text: str
    words: tuple[str, ...]

    def score(self, text: str) -> float:
        """How well a folded text fits, from 0 to 1."""
        text = plain(text)
        if self.text in text:
            return 1.0
        if not self.words:
            return 0.0
        found = sum(1.0 if word in text else SLIP if slipped(word, text) else 0.0 for word in self.words)
        return SCATTERED * found / len(self.words)

    def fits(self, text: str) -> bool:
        return self.score(text) >= SCATTERED * ENOUGH


def phrase(text: str) -> Phrase:
    text = plain(fold(text))
    return Phrase(text, tuple(dict.fromkeys(_WORD.findall(text)))[:MAX_WORDS])


def slipped(word: str, text: str) -> bool:
    """Whether a word is in a text with one slip: one half of it is then there as it is, or the middle is wrong."""
    if len(word) < SHORTEST:
        return False
    middle = len(word) // 2
    first, second = word[:middle], word[middle:]
    if first[:-1] + second[0] + first[-1] + second[1:] in text:
        return True  # the two letters in the middle
    for place in _places(first, text):
        start = place + len(first)
        if _begins(second, text[start : start + len(second) + 1]):
            return True
    for place in _places(second, text):
        if _begins(first[::-1], text[max(place - len(first) - 1, 0) : place][::-1]):
            return True
    return False


def _places(part: str, text: str) -> Iterator[int]:
    place = text.find(part)
    for _ in range(MAX_PLACES):
        if place < 0:
            return
        yield place
        place = text.find(part, place + 1)


def _begins(part: str, text: str) -> bool:
    """Whether a text begins with a part that has one slip."""
    same = 0
    while same < min(len(part), len(text)) and part[same] == text[same]:
        same += 1
    part, text = part[same:], text[same:]
    return (
        text[1:].startswith(part[1:])  # another letter
        or text.startswith(part[1:])  # one too few
        or text[1:].startswith(part)  # one too many
        or (part[:2] == text[1::-1] and text[2:].startswith(part[2:]))
    )


# --- the keys ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FuzzyHas(ContentKey):
    """HEADER and its like, BODY or TEXT under FUZZY."""

    key: HeaderHas | BodyHas | TextHas

    def matches(self, message: Message) -> bool:
        return self.score(message) >= SCATTERED * ENOUGH

    def score(self, message: Message) -> float:
        """From 0 to 1."""
        wanted = phrase(self.key.text)
        if not wanted.text and not isinstance(self.key, HeaderHas):
            return 1.0
        return max(map(wanted.score, self._texts(message)), default=0.0)

    def _texts(self, message: Message) -> Iterator[str]:
        match self.key:
            case HeaderHas(field, _):
                yield from (fold(readable(raw)) for raw in message.fields().get(field.lower(), ()))
                return
            case TextHas():
                yield message.header_text()
        if len(message.octets) <= MEMORY_LIMIT:
            yield from message.body_texts()
        else:  # its words as they are, since the whole would not fit
            yield " ".join(word for word in phrase(self.key.text).words if message.body_has(word))

    def sources(self, *, keeps_texts: bool) -> tuple[Source, ...]:
        wanted = phrase(self.key.text)
        match self.key:
            case HeaderHas(field, _) if field.lower() in summary.SEARCHED:
                holds = partial(_any_fits, wanted, summary.SEARCHED.index(field.lower()))
                return ((summary.ITEM, summary.summarize, Wanted(holds=holds)),)
            case BodyHas() | TextHas() if keeps_texts:
                return tuple(
                    (item, make, Wanted(holds=partial(_one_fits, wanted))) for item, make, _ in texts.sources(self.key)
                )
        return ()


def _any_fits(wanted: Phrase, place: int, value: bytes) -> bool:
    return any(map(wanted.fits, summary.texts_of(place, value)))


def _one_fits(wanted: Phrase, value: bytes) -> bool:
    return not wanted.text or any(map(wanted.fits, texts.texts_of(value)))


@dataclass(frozen=True, slots=True)
class IsFuzzy(ColumnKey):
    """Every message; tells that FUZZY was there."""

    def decide(self, rows: Rows) -> Iterable[bool]:
        return repeat(True, len(rows.columns.uids))


def fuzzily(key: SearchKey) -> SearchKey:
    # search-key =/ "FUZZY" SP search-key
    return And((IsFuzzy(), _loosened(key)))


def _loosened(key: SearchKey) -> SearchKey:
    match key:
        case And(keys):
            return And(tuple(map(_loosened, keys)))
        case Or(left, right):
            return Or(_loosened(left), _loosened(right))
        case Not(inside):
            return Not(_loosened(inside))
        case HeaderHas() | BodyHas() | TextHas():
            return FuzzyHas(key)
        case _:
            return key


# --- relevancy --------------------------------------------------------------------------------


def relevancy(key: SearchKey, octets: Octets) -> int:
    """From 1 to 100, of a message that matches. Pure; for Mailbox.examine."""
    score = _score(key, Content(octets))
    return 100 if score is None else max(round(100 * score), 1)


def _score(key: SearchKey, message: Message) -> float | None:
    """The mean of what is looked for, the better of an OR; None where nothing is fuzzy."""
    match key:
        case And(keys):
            scores = [score for inside in keys if (score := _score(inside, message)) is not None]
            return sum(scores) / len(scores) if scores else None
        case Or(left, right):
            scores = [score for inside in (left, right) if (score := _score(inside, message)) is not None]
            return max(scores, default=None)
        case FuzzyHas():
            return key.score(message)
        case _:
            return None


def relevancy_option(cur: Cursor) -> None:
    # search-return-opt =/ "RELEVANCY"
    return None


def shown(result: Result) -> Sequence[int]:
    """The messages of which a result tells."""
    parts = [option for option in (result.returns or {}).values() if isinstance(option, ResultPart)]
    return parts[0].of(result.uids) if parts else result.uids


async def find_scores(session: ImapSession, result: Result) -> None:
    """Raises: BadSyntax for RELEVANCY without FUZZY (§4)."""
    if result.returns is None or b"RELEVANCY" not in result.returns:
        return
    if not any(isinstance(leaf, IsFuzzy) for leaf in leaves(result.key)):
        raise BadSyntax("FUZZY, for RELEVANCY")
    uids = shown(result)
    for start in range(0, len(uids), AT_ONCE):
        batch = uids[start : start + AT_ONCE]
        scores = await session.view.mailbox.examine(batch, partial(relevancy, result.key))
        result.scores.update({uid: score or 1 for uid, score in zip(batch, scores, strict=True)})


def relevancy_data(session: ImapSession, result: Result) -> bytes:
    # search-return-data =/ "RELEVANCY" SP score-list ; score-list = "(" [score *(SP score)] ")"
    if result.returns is None or b"RELEVANCY" not in result.returns:
        return b""
    return b"RELEVANCY (%b)" % b" ".join([b"%d" % result.scores[uid] for uid in shown(result)])


FEATURE = Feature(
    capabilities=(Capability("SEARCH=FUZZY"),),
    search_prefixes={b"FUZZY": fuzzily},
    search_returns={b"RELEVANCY": relevancy_option},
    search_preparations=(find_scores,),
    search_data=(relevancy_data,),
)
