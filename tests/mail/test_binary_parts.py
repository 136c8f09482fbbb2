"""Parts in binary become base64, in pieces of any size, and nothing else changes."""

from __future__ import annotations

import tracemalloc
from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.mail.binary import BinaryToBase64

MESSAGE = (
    b'Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="out"\r\n\r\npreamble\r\n'
    b"--out\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc3\xa4 --out\r\n"
    b"--out\r\nContent-Type: image/png\r\nContent-Transfer-Encoding:\r\n binary\r\nX: y\r\n\r\n%b\r\n"
    b"--out\r\nContent-Type: multipart/alternative; boundary=in\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    b"--in\r\nContent-Transfer-Encoding: BINARY\r\n\r\n%b\r\n--in--\r\nepilogue\r\n"
    b"--out\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    b"Subject: inner\r\nContent-Transfer-Encoding: binary\r\n\r\n%b\r\n--out--\r\n"
)


def converted(octets: bytes, step: int = 1 << 20) -> tuple[bytes, bool]:
    made = BinaryToBase64()
    out = b"".join([made.feed(octets[at : at + step]) for at in range(0, len(octets), step)]) + made.finish()
    return out, made.has_nul


def decoded(octets: bytes) -> list[bytes]:
    """The contents of the three parts that were in binary, as another reader of MIME finds them."""
    parts = [part for part in message_from_bytes(octets, policy=policy.default).walk() if not part.is_multipart()]
    return [part.get_payload(decode=True) for part in parts[1:]]  # type: ignore[misc]


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"\n", b"\r\n", b"\r\n\r\n", b"a\0b\n--ou\r--in", b"--inn\r\n", bytes(range(256)) * 5, b"\0" * 9_000],
)
def test_every_octet_of_binary_parts_survives(content: bytes, step: int) -> None:
    octets = MESSAGE % (content, content[::-1], b"." + content)
    out, has_nul = converted(octets, step)
    assert not has_nul
    assert b"\0" not in out
    assert b"inary" not in out
    assert decoded(out) == [content, content[::-1], b"." + content]
    assert max(map(len, out.split(b"\r\n"))) <= 78
    assert out.count(b"\n") == out.count(b"\r\n")
    assert out.startswith(octets[: octets.index(b"--out\r\nContent-Type: image")])


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"x",
        b"Subject: x\r\n\r\nbody\r\n",
        b"\r\n\0",
        b"A: \0\r\n\r\n",
        b"Content-Type: multipart/mixed\r\n\r\n--x\r\n",
    ],
)
def test_what_is_not_binary_stays(octets: bytes) -> None:
    assert converted(octets) == (octets, b"\0" in octets)
    assert converted(octets, 1) == (octets, b"\0" in octets)


def test_the_whole_message_in_binary() -> None:
    out, has_nul = converted(b"Content-Transfer-Encoding: binary\n\na\0b\r\nc")
    assert (out, has_nul) == (b"Content-Transfer-Encoding: base64\r\n\nYQBiDQpj\r\n", False)


PIECES = st.sampled_from(
    [b"--out", b"--in", b"--", b"\r\n", b"\n", b"\r", b"\0", b"Content-Transfer-Encoding: binary", b"x" * 5000]
    + [b"Content-Type: multipart/mixed; boundary=in", b"Content-Type: message/rfc822", b" "]
)


@given(st.lists(PIECES, max_size=25), st.integers(1, 50))
def test_cuts_do_not_matter(parts: list[bytes], step: int) -> None:
    octets = b"".join(parts)
    assert converted(octets, step) == converted(octets)


@pytest.mark.parametrize("unit", [b"\0" * 65536, b"x: y\r\n" * 10_000, b"\r\n" * 30_000, b"--out" * 13_000])
@pytest.mark.parametrize("binary", [b"binary", b"8bit"])
def test_memory_is_bounded(unit: bytes, binary: bytes) -> None:
    made = BinaryToBase64()
    made.feed(b"Content-Transfer-Encoding: %b\r\n\r\n" % binary if unit[:1] != b"x" else b"")
    tracemalloc.start()
    try:
        for _ in range(6):
            made.feed(unit)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
