"""LANG: the language of texts for people (RFC 6856 §3). There is one, so nothing needs to be remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailstack.errors import BadSyntax
from mailstack.mail import language
from mailstack.pop3 import replies
from mailstack.pop3.registry import ALWAYS, Extension, always, command

if TYPE_CHECKING:
    from mailstack.pop3.session import Pop3Session

DESCRIPTIONS = {"en": "English", "i-default": "English"}
"""Each language in itself."""


def language_range(text: str) -> str:
    """A language range (RFC 4647 §2.1), "*", or "" for the list."""
    asked = text.strip()
    if asked and not language.is_range(asked):
        raise BadSyntax("a language range")
    return asked


async def lang(session: Pop3Session, asked: str) -> None:
    """LANG."""
    if not asked:
        lines = "".join(f"{tag} {DESCRIPTIONS[tag]}\r\n" for tag in language.LANGUAGES.values())
        session.say(replies.multi_line("language listing follows", lines))
        return
    chosen = language.lookup(asked)
    session.say(replies.err("no such language") if chosen is None else replies.ok(f"{chosen} this is the language"))


LANG = Extension(always("LANG"), commands=(command("LANG", ALWAYS, language_range, lang),))
