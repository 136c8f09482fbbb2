"""Events → a terminal, plain text, or JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable

from mailstack.tour.events import Event, OnDisk, Remark, Scene, WireLine
from mailstack.tour.scenes import as_document

Print = Callable[[str], None]
_BOLD, _DIM, _GREEN, _CYAN, _YELLOW, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[36m", "\x1b[33m", "\x1b[0m"


class Show:
    """Prints events as text. Long lines are continued on the next one after `width` characters; None:
    they are left as they are."""

    def __init__(self, out: Print, *, color: bool, width: int | None = None) -> None:
        self._out = out
        self._color = color
        self._width = None if width is None else max(60, width)
        self._began = False
        self._seen: tuple[tuple[str, int], ...] | None = None

    def record(self, event: Event) -> None:
        match event:
            case Scene():
                self._scene(event)
            case WireLine():
                self._line(event)
            case OnDisk():
                self._disk(event)
            case Remark():
                for line in self._cut(event.text, 6):
                    self._out(self._paint(_YELLOW, f"    » {line}"))

    def _scene(self, scene: Scene) -> None:
        arrow = {"push": "──▶ server", "pull": "◀── server"}.get(scene.model, "")
        if self._began:
            self._out("")
        self._began = True
        self._out(self._paint(_BOLD, f"{scene.title}   {arrow}".rstrip()))
        self._out(self._paint(_DIM, f"  {scene.remark}"))

    def _line(self, line: WireLine) -> None:
        speaker, color = ("C:", _CYAN) if line.says else ("S:", _GREEN)
        for number, text in enumerate(self._cut(line.text, 26)):
            before = f"{line.at:7.1f} {line.who:<14}" if number == 0 else " " * 22
            self._out((before + self._paint(color, f"{speaker if number == 0 else '  '} {text}")).rstrip())

    def _disk(self, disk: OnDisk) -> None:
        if disk.files == self._seen:
            self._out(self._paint(_DIM, "        on disk: as before"))
            return
        self._seen = disk.files
        self._out(self._paint(_DIM, "        on disk:" + ("" if disk.files else " nothing yet")))
        for path, size in disk.files:
            self._out(f"          {self._paint(_BOLD, path)}  {size} octets")

    def _cut(self, text: str, margin: int) -> list[str]:
        """In pieces that have room beside a margin; at least one."""
        if self._width is None or len(text) <= self._width - margin:
            return [text]
        return textwrap.wrap(text, self._width - margin, drop_whitespace=False)

    def _paint(self, code: str, text: str) -> str:
        return f"{code}{text}{_RESET}" if self._color else text


class JsonShow:
    """Collects events and prints them as one JSON array at the end."""

    def __init__(self, out: Print) -> None:
        self._out = out
        self._events: list[dict[str, object]] = []

    def record(self, event: Event) -> None:
        self._events.append(as_document(event))

    def finish(self) -> None:
        self._out(json.dumps(self._events, indent=2, ensure_ascii=False))
