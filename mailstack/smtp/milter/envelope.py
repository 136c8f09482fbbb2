"""What milters change beside the message: its sender, its recipients, and whether it is one for a mailbox at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mailstack.errors import BadSyntax, Refused
from mailstack.mail.address import Address
from mailstack.mail.parameters import NOTHING_SAID_OF_RECIPIENT
from mailstack.ports import Local, Log, Remote
from mailstack.smtp.checks.frame import Mark
from mailstack.smtp.core import LASTING
from mailstack.smtp.facts import Facts
from mailstack.smtp.registry import ParameterRule
from mailstack.smtp.replies import Reply
from mailstack.smtp.settings import SmtpResources
from mailstack.smtp.transaction import Recipient, Transaction
from mailstack.smtp.wire import grammar
from mailstack.smtp.wire.milter import AddRecipient, ChangeSender, DeleteRecipient, Quarantine
from mailstack.smtp.wire.values import Rcpt

JUNK = "Junk"
"""The mailbox for what is put into quarantine."""
HELD_BACK = Reply(550, "5.7.1", "The message is suspicious and is not sent on")
Change = AddRecipient | DeleteRecipient | ChangeSender | Quarantine


class Envelope:
    """The envelope of one transaction while milters change it. What cannot be done is a line in the log."""

    __slots__ = ("_facts", "_log", "_resources", "_rules", "_transaction")

    def __init__(
        self,
        transaction: Transaction,
        facts: Facts,
        resources: SmtpResources,
        rules: Mapping[str, ParameterRule],
        log: Log,
    ) -> None:
        self._transaction = transaction
        self._facts = facts
        self._resources = resources
        self._rules = rules
        self._log = log

    async def change(self, change: Change) -> None:
        """Raises: Refused, when the directory cannot say where a new recipient's mail goes."""
        try:
            match change:
                case AddRecipient(path=path, parameters=parameters):
                    await self._add(grammar.rcpt_to(b"TO:" + _bracketed(path) + _spaced(parameters)))
                case DeleteRecipient(path=path):
                    self._delete(grammar.rcpt_to(b"TO:" + _bracketed(path)).forward_path)
                case ChangeSender(path=path):
                    sender = grammar.mail_from(b"FROM:" + _bracketed(path)).reverse_path
                    self._facts.sender = sender and self._sendable(sender)
                case Quarantine(reason=reason):
                    self._facts.message_marks.append(Mark("quarantine", reason))
                    self._transaction.quarantined = True
        except BadSyntax as bad:
            self._ignored(change, f"expected {bad.expected}")

    async def _add(self, args: Rcpt) -> None:
        address, recipients = self._sendable(args.forward_path), self._transaction.recipients
        if any(recipient.address == address for recipient in recipients):
            return
        if len(recipients) >= self._facts.settings.max_recipients:
            self._log.warning("milter adds too many recipients", id=self._transaction.id, to=str(address))
            return
        self._facts.rcpt_parameters = NOTHING_SAID_OF_RECIPIENT
        for parameter in args.parameters:
            rule = self._rules.get(parameter.keyword)
            if rule is None or rule(self._facts, parameter.value) is not None:
                raise BadSyntax(f"a parameter of RCPT, not {parameter.keyword}")
        route = await self._route(address)
        if route is not None:
            recipients.append(Recipient(address, route, self._facts.rcpt_parameters))

    def _sendable(self, address: Address) -> Address:
        if not self._facts.smtputf8 and not address.is_ascii:
            raise BadSyntax("an address in ASCII, as the others")
        return address

    async def _route(self, address: Address) -> Local | Remote | None:
        try:
            return await self._resources.directory.route(address)
        except Refused as refused:
            if refused.problem not in LASTING:
                raise
            self._log.warning(
                "milter adds a recipient that there is not", id=self._transaction.id, to=str(address),
                reason=str(refused),
            )  # fmt: skip
            return None

    def _delete(self, address: Address) -> None:
        kept = [recipient for recipient in self._transaction.recipients if not _same(recipient.address, address)]
        self._transaction.recipients[:] = kept

    def _ignored(self, change: Change, reason: str) -> None:
        self._log.warning(
            "milter asks for what cannot be done", id=self._transaction.id, change=type(change).__name__, reason=reason
        )


def put_aside(transaction: Transaction, facts: Facts) -> Reply | None:
    """A message in quarantine goes to its recipients' Junk, and is not forwarded from there; it is refused if it would
    go elsewhere only."""
    if not transaction.quarantined:
        return None
    held = (facts.parameters.hold_until or 0) > facts.now
    moved: list[Recipient] = []
    for recipient in transaction.recipients:
        if held or not isinstance(recipient.route, Local) or not recipient.route.accounts:
            return HELD_BACK
        moved.append(replace(recipient, route=Local(recipient.route.accounts, JUNK)))
    transaction.recipients[:] = moved
    return None


def _same(one: Address, other: Address) -> bool:
    return one.local_part == other.local_part and one.domain.lower() == other.domain.lower()


def _bracketed(path: bytes) -> bytes:
    path = path.strip()
    return path if path.startswith(b"<") else b"<" + path + b">"


def _spaced(parameters: bytes) -> bytes:
    return b" " + parameters if parameters else b""
