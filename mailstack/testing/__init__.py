"""For tests of programs that send or read mail: a real server, and the mail that came.

    with MailServer() as server:
        mailbox = server.mailbox()
        ...
        mailbox.wait_for(subject="Welcome").link("confirm")

pytest has the same as fixtures (`mailstack.pytest_plugin`); see docs/testing.md.

For mailstack's own tests: fakes of everything in `mailstack.ports`, which need no reactor, file or clock.

    connection = MemoryConnection()
    done = Deferred.fromCoroutine(SmtpSession(connection, resources, settings).run())
    connection.feed(b"NOOP\\r\\n")
    assert connection.take() == b"..."

These are imported from their modules (`mailstack.testing.connection`, `.store`, `.accounts`, `.outbound`, `.log`,
`.clock`, `.counters`): this package itself imports nothing until it is asked for a name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mailstack.testing.live.cases import MailServerTestCase
    from mailstack.testing.live.failures import MailAssertionError, MailServerError
    from mailstack.testing.live.mailbox import Mailbox
    from mailstack.testing.live.message import Address, Attachment, Message
    from mailstack.testing.live.server import MailServer

__all__ = [
    "Address", "Attachment", "MailAssertionError", "MailServer", "MailServerError", "MailServerTestCase", "Mailbox",
    "Message",
]  # fmt: skip
_HOMES = {
    "Address": "message", "Attachment": "message", "MailAssertionError": "failures", "MailServer": "server",
    "MailServerError": "failures", "MailServerTestCase": "cases", "Mailbox": "mailbox", "Message": "message",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"mailstack.testing.live.{home}"), name)
