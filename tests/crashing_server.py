"""A mailstack server that ends as by `kill -9` at one system call of the store.

    python crashing_server.py POINT NUMBER ARMED python -m mailstack dev …

A point is `<module>.<function>:<call>`, as `deliver.deliver:fsync directory`: the function of
`mailstack.store.maildir` that asks for the call, and the call. The process dies before the NUMBER-th of them
that comes after the file ARMED was made; or, with "+" behind the point, after it. Only this program, in its
own process, puts itself in the place of functions of `os`; the server's code knows nothing of it.

With the point "list" nothing dies, and ARMED gets a line for each different point that was passed."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

ROOM = "mailstack.store.maildir."
CALLS = ("open", "write", "sendfile", "ftruncate", "fsync", "rename", "link", "unlink", "mkdir", "rmdir")
CARRIERS = frozenset({"sync_directory", "replace_file", "_rename", "make_directory", "_sync_removal"})
"""Functions that act for those who call them."""


class Points:
    """Counts the points that are passed, and kills at one."""

    def __init__(self, point: str, number: int, armed: str) -> None:
        self.point = point.removesuffix("+")
        self.after = point.endswith("+")
        self.left = number
        self.armed = armed
        self.passed: set[str] = set()
        self.lock = threading.Lock()

    def install(self) -> None:
        for name in CALLS:
            setattr(os, name, self.replacement(name, getattr(os, name)))

    def replacement(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if not self.is_here(name, arguments):
                return real(*arguments, **named)
            if self.after:
                real(*arguments, **named)
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("alive after SIGKILL")

        return call

    def is_here(self, name: str, arguments: tuple[Any, ...]) -> bool:
        if name == "open" and not arguments[1] & os.O_CREAT:
            return False
        if name == "fsync":
            name += " directory" if stat.S_ISDIR(os.fstat(arguments[0]).st_mode) else " file"
        who = asking(sys._getframe(2))
        if who is None:
            return False
        return self.count(f"{who}:{name}")

    def count(self, point: str) -> bool:
        with self.lock:
            if self.point == "list":
                if point not in self.passed:
                    self.passed.add(point)
                    with open(self.armed, "a", encoding="ascii") as file:
                        file.write(point + "\n")
                return False
            if point != self.point or not os.path.exists(self.armed):
                return False
            self.left -= 1
            return self.left == 0


def asking(frame: FrameType | None) -> str | None:
    """The function of the store for which a call is made."""
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(ROOM) and frame.f_code.co_name not in CARRIERS:
            return f"{module.removeprefix(ROOM)}.{frame.f_code.co_name}"
        frame = frame.f_back
    return None


if __name__ == "__main__":
    point, number, armed, *program = sys.argv[1:]
    Points(point, int(number), armed).install()
    sys.argv = ["mailstack", *program[3:]]  # without "python -m mailstack"
    sys.path[0] = os.getcwd()  # as "-m" does
    from mailstack.cli.main import main

    main()
