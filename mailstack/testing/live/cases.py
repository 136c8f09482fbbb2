"""For tests of `unittest`."""

from __future__ import annotations

import unittest
from typing import ClassVar

from mailstack.testing.live.mailbox import Mailbox
from mailstack.testing.live.server import MailServer
from mailstack.testing.live.settings import MailServerOptions


class MailServerTestCase(unittest.TestCase):
    """`mailserver` for the class, `mailbox` for each test. `mailserver_options` are those of `MailServer`."""

    mailserver_options: ClassVar[MailServerOptions] = {}
    mailserver: ClassVar[MailServer]
    mailbox: Mailbox

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.mailserver = cls.enterClassContext(MailServer(**cls.mailserver_options))

    def setUp(self) -> None:
        super().setUp()
        self.mailbox = self.mailserver.mailbox(self._testMethodName)
