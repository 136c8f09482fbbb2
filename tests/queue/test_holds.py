"""[[holds]]: what is held, and what is not."""

from __future__ import annotations

import pytest
from queue_world import envelope

from mailstack.config.outgoing import Hold, Route
from mailstack.ports import AccountName
from mailstack.queue.items import GIVEN_UP
from mailstack.relay.routes import Router

BY_DEFAULT = Hold().reason


def held(
    *rules: Hold, to: tuple[str, ...] = ("bob@example.net",), account: str = "", sender: str = "a@example.org"
) -> dict[str, str]:
    sent = envelope(*to, sender=sender, account=AccountName(account) if account else None)
    return {destination: reason for destination, _, reason in Router(["example.org"], [], rules).places(sent)}


@pytest.mark.parametrize(
    ("rule", "is_held"),
    [
        (Hold(), True),
        (Hold(accounts=("eve@*",)), False),
        (Hold(accounts=("EVE@*", "alice@example.org")), True),
        (Hold(senders=("*@example.org",)), True),
        (Hold(senders=("<>",)), False),
        (Hold(domains=("*.net",)), True),
        (Hold(domains=("*.net",), senders=("b@*",)), False),
        (Hold(domains=("example.net",), accounts=("alice@*",)), True),
    ],
)
def test_every_condition_has_to_fit(rule: Hold, is_held: bool) -> None:
    assert held(rule, account="Alice@example.org") == {"example.net": BY_DEFAULT if is_held else ""}


def test_who_has_no_account_is_of_none() -> None:
    assert held(Hold(accounts=("*",))) == {"example.net": ""}


def test_the_null_sender() -> None:
    assert held(Hold(senders=("<>",)), sender="") == {"example.net": BY_DEFAULT}


def test_the_first_rule_that_fits_says_why() -> None:
    rules = Hold(domains=("other.example",), reason="one"), Hold(reason="two"), Hold(reason="three")
    assert held(*rules) == {"example.net": "two"}


def test_mailboxes_here_are_never_held_and_destinations_each_for_itself() -> None:
    to = ("bob@example.net", "carol@example.org", "dave@example.com")
    assert held(Hold(domains=("*.net", "*.org"), reason="no"), to=to) == {
        "example.net": "no",
        "local": "",
        "example.com": "",
    }


@pytest.mark.parametrize("reason", ["", GIVEN_UP])
def test_a_reason_that_cannot_be_one(reason: str) -> None:
    assert held(Hold(reason=reason)) == {"example.net": BY_DEFAULT}


def test_recipients_of_one_way_are_held_together() -> None:
    router = Router(
        ["example.org"], [Route(name="hub", hosts=("192.0.2.1",))], [Hold(domains=("example.com",), reason="no")]
    )
    sent = envelope("bob@example.net", "dave@example.com")
    assert router.places(sent) == [(">hub", (0, 1), "no")]
