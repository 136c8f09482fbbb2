"""The fixture in conftest.py that fails a test which leaves something behind."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

DIRTY = """
import conftest
conftest.SETTLE = 0.02

def test_timer():
    from twisted.internet import reactor
    reactor.callLater(100, print)

def test_port():
    from twisted.internet import reactor, protocol
    reactor.listenTCP(0, protocol.Factory(), interface="127.0.0.1")

def test_dropped_error():
    from twisted.internet import defer
    defer.fail(ValueError("x"))

def test_clean():
    from twisted.internet import defer
    defer.fail(ValueError("x")).addErrback(lambda failure: None)
"""


def test_a_dirty_test_fails(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text())
    pytester.makepyfile(DIRTY)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=4, errors=3)
    result.stdout.fnmatch_lines(["*left these in the reactor*", "*nobody handled*"])
