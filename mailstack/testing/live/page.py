"""What a reader of HTML sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_UNSEEN = frozenset({"script", "style", "head", "title", "template"})
_BREAKS = frozenset({"address", "blockquote", "br", "div", "dd", "dl", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "hr",
                     "li", "ol", "p", "pre", "table", "td", "th", "tr", "ul"})  # fmt: skip


@dataclass(slots=True)
class Page:
    """`text` with a line for each block, `links` as URL and text."""

    text: str = ""
    links: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, html: str) -> Page:
        """Never raises."""
        if not html:
            return cls()
        reader = _Reader()
        reader.feed(html)
        reader.close()
        lines = ("".join(reader.pieces)).split("\n")
        return cls("\n".join(" ".join(line.split()) for line in lines if line.strip()), reader.links)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.links: list[tuple[str, str]] = []
        self._hidden = 0
        self._link: tuple[str, int] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._hidden += 1
        elif tag in _BREAKS:
            self.pieces.append("\n")
        elif tag == "a":
            self._end_link()
            url = (dict(attrs).get("href") or "").strip()
            self._link = (url, len(self.pieces)) if url else None
        elif tag == "img":
            self.pieces.append(dict(attrs).get("alt") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag in _BREAKS:
            self.pieces.append("\n")
        elif tag == "a":
            self._end_link()

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(data.replace("\n", " "))

    def close(self) -> None:
        super().close()
        self._end_link()

    def _end_link(self) -> None:
        if self._link is not None:
            url, start = self._link
            self.links.append((url, " ".join("".join(self.pieces[start:]).split())))
            self._link = None
