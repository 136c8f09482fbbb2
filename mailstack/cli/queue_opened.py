"""The queue of a configuration, opened for a command, and the options that say which of it is meant."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mailstack.config.units import Unexpected, duration

if TYPE_CHECKING:
    from mailstack.config.sections import Config
    from mailstack.queue.by_hand import ByHand
    from mailstack.queue.content import Files
    from mailstack.queue.database import QueueDatabase
    from mailstack.queue.items import Item, Waiting
    from mailstack.queue.selection import Selection

F = TypeVar("F", bound=Callable[..., Any])
HEADER = 64 * 1024
"""Octets of a message in which its Message-ID is looked for."""


class DurationType(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in later versions
    """Seconds as 90s, "10 min", 2h, 3d or a number."""

    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return float(value) if value.isascii() and value.isdigit() else duration(value)
        except Unexpected:
            self.fail(f'expected a time as 30min, 2h or "3 d", not {value!r}', param, ctx)


@dataclass(frozen=True, slots=True)
class Queue:
    """Its database and files, beside a server that may run."""

    database: QueueDatabase
    files: Files

    @property
    def by_hand(self) -> ByHand:
        from mailstack.queue.by_hand import ByHand

        return ByHand(self.database, self.files, time.time, time.sleep)

    def head(self, item: Item, size: int = HEADER) -> bytes:
        """The beginning of a message. Raises: Damaged, OSError."""
        return self.files.read(item.id, item.offset, min(size, item.size))


@contextmanager
def opened_queue(config: Config) -> Iterator[Queue]:
    """As root, as the account that the data directory belongs to. Raises: click.ClickException."""
    import apsw

    from mailstack.cli.stored import as_owner_of
    from mailstack.queue.content import QUEUE, Files
    from mailstack.queue.database import DATABASE, QueueDatabase, QueueDatabaseError

    path = config.data / QUEUE / DATABASE
    mask = os.umask(0o077)
    try:
        with as_owner_of(config.data):
            if not path.exists():
                raise click.ClickException(f"{path}: there is no queue yet; the server makes it")
            database, files = QueueDatabase(path), Files(path.parent)
            try:
                yield Queue(database, files)
            finally:
                database.close()
                files.close()
    except QueueDatabaseError as error:
        raise click.ClickException(str(error)) from error
    except apsw.Error as error:
        raise click.ClickException(f"{path}: {error}") from error
    finally:
        os.umask(mask)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a command line asks for: a selection, and a Message-ID, "" for any."""

    selection: Selection
    message_id: str

    @property
    def is_everything(self) -> bool:
        return self.selection.is_everything and not self.message_id

    def rows(self, queue: Queue) -> Iterator[Waiting]:
        """Those that fit, in the order of arrival."""
        from mailstack.queue.by_hand import selected

        for row in selected(queue.database, self.selection):
            if not self.message_id or _has_message_id(queue, row.item, self.message_id):
                yield row

    def missing(self, queue: Queue) -> list[str]:
        """Items that are asked for and not there."""
        return [item for item in self.selection.items if not queue.database.has(item)]


def _has_message_id(queue: Queue, item: Item, wanted: str) -> bool:
    from mailstack.mail import header
    from mailstack.queue.content import Damaged

    try:
        head = queue.head(item)
    except (Damaged, OSError):
        return False  # sent meanwhile
    found = header.values(header.block(head, 0, header.body_start(head, 0, len(head)))).get(b"message-id", [])
    return any(value.strip().strip(b"<>") == wanted.strip("<>").encode() for value in found)


def selecting(command: F) -> F:
    """ITEM arguments and filters, handed to the command as `wanted`."""

    @wraps(command)
    def handed(
        item: tuple[str, ...],
        sender: str,
        recipient: str,
        destination: str,
        account: str,
        held: bool,
        older_than: float | None,
        message_id: str,
        **more: Any,
    ) -> Any:
        from mailstack.queue.selection import Selection

        before = None if older_than is None else time.time() - older_than
        selection = Selection(item, sender, recipient, destination, account, held, before)
        return command(wanted=Wanted(selection, message_id), **more)

    for option in reversed(_SELECTING):
        option(handed)
    return handed  # type: ignore[return-value]


_SELECTING = (
    click.argument("item", nargs=-1),
    click.option("--sender", default="", metavar="PATTERN", help='As "*@example.org"; "<>" is the null sender.'),
    click.option("--recipient", default="", metavar="PATTERN", help="One of those who wait for it."),
    click.option(
        "--destination", default="", metavar="PATTERN", help='As the list shows it, its domain, or its route; "local".'
    ),
    click.option("--account", default="", metavar="PATTERN", help="Who has submitted it."),
    click.option("--held", is_flag=True, help="What is held or given up."),
    click.option("--older-than", type=DurationType(), metavar="TIME", help="In the queue for longer, as 30min or 2h."),
    click.option("--message-id", default="", metavar="ID", help="With this Message-ID; the files are looked at."),
)
