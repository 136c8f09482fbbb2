"""A reverse-path for each recipient: there and back."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mailstack.mail.address import Address
from mailstack.mail.verp import MAX_LOCAL_PART, decoded, encoded

NEWS = Address("news", "example.org")
BOB = Address("bob", "example.net")
local_parts = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30)
domains = st.from_regex(r"[a-z0-9]{1,10}(\.[a-z]{2,8}){1,2}", fullmatch=True)


def test_its_form() -> None:
    assert str(encoded(NEWS, BOB)) == "news+bob=example.net@example.org"
    assert str(encoded(NEWS, Address("bob+x", "example.net"), "-")) == "news-bob+x=example.net@example.org"


@settings(max_examples=25)
@given(st.builds(Address, local_parts, domains), st.builds(Address, local_parts, domains), st.sampled_from("+-"))
def test_there_and_back(sender: Address, recipient: Address, delimiter: str) -> None:
    made = encoded(sender, recipient, delimiter)
    assume(made is not None)
    assert made is not None and made.domain == sender.domain
    assert decoded(made, sender, delimiter) == recipient


@pytest.mark.parametrize(
    "recipient", [Address("b" * 55, "example.net"), Address("büro", "example.net"), Address("postmaster", "")]
)
def test_some_have_none(recipient: Address) -> None:
    assert encoded(NEWS, recipient) is None


def test_the_longest() -> None:
    longest = Address("b" * (MAX_LOCAL_PART - len("news+=example.net")), "example.net")
    assert encoded(NEWS, longest) is not None
    assert encoded(NEWS, Address(f"{longest.local_part}b", "example.net")) is None


@pytest.mark.parametrize(
    "address", ["news@example.org", "news+@example.org", "news+bob@example.org", "news+=x@example.org",
                "news+bob=@example.org", "other+bob=x.example@example.org", "news+bob=x.example@example.net"]
)  # fmt: skip
def test_what_is_none(address: str) -> None:
    assert decoded(Address(*address.split("@")), NEWS) is None


def test_case_does_not_matter() -> None:
    assert decoded(Address("NEWS+Bob=Example.Net", "EXAMPLE.org"), NEWS) == Address("Bob", "Example.Net")
