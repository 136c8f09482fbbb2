"""The fuzz targets on random octets, and on everything that was found once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fuzz_sessions import CUT
from fuzz_targets import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FINDINGS = Path(__file__).parent / "findings"
SCRIPTS = Path(__file__).parent.parent / "scripts"
EXAMPLES = int(os.environ.get("MAILSTACK_FUZZ", "40"))
"""Examples for each target; scripts/fuzz does it properly."""


def words() -> list[bytes]:
    """What clients say in the transcripts, and pieces of it."""
    found: set[bytes] = set()
    for path in SCRIPTS.rglob("*.txt"):
        for line in path.read_bytes().splitlines():
            if line.startswith(b"C: "):
                found.add(line[3:])
                found.update(line[3:].split(b" "))
    return sorted(found)


PIECES = st.one_of(
    st.sampled_from(words()),
    st.sampled_from([b" ", b"\r\n", b"\n", b"\r", b"(", b")", b'"', b"{3}\r\n", b"{3+}\r\n", b"~{3+}\r\n", b"\0", CUT]),
    st.binary(max_size=12),
)
OCTETS = st.lists(PIECES, max_size=60).map(b"".join)


@pytest.mark.parametrize("name", TARGETS)
def test_random_octets(name: str) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(OCTETS)
    def fuzz(data: bytes) -> None:
        TARGETS[name](data)

    fuzz()


def test_what_was_found_once_is_found_no_more() -> None:
    assert (FINDINGS / "README.md").exists()
    for path in sorted(FINDINGS.glob("*/*")):
        TARGETS[path.parent.name](path.read_bytes())
