"""Why mail was not delivered, in plain words, and what its sender can do: by enhanced status code (RFC 3463, and the
registry that RFC 5248 made)."""

from __future__ import annotations

from typing import NamedTuple


class Reason(NamedTuple):
    """What happened, and what to do, as sentences to the sender of a message."""

    what: str
    advice: str


_ADDRESS = Reason(
    "There is no such address.",
    "Look for a typing error in it, or ask the person for the right address in another way.",
)
_NO_DOMAIN = Reason(
    "The part of the address behind the @ is not the name of any mail system.",
    "Look for a typing error in it. If it is right, the people there have to mend it.",
)
_MOVED = Reason("The mailbox has moved, or was given up.", "Ask the person for the new address in another way.")
_NO_MAIL = Reason("This domain takes no mail.", "Reach the person in another way, or at another address.")
_SENDER = Reason(
    "The other mail system does not accept your own address as a sender.",
    "Look at the sender's address in your mail program, or show this to your postmaster.",
)
_DISABLED = Reason(
    "The mailbox is switched off, or takes no mail now.", "Try again later, or reach the person in another way."
)
_FULL = Reason("The mailbox is full.", "Reach the person in another way; when there is room again, send it again.")
_EMPTY = Reason(
    "The address is a list or an alias in the other mail system, and nobody was found behind it.",
    "Look for a typing error in it. If it is right, the people there have to mend it.",
)
_TOO_BIG = Reason(
    "The message is too big for the recipient.",
    "Send it with smaller attachments or in parts, or put the files where they can be fetched, and send the link.",
)
_UNWELL = Reason(
    "The other mail system has trouble of its own.", "Send the message again later; the people there have to mend it."
)
_UNREACHABLE = Reason(
    "The mail system of the recipient could not be reached.",
    "Look for a typing error in the address. If it is right, send the message again when that system works again.",
)
_LOOP = Reason(
    "The message went round in a circle: somebody forwards it back to where it came from.",
    "The recipient, or whoever runs the mail there, has to look at where that address is forwarded to.",
)
_EXPIRED = Reason(
    "The time for the delivery is over.",
    "If the message still matters, send it again later, or reach the person in another way.",
)
_TOO_MANY = Reason("The message has too many recipients at once.", "Send it to fewer people at a time.")
_PROTOCOL = Reason(
    "The two mail systems did not understand each other.", "Show this message to your postmaster; it is not your fault."
)
_CONTENT = Reason(
    "The other mail system could not take the message in the form that it has.",
    "Send it in a plainer form, for example as plain text or with other attachments.",
)
_EIGHT_BIT = Reason(
    "The other mail system is an old one that takes no text beyond plain ASCII, and the message has such text.",
    "Send it without accents and special characters, or as an attachment.",
)
_UTF8 = Reason(
    "An address or a header field needs UTF-8, and the other mail system does not know that.",
    "Use an address of plain ASCII letters for yourself and for the recipient, if there is one.",
)
_REFUSED = Reason(
    "The other mail system refused the message by its rules.",
    "Its own words below may say why. If there is nothing wrong with the message, ask the recipient or the postmaster "
    "there to let it in.",
)
_SPAM = Reason(
    "The other mail system takes the message for unwanted mail (spam).",
    "Look at what it says below. Fewer links and attachments may help; otherwise ask the recipient or the postmaster "
    "there to let it in.",
)
_AUTHENTICITY = Reason(
    "The other mail system could not verify that the message is from who it says.",
    "Show this to your postmaster: DNS records or signatures of your domain (SPF, DKIM, DMARC) have to be mended.",
)
_NO_TLS = Reason(
    "The message may only travel encrypted, and the other mail system could not do that, or its certificate is wrong.",
    "The people there have to mend it. Another way to send the message may be less safe.",
)
_LISTS = Reason(
    "You may not write to this list or group.", "Ask whoever keeps it to let you, or join it before you write."
)
_FLOOD = Reason("Too much mail came there at once.", "Send the message again later.")
_UNKNOWN = Reason(
    "The message could not be delivered.", "What was said below may tell why; your postmaster can make more of it."
)

_WORDS_OF_SPAM = ("spam", "junk", "blacklist", "blocklist", "dnsbl")
REASONS: dict[str, Reason] = {
    "1": _ADDRESS,
    "1.0": _ADDRESS, "1.1": _ADDRESS, "1.3": _ADDRESS, "1.4": _ADDRESS,
    "1.2": _NO_DOMAIN,
    "1.6": _MOVED,
    "1.7": _SENDER, "1.8": _SENDER, "1.9": _PROTOCOL,
    "1.10": _NO_MAIL,
    "2": _DISABLED,
    "2.1": _DISABLED, "2.2": _FULL, "2.3": _TOO_BIG, "2.4": _EMPTY,
    "3": _UNWELL,
    "3.1": _UNWELL, "3.2": _UNWELL, "3.3": _PROTOCOL, "3.4": _TOO_BIG, "3.5": _UNWELL,
    "4": _UNREACHABLE,
    "4.1": _UNREACHABLE, "4.2": _UNREACHABLE, "4.3": _UNREACHABLE, "4.4": _NO_DOMAIN, "4.5": _UNWELL,
    "4.6": _LOOP, "4.7": _EXPIRED, "4.8": _LOOP,
    "5": _PROTOCOL,
    "5.3": _TOO_MANY,
    "6": _CONTENT,
    "6.3": _EIGHT_BIT, "6.7": _UTF8, "6.8": _UTF8, "6.9": _UTF8, "6.10": _UTF8,
    "7": _REFUSED,
    "7.1": _REFUSED, "7.2": _LISTS, "7.4": _NO_TLS, "7.5": _NO_TLS, "7.10": _NO_TLS, "7.11": _NO_TLS, "7.30": _NO_TLS,
    "7.7": _AUTHENTICITY, "7.20": _AUTHENTICITY, "7.21": _AUTHENTICITY, "7.22": _AUTHENTICITY,
    "7.23": _AUTHENTICITY, "7.24": _AUTHENTICITY, "7.25": _AUTHENTICITY, "7.26": _AUTHENTICITY, "7.29": _AUTHENTICITY,
    "7.27": _SENDER, "7.28": _FLOOD,
}  # fmt: skip
"""By subject and detail of a code, without its class; a subject alone is for details that are not here."""


def reason(status: str, text: str = "") -> Reason:
    """For an enhanced status code as "5.1.1". `text` is what the other server said: where the code says "policy" only,
    it may name spam."""
    rest = status.partition(".")[2]
    found = REASONS.get(rest) or REASONS.get(rest.partition(".")[0], _UNKNOWN)
    return _SPAM if found is _REFUSED and any(word in text.lower() for word in _WORDS_OF_SPAM) else found
