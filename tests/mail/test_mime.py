from __future__ import annotations

import email
import os
import re
import zlib
from email.message import Message
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.mail import mime

CORPUS = Path(os.environ.get("MAILSTACK_CORPUS", Path(__file__).parents[2] / "../shared/corpus"))
ODD = sorted(CORPUS.glob("*/*.eml"))


def with_crlf(data: bytes) -> bytes:
    return re.sub(rb"\r?\n", b"\r\n", data)


def mixed(boundary: bytes, *parts: bytes, kind: bytes = b"mixed") -> bytes:
    head = b'Content-Type: multipart/%b; boundary="%b"\r\n\r\n' % (kind, boundary)
    inside = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
    return head + b"preamble\r\n" + inside + b"--%b--\r\nepilogue\r\n" % boundary


TEXT = b"Content-Type: text/plain\r\n\r\nhello\r\n"


def check(part: mime.Part, start: int, end: int) -> int:
    """Children lie within their parents, one after the other; returns how many parts there are."""
    assert start <= part.header_start <= part.body_start <= part.end <= end
    count, at = 1, part.body_start
    for child in part.children:
        count += check(child, at, part.end)
        at = child.end
    if part.message is not None:
        assert (part.message.header_start, part.message.end) == (part.body_start, part.end)
        count += check(part.message, part.body_start, part.end)
    return count


def test_a_plain_message() -> None:
    data = b"Subject: x\r\n\r\none\r\ntwo\r\n"
    part = mime.scan(data)
    assert (part.type, part.subtype, part.params, part.encoding) == (
        b"text", b"plain", ((b"charset", b"us-ascii"),), b"7bit")  # fmt: skip
    assert data[part.body_start : part.end] == b"one\r\ntwo\r\n"
    assert (part.lines, part.size) == (2, 10)


def test_all_content_fields() -> None:
    part = mime.scan(
        b'Content-TYPE: Image/PNG;\r\n Name="a b.png"\r\ncontent-transfer-encoding : BASE64\r\nContent-ID: <a@b>\r\n'
        b"Content-Description: a\r\n picture\r\nContent-Disposition: Attachment; filename=x.png\r\n"
        b"Content-Language: en, de\r\nContent-Location: http://x/\r\nContent-MD5: abc=\r\n\r\n"
    )
    assert (part.type, part.subtype, part.params) == (b"image", b"png", ((b"name", b"a b.png"),))
    assert (part.encoding, part.id, part.description) == (b"base64", b"<a@b>", b"a picture")
    assert (part.disposition, part.disposition_params) == (b"attachment", ((b"filename", b"x.png"),))
    assert (part.language, part.location, part.md5) == ((b"en", b"de"), b"http://x/", b"abc=")


def test_the_parts_of_a_multipart_end_before_the_delimiters_crlf() -> None:
    data = mixed(b"b", TEXT, b"\r\nno header")
    part = mime.scan(data)
    assert [data[child.body_start : child.end] for child in part.children] == [b"hello\r\n", b"no header"]


def test_boundaries_that_begin_alike() -> None:
    data = mixed(b"b", mixed(b"bb", TEXT, TEXT, kind=b"alternative"), TEXT)
    part = mime.scan(data)
    assert [len(child.children) for child in part.children] == [2, 0]
    data = mixed(b"b", mixed(b"b--c", TEXT, TEXT), TEXT)
    assert [len(child.children) for child in mime.scan(data).children] == [2, 0]


def test_an_outer_delimiter_ends_an_unclosed_inner_multipart() -> None:
    inner = b"Content-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\n\r\none"
    part = mime.scan(mixed(b"out", inner, TEXT))
    assert [len(child.children) for child in part.children] == [1, 0]


def test_padding_after_a_delimiter() -> None:
    part = mime.scan(mixed(b"b", TEXT).replace(b"--b\r\n", b"--b \t \r\n"))
    assert len(part.children) == 1


