"""BINARYMIME: parts of a message that are no lines of text (RFC 3030 §3), with BDAT alone.

A Maildir has messages in lines, and so have IMAP and POP3, so that a part in the transfer encoding binary is put
into base64 as it passes (`mail/binary.py`), which leaves its content as it is; a signature over the message is
broken by that, as by any gateway of RFC 3030 §3. What stands outside of such parts are lines again. The limit of
the size is that of the octets which came; base64 has a third more."""

from __future__ import annotations

from mailstack.smtp.registry import Extension

BINARYMIME = Extension(lambda facts: "BINARYMIME")
