"""Ids of a message and of its thread that follow from its octets alone (RFC 8474), so that no server has to
remember them: they are the same after a restart, in a copy, and in another store."""

from __future__ import annotations

import re
from hashlib import sha256

from mailstack.mail.header import Findable, block, body_start, unfold, values

AT_ONCE = 64 * 1024
"""Octets of a message that are looked at in one piece."""
LENGTH = 32
"""Characters of an id, of hexadecimal digits: 128 bits."""
# msg-id = [CFWS] "<" id-left "@" id-right ">" [CFWS]   ; RFC 5322 §3.6.4
_MSG_ID = re.compile(rb"<([^<>\s]{1,900})>")


def content_id(octets: Findable) -> bytes:
    """The same for the same octets."""
    digest = sha256()
    for start in range(0, len(octets), AT_ONCE):
        digest.update(octets[start : start + AT_ONCE])
    return digest.hexdigest()[:LENGTH].encode()


def thread_id(octets: Findable) -> bytes:
    """The same for a message and what answers it, as far as those name the thread's first message: a hash
    of the first msg-id in References, or in In-Reply-To, or of its own. A message without any is alone."""
    header = values(block(octets, 0, body_start(octets, 0, len(octets))))
    for name in (b"references", b"in-reply-to", b"message-id"):
        for raw in header.get(name, ())[:1]:
            if found := _MSG_ID.search(unfold(raw)):
                return sha256(found[1]).hexdigest()[:LENGTH].encode()
    return content_id(octets)
