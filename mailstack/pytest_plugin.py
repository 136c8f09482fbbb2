"""pytest's plugin: a mail server, and a mailbox for each test. Nothing is imported before a fixture is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from mailstack.testing import Mailbox, MailServer
    from mailstack.testing.live.settings import Way

SHOWN = 20
"""Lines of the server's log, when it has ended."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("mailstack_way", "how the mail server runs: auto (default), thread or process", default="auto")
    parser.addini("mailstack_timeout", "seconds that tests wait for mail, unless they say (default 10)", default="10")


@pytest.fixture(scope="session")
def mailserver(pytestconfig: pytest.Config) -> Iterator[MailServer]:
    """One mail server for all tests of this process, on free ports: `mailstack.testing.MailServer`."""
    from mailstack.testing import MailServer

    with MailServer(way=_way(pytestconfig), timeout=_timeout(pytestconfig)) as server:
        yield server


@pytest.fixture
def mailbox(mailserver: MailServer, request: pytest.FixtureRequest) -> Mailbox:
    """A mailbox of an address that no other test has: `mailstack.testing.Mailbox`."""
    from mailstack.testing import MailServerError

    if not mailserver.is_running:
        log = "\n".join(f"  {line}" for line in mailserver.log()[-SHOWN:])
        raise MailServerError(f"the mail server has ended; the end of its log:\n{log}")
    return mailserver.mailbox(request.node.name.replace("@", "-"))


@pytest.fixture
def mailserver_factory(pytestconfig: pytest.Config) -> Iterator[Callable[..., MailServer]]:
    """Starts servers with options of `mailstack.testing.MailServer`; they are stopped after the test."""
    from mailstack.testing import MailServer

    with ExitStack() as servers:

        def start(**options: Any) -> MailServer:
            usual = {"way": _way(pytestconfig), "timeout": _timeout(pytestconfig)}
            return servers.enter_context(MailServer(**{**usual, **options}))

        yield start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """The mail of a test that failed becomes a part of its report."""
    report = yield
    if report.failed and report.when != "teardown":  # type: ignore[attr-defined]
        for title, text in _mail_of(item):
            report.sections.append((title, text))  # type: ignore[attr-defined]
    return report


def _mail_of(item: pytest.Item) -> Iterator[tuple[str, str]]:
    """Of every mailbox that the test was given, by a fixture or, with unittest, as an attribute."""
    values = dict(getattr(item, "funcargs", {}))
    if type(item).__name__ == "TestCaseFunction":  # pytest's own, which has no public name
        values["of the case"] = vars(getattr(item, "instance", object)).get("mailbox")
    for value in {id(each): each for each in values.values()}.values():
        if _is_mailbox(value):
            yield f"mail of {value.address}", _report(value)


def _report(mailbox: Mailbox) -> str:
    try:
        return mailbox.report()
    except Exception as error:  # the test's own failure matters more
        return f"cannot be shown: {error}"


def _is_mailbox(value: object) -> bool:
    """Without importing what nobody has imported."""
    return type(value).__module__ == "mailstack.testing.live.mailbox" and type(value).__name__ == "Mailbox"


def _way(config: pytest.Config) -> Way:
    way = config.getini("mailstack_way")
    if way not in ("auto", "thread", "process"):
        raise pytest.UsageError(f"mailstack_way: expected auto, thread or process, not {way!r}")
    return cast("Way", way)


def _timeout(config: pytest.Config) -> float:
    text = config.getini("mailstack_timeout")
    try:
        return float(text)
    except ValueError:
        raise pytest.UsageError(f"mailstack_timeout: expected seconds, not {text!r}") from None
