"""COPY and UID COPY (RFC 9051 §6.4.7), with COPYUID (RFC 4315)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from mailstack.errors import Problem, Refused
from mailstack.imap import replies
from mailstack.imap.core.fetch import check_numbers
from mailstack.imap.ext.rfc9585_inprogress import working
from mailstack.imap.ext.rfc9738_messagelimit import all_or_nothing
from mailstack.imap.registry import SELECTED, Feature, command
from mailstack.imap.replies import Reply
from mailstack.imap.wire import encode
from mailstack.imap.wire.cursor import Cursor, mailbox, sp
from mailstack.imap.wire.search_grammar import numbers
from mailstack.imap.wire.values import SequenceSet
from mailstack.ports import Copied

if TYPE_CHECKING:
    from mailstack.imap.session import ImapSession

Arguments = tuple[SequenceSet, str]


def copy_arguments(cur: Cursor) -> Arguments:
    # copy = "COPY" SP sequence-set SP mailbox
    wanted = numbers(cur)
    sp(cur)
    return wanted, mailbox(cur)


def chosen(session: ImapSession, wanted: SequenceSet, *, by_uid: bool) -> Sequence[int]:
    """The messages that COPY or MOVE names. Raises: BadSyntax."""
    check_numbers(session, wanted, by_uid=by_uid)
    return session.view.select(wanted, by_uid=by_uid)


def copyuid(copied: Copied) -> str:
    """The COPYUID response code; "" when nothing was copied."""
    if not copied.source:
        return ""
    source, destination = (encode.sequence_set(uids).decode() for uids in (copied.source, copied.destination))
    return f"COPYUID {copied.uid_validity} {source} {destination}"


def missing(refused: Refused) -> Reply:
    """The answer when the destination is not there. Raises: `refused`, if it is anything else."""
    if refused.problem is not Problem.NO_SUCH_MAILBOX:
        raise refused
    return replies.no("no such mailbox", "TRYCREATE")


async def copy(session: ImapSession, asked: Arguments, *, by_uid: bool) -> Reply:
    wanted, destination = asked
    uids = chosen(session, wanted, by_uid=by_uid)
    all_or_nothing(session, len(uids))
    try:
        with working(session, len(uids)):
            copied = await session.view.mailbox.copy(uids, destination)
    except Refused as refused:
        return missing(refused)
    return replies.ok("COPY completed", copyuid(copied))


FEATURE = Feature(
    commands=(
        command(b"COPY", SELECTED, copy_arguments, partial(copy, by_uid=False)),
        command(b"UID COPY", SELECTED, copy_arguments, partial(copy, by_uid=True)),
    ),
)