def test_a_delimiter_may_follow_the_header_at_once() -> None:
    part = mime.scan(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n--b\r\n\r\nx\r\n--b--")
    assert [child.size for child in part.children] == [0, 1]


def test_a_message_in_a_message() -> None:
    data = mixed(b"b", b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nbody\r\n")
    part = mime.scan(data).children[0]
    assert part.message is not None
    assert data[part.message.body_start : part.message.end] == b"body\r\n"
    assert part.lines == 3


def test_a_digest_has_messages() -> None:
    part = mime.scan(mixed(b"b", b"\r\nSubject: in\r\n\r\nbody", kind=b"digest"))
    assert [(child.subtype, child.message is not None) for child in part.children] == [(b"rfc822", True)]


@pytest.mark.parametrize("params", [b"", b"; boundary=", b"; boundary=zz", b"; boundary=" + b"x" * 300])
def test_a_multipart_without_parts_has_its_body_as_text(params: bytes) -> None:
    data = b"Content-Type: multipart/mixed%b\r\n\r\n--b\r\n\r\nhello\r\n" % params
    (child,) = mime.scan(data).children
    assert (child.type, data[child.body_start : child.end]) == (b"text", b"--b\r\n\r\nhello\r\n")


def test_depth_is_bounded() -> None:
    data = b"".join(b"Content-Type: message/rfc822\r\n\r\n" for _ in range(500)) + b"\r\nx"
    part, depth = mime.scan(data), 0
    while part.message is not None:
        part, depth = part.message, depth + 1
    assert depth == mime.MAX_DEPTH
    assert (part.type, part.subtype) == (b"application", b"octet-stream")


def test_the_number_of_parts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mime, "MAX_PARTS", 3)
    data = mixed(b"b", *[TEXT] * 9)
    part = mime.scan(data)
    assert len(part.children) == 3
    assert part.children[-1].end == len(data)


def test_lines_like_delimiters_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mime, "MAX_NEAR_DELIMITERS", 3)
    assert len(mime.scan(mixed(b"b", b"\r\n--bx\r\n--by", TEXT)).children) == 2
    assert len(mime.scan(mixed(b"b", b"\r\n--bx\r\n--by\r\n--bz", TEXT)).children) == 1


@pytest.mark.parametrize("value", [b"", b"text", b"/", b"; charset=x", b"multipart", b"\xff/\xff"])
def test_an_odd_content_type_is_plain_text(value: bytes) -> None:
    part = mime.scan(b"Content-Type: %b\r\n\r\nx" % value)
    assert (part.type, part.subtype) == (b"text", b"plain")


def walk(part: mime.Part) -> list[tuple[bytes, int]]:
    inside = [part.message] if part.message is not None else part.children
    return [(part.type + b"/" + part.subtype, len(inside)), *(pair for child in inside for pair in walk(child))]


def walk_email(message: Message) -> list[tuple[bytes, int]]:
    payload = message.get_payload()
    inside = payload if isinstance(payload, list) else []
    kind = message.get_content_type().encode()
    return [(kind, len(inside)), *(pair for child in inside for pair in walk_email(child))]


LEAF = st.sampled_from(
    [TEXT, b"\r\nbare", b"Content-Type: image/gif\r\n\r\nR0lG\r\n", b"Content-Type: text/html\r\n\r\n"]
)


def nested(children: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    several = st.lists(children, min_size=1, max_size=4)
    multipart = several.map(lambda parts: mixed(b"=_%d" % zlib.crc32(b"".join(parts)), *parts))
    return multipart | children.map(lambda inside: b"Content-Type: message/rfc822\r\n\r\n" + inside)


@given(st.recursive(LEAF, nested, max_leaves=8))
def test_pythons_email_package_sees_the_same_structure(data: bytes) -> None:
    part = mime.scan(data)
    check(part, 0, len(data))
    assert walk(part) == walk_email(email.message_from_bytes(data))


PIECES = (b"Content-Type: ", b"multipart/mixed; boundary=b", b"message/rfc822", b"\r\n", b"\r\n--b", b"--", b" ", b"x",
          b"\r\n\r\n", b"\r", b"\n", b"; ", b'"', b"\xff", b"Content-Disposition:", b"a; filename*0*=b''%")  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=60))
def test_nothing_raises(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    check(mime.scan(data), 0, len(data))


@pytest.mark.skipif(not ODD, reason="the folder of odd messages is not there")
@pytest.mark.parametrize("path", ODD, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_odd_messages(path: Path) -> None:
    data = with_crlf(path.read_bytes())
    assert check(mime.scan(data), 0, len(data)) >= 1
    raw = path.read_bytes()
    check(mime.scan(raw), 0, len(raw))
