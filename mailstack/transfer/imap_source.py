"""Another IMAP server as a source. Its mailboxes are opened read-only; nothing there changes, no \\Seen either."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mailstack.transfer.imap_client import Client, Fetched, Listed, RefusedThere
from mailstack.transfer.maildir_names import named_flags
from mailstack.transfer.values import (
    Folder,
    Known,
    KnownOnes,
    Message,
    Origin,
    Trouble,
    Unreadable,
)

LOOKED_AT = 500
"""Messages of which flags, dates and sizes are fetched at once."""
TOGETHER = 100
TOGETHER_OCTETS = 2 * 1024 * 1024
"""Messages, and their octets, that are fetched with one command; a larger one comes in pieces of so many."""
UIDS = 20_000


class ImapSource:
    """A `values.Source`."""

    def __init__(self, client: Client) -> None:
        self.identity = str(client.address)
        self._client = client
        self._mailboxes = [listed for listed in client.mailboxes() if listed.selectable]
        self.total = sum(client.count(listed) for listed in self._mailboxes)

    def close(self) -> None:
        self._client.close()

    def folders(self) -> Iterator[Folder]:
        for listed in self._mailboxes:
            yield listed.folder

    def messages(self, known: Known) -> Iterator[Message | Trouble | KnownOnes]:
        for listed in self._mailboxes:
            try:
                count, validity = self._client.select(listed.raw)
            except RefusedThere as error:
                yield Trouble(listed.folder.name, str(error))
                continue
            uids = self._client.uids(count, UIDS) if count else []
            passed = known(listed.folder, validity)
            if passed is None:
                continue
            not_wanted = set(passed)
            wanted = [uid for uid in uids if uid not in not_wanted]
            if len(wanted) < len(uids):
                yield KnownOnes(listed.folder, len(uids) - len(wanted))
            for start in range(0, len(wanted), LOOKED_AT):
                yield from self._some(listed, validity, wanted[start : start + LOOKED_AT])

    def _some(self, listed: Listed, validity: int, uids: Sequence[int]) -> Iterator[Message | Trouble]:
        looked = self._client.fetch(uids, "FLAGS INTERNALDATE RFC822.SIZE")
        if looked is None:
            yield Trouble(
                f"{listed.folder.name} UIDs {uids[0]} to {uids[-1]}",
                "the server refuses to tell of them",
            )
            return
        for together in _groups(looked):
            if len(together) == 1 and together[0].size > TOGETHER_OCTETS:
                yield self._message(listed, validity, together[0], self._pieces(together[0]))
            else:
                yield from self._group(listed, validity, together)

    def _group(self, listed: Listed, validity: int, looked: Sequence[Fetched]) -> Iterator[Message | Trouble]:
        bodies = self._client.fetch([each.uid for each in looked], "BODY.PEEK[]")
        if bodies is None and len(looked) > 1:
            for each in looked:
                yield from self._group(listed, validity, [each])
            return
        octets = {each.uid: each.octets for each in bodies or ()}
        for each in looked:
            found = octets.get(each.uid)
            if bodies is None or (each.uid in octets and found is None):
                yield Trouble(
                    f"{listed.folder.name} UID {each.uid}",
                    "the server refuses to give it",
                    weight=1,
                )
            elif found is not None:
                yield self._message(listed, validity, each, iter((found,)))

    def _message(self, listed: Listed, validity: int, looked: Fetched, pieces: Iterator[bytes]) -> Message:
        place = f"{listed.folder.name} UID {looked.uid}"
        origin = Origin(validity, looked.uid)
        return Message(
            listed.folder,
            place,
            named_flags(looked.words),
            looked.date,
            pieces,
            1,
            origin=origin,
        )

    def _pieces(self, looked: Fetched) -> Iterator[bytes]:
        position = 0
        while position < looked.size:
            found = self._client.fetch([looked.uid], f"BODY.PEEK[]<{position}.{TOGETHER_OCTETS}>")
            octets = found[0].octets if found else None
            if octets is None:
                raise Unreadable(f"the server gives only {position} of {looked.size} octets")
            yield octets
            position += len(octets)
            if len(octets) < TOGETHER_OCTETS:
                return


def _groups(looked: Sequence[Fetched]) -> Iterator[list[Fetched]]:
    group: list[Fetched] = []
    octets = 0
    for each in looked:
        if group and (octets + each.size > TOGETHER_OCTETS or len(group) >= TOGETHER):
            yield group
            group, octets = [], 0
        group.append(each)
        octets += each.size
    if group:
        yield group
