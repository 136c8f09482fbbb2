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
    """Prints events as text, `width` characters wide."""

    def __init__(self, out: Print, *, color: bool, width: int = 100) -> None:
        self._out = out
        self._color = color
        self._width = max(60, width)
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
                for line in textwrap.wrap(event.text, self._width - 6):
                    self._out(self._paint(_YELLOW, f"    » {line}"))

    def _scene(self, scene: Scene) -> None:
        arrow = {"push": "──▶ server", "pull": "◀── server"}.get(scene.model, "")
        self._out("")
        self._out(self._paint(_BOLD, f"{scene.title}   {arrow}".rstrip()))
        self._out(self._paint(_DIM, f"  {scene.remark}"))

    def _line(self, line: WireLine) -> None:
        speaker, color = ("C:", _CYAN) if line.says else ("S:", _GREEN)
        room = self._width - 27
        text = line.text if len(line.text) <= room else line.text[: room - 1] + "…"
        self._out(f"{line.at:7.1f} {line.who:<14}{self._paint(color, f'{speaker} {text}')}")

    def _disk(self, disk: OnDisk) -> None:
        if disk.files == self._seen:
            self._out(self._paint(_DIM, "        on disk: the same as before"))
            return
        self._seen = disk.files
        self._out(self._paint(_DIM, "        on disk:" + ("" if disk.files else " nothing yet")))
        for path, size in disk.files:
            self._out(f"          {self._paint(_BOLD, path)}  {size} octets")

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
