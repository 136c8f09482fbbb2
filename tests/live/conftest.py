"""One server in a thread, for all tests here that do not start their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mailstack.testing import Mailbox, MailServer


@pytest.fixture(scope="session")
def live() -> Iterator[MailServer]:
    with MailServer(way="thread", timeout=10.0) as server:
        yield server


@pytest.fixture
def box(live: MailServer, request: pytest.FixtureRequest) -> Mailbox:
    return live.mailbox(request.node.name.replace("@", "-"))
