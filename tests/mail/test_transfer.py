from __future__ import annotations

import base64
import binascii
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.mail import transfer


@pytest.mark.parametrize(
    ("encoded", "encoding", "plain"),
    [
        (b"aGVs\r\nbG8=\r\n", b"base64", b"hello"),
        (b"aGVsbG8", b"base64", b"hello"),
        (b"aGVs!bG8=trash", b"base64", b"hello"),
        (b"a", b"base64", b""),
        (b"a=3Db =\r\nc  \r\nd=", b"quoted-printable", b"a=b c\r\nd"),
        (b"a=zz", b"quoted-printable", b"a=zz"),
        (b"a=3D", b"8bit", b"a=3D"),
        (b"x", b"x-uuencode", None),
    ],
)
def test_decoding(encoded: bytes, encoding: bytes, plain: bytes | None) -> None:
    assert transfer.decode(encoded, encoding) == plain


@given(st.binary(), st.integers(1, 9), st.sampled_from([b"base64", b"quoted-printable", b"binary"]))
def test_pieces_give_the_same_as_the_whole(data: bytes, step: int, encoding: bytes) -> None:
    encoded = {b"base64": base64.encodebytes, b"quoted-printable": binascii.b2a_qp, b"binary": bytes}[encoding](data)
    decoder = transfer.decoder(encoding)
    assert decoder is not None
    pieces = [decoder.feed(encoded[at : at + step]) for at in range(0, len(encoded), step)]
    assert b"".join([*pieces, decoder.finish()]) == transfer.decode(encoded, encoding)


@given(st.binary())
def test_what_is_encoded_comes_back(data: bytes) -> None:
    assert transfer.decode(base64.encodebytes(data), b"base64") == data
    text = data.replace(b"\r", b"").replace(b"\n", b"")
    assert transfer.decode(quopri.encodestring(text, quotetabs=True), b"quoted-printable") == text


def test_a_long_line_is_not_held_back() -> None:
    decoder = transfer.QuotedPrintable()
    assert len(decoder.feed(b"x" * 200_000)) > 100_000
