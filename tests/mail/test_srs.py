"""The Sender Rewriting Scheme: there and back, what is not believed, and that other implementations agree."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailstack.mail.address import Address
from mailstack.mail.srs import Rewriter, is_rewritten

NOW = 1_700_000_000.0
DAY = 86400.0
OURS = Rewriter("forward.example", (b"tops3cret",))
THEIRS = Rewriter("second.example", (b"other",))
ALICE = Address("Alice", "Source.Example")

local_parts = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="@"), min_size=1, max_size=64)
domains = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]{2,8}){1,3}", fullmatch=True)
senders = st.builds(Address, local_parts, domains)
times = st.integers(0, 2**33).map(float)


@settings(max_examples=25)
@given(senders, times, st.floats(0, 20.9))
def test_there_and_back(sender: Address, now: float, days: float) -> None:
    made = OURS.rewritten(sender, now)
    assert made.domain == "forward.example" and is_rewritten(made)
    if not is_rewritten(sender):
        assert OURS.original(made, now + days * DAY) == sender


@settings(max_examples=25)
@given(senders, times)
def test_over_three_forwarders_and_back(sender: Address, now: float) -> None:
    third = Rewriter("third.example", (b"third",))
    first = OURS.rewritten(sender, now)
    second = THEIRS.rewritten(first, now)
    last = third.rewritten(second, now)
    assert second.local_part.startswith("SRS1=") and last.local_part.startswith("SRS1=")
    assert last.local_part.count("forward.example") == 1 + sender.local_part.count("forward.example")
    assert "second.example" not in last.local_part or "second.example" in str(sender)
    assert THEIRS.original(second, now) == first
    assert third.original(last, now) == first, "a bounce goes to the first forwarder at once"


@settings(max_examples=25)
@given(senders, times)
def test_case_does_not_matter(sender: Address, now: float) -> None:
    made = OURS.rewritten(sender, now)
    for local in (made.local_part.upper(), made.local_part.lower()):
        if local.lower() == made.local_part.lower():  # "ß" and its like have no other case
            found = OURS.original(Address(local, "FORWARD.example"), now)
            assert found is not None and str(found).lower() == str(OURS.original(made, now)).lower()


@settings(max_examples=25)
@given(senders, st.data())
def test_what_was_changed_is_not_believed(sender: Address, data: st.DataObject) -> None:
    made = OURS.rewritten(sender, NOW)
    at = data.draw(st.integers(5, len(made.local_part) - 1))
    other = data.draw(st.sampled_from("abz09=-"))
    changed = made.local_part[:at] + other + made.local_part[at + 1 :]
    found = OURS.original(replace(made, local_part=changed), NOW)
    # 24 bits of a hash may agree by chance, once in some millions; the data may move between its parts
    if found is not None:
        assert changed.lower() == made.local_part.lower()


@settings(max_examples=25)
@given(st.text(max_size=80), times)
def test_nothing_raises(local: str, now: float) -> None:
    for begin in ("", "SRS0=", "SRS1=", "srs0+", "SRS1=a=b", "SRS0=a=b=c"):
        assert OURS.original(Address(begin + local, "forward.example"), now) is None
        OURS.rewritten(Address(begin + local, "x.example"), now)


def test_its_form() -> None:
    made = OURS.rewritten(ALICE, NOW)
    tag, found, day, domain, local = made.local_part.split("=")
    assert (tag, len(found), len(day), domain, local) == ("SRS0", 4, 2, "Source.Example", "Alice")


@pytest.mark.parametrize(
    ("days", "good"), [(-1, False), (0, True), (21, True), (22, False), (400, False), (1024, True)]
)
def test_it_ages(days: int, good: bool) -> None:
    assert (OURS.original(OURS.rewritten(ALICE, NOW), NOW + days * DAY) is not None) is good


def test_secrets_change() -> None:
    new = replace(OURS, secrets=(b"new", *OURS.secrets))
    assert new.original(OURS.rewritten(ALICE, NOW), NOW) == ALICE
    assert OURS.original(new.rewritten(ALICE, NOW), NOW) is None
    assert replace(OURS, secrets=(b"new",)).original(OURS.rewritten(ALICE, NOW), NOW) is None
    assert "tops3cret" not in repr(OURS)


def test_our_own_are_left_alone() -> None:
    own = Address("bob", "Forward.Example")
    assert OURS.rewritten(own, NOW) == own
    postmaster = Address("postmaster", "")
    assert OURS.rewritten(postmaster, NOW) == postmaster
    made = OURS.rewritten(ALICE, NOW)
    assert OURS.rewritten(made, NOW) == made
    assert replace(OURS, exempt=frozenset({"source.example"})).rewritten(ALICE, NOW) == ALICE


@pytest.mark.parametrize(
    "local", ["SRS0", "SRS0=", "SRS0==", "SRS0====", "SRS0=a=1!=b=c", "SRS1=", "SRS1===", "alice", "SRS0=hash=AA=b"]
)
def test_what_we_did_not_make(local: str) -> None:
    assert OURS.original(Address(local, "forward.example"), NOW) is None


def test_it_is_not_made_for_another_domain() -> None:
    made = OURS.rewritten(ALICE, NOW)
    assert OURS.original(replace(made, domain="other.example"), NOW) is None


# --- other implementations

PERL = """
use Mail::SRS;
my $srs = Mail::SRS->new(Secret => [split /,/, shift]);
my $way = shift;
print $way eq 'forward' ? $srs->forward($_, 'forward.example') : $srs->reverse($_), "\\n" for @ARGV;
"""
"""The first implementation."""
SENDERS = (
    ALICE, Address("a=b+c", "x.example"), Address("SRS0=abcd=XY=source.example=joe", "other.example"),
    Address("SRS0+abcd=XY=source.example=joe", "other.example"),
    Address("SRS1=abcd=first.example==efgh=XY=source.example=joe", "other.example"),
)  # fmt: skip


def mail_srs(way: str, secrets: str, *addresses: str) -> list[str]:
    perl = shutil.which("perl")
    if perl is None or subprocess.run([perl, "-MMail::SRS", "-e1"], capture_output=True, check=False).returncode:
        pytest.skip("Mail::SRS of Perl is not installed")
    done = subprocess.run([perl, "-e", PERL, secrets, way, *addresses], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.interop
def test_perl_makes_the_same_addresses_and_reads_ours() -> None:
    now = time.time()
    made = [OURS.rewritten(sender, now) for sender in SENDERS]
    if int(time.time() // DAY) != int(now // DAY):
        pytest.skip("midnight just went by")
    assert mail_srs("forward", "tops3cret", *map(str, SENDERS)) == [str(address) for address in made]
    originals = [OURS.original(address, now) for address in made]
    assert mail_srs("reverse", "old,tops3cret", *map(str, made)) == [str(address) for address in originals]
    theirs = mail_srs("forward", "old", str(ALICE))[0].rpartition("@")[0]
    assert replace(OURS, secrets=(b"new", b"old")).original(Address(theirs, "forward.example"), now) == ALICE
