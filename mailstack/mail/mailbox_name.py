"""Modified UTF-7, the form of mailbox names on the wire of IMAP4rev1 and on disk (RFC 3501 §5.1.3)."""

from __future__ import annotations

import base64
import binascii


def to_modified_utf7(name: str) -> str:
    """Unicode → ASCII. Raises: ValueError for a lone surrogate."""
    if name.isascii() and "&" not in name and name.isprintable():
        return name
    out: list[str] = []
    run: list[str] = []
    for char in name:
        if " " <= char <= "~":
            if run:
                out.append(_shifted("".join(run)))
                run.clear()
            out.append("&-" if char == "&" else char)
        else:
            run.append(char)
    if run:
        out.append(_shifted("".join(run)))
    return "".join(out)


def from_modified_utf7(text: str) -> str:
    """ASCII → Unicode. Raises: ValueError for anything that `to_modified_utf7` does not make: an
    unended shift, a character that needs no shift in one, superfluous shifts."""
    if "&" not in text:
        if not (text.isascii() and (text.isprintable() or not text)):
            raise ValueError("not printable ASCII")
        return text
    out: list[str] = []
    position = 0
    while (start := text.find("&", position)) >= 0:
        out.append(text[position:start])
        end = text.find("-", start)
        if end < 0:
            raise ValueError("shift without end")
        out.append(_unshifted(text[start + 1 : end]))
        position = end + 1
    out.append(text[position:])
    name = "".join(out)
    if to_modified_utf7(name) != text:
        raise ValueError("not the one form of this name")
    return name


def _shifted(run: str) -> str:
    encoded = base64.b64encode(run.encode("utf-16-be")).decode("ascii")
    return "&" + encoded.rstrip("=").replace("/", ",") + "-"


def _unshifted(encoded: str) -> str:
    if not encoded:
        return "&"
    padded = encoded.replace(",", "/") + "=" * (-len(encoded) % 4)
    try:
        return base64.b64decode(padded, validate=True).decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("not modified UTF-7") from error
