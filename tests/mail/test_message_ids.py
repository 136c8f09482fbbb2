from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.mail.message_ids import message_ids

GOLDEN = [
    (b"<a@b>", [b"a@b"]),
    (b"<a@b><c@d> \t <e@f>", [b"a@b", b"c@d", b"e@f"]),
    # RFC 5256 §3: quoting makes no difference
    (b'<"01KF8JCEOCBS0045PS"@xxx.yyy.com>', [b"01KF8JCEOCBS0045PS@xxx.yyy.com"]),
    (b"<01KF8JCEOCBS0045PS@xxx.yyy.com>", [b"01KF8JCEOCBS0045PS@xxx.yyy.com"]),
    (b'<"a\\"b"@c>', [b'a"b@c']),
    (b'<"a>b c"@d>', [b"a>b c@d"]),
    (b"< a . b @ c . d >", [b"a.b@c.d"]),
    (b"<a@[1.2.3.4]>", [b"a@[1.2.3.4]"]),
    (b"your message of Monday <a@b> (see <c@d>)", [b"a@b", b"c@d"]),
    (b"<a@b@c>", [b"a@b@c"]),
    (b"", []),
    (b"a@b", []),
    (b"<a>", []),
    (b"<@b>", []),
    (b"<a@>", []),
    (b"<a b@c>", []),
    (b"<a@b", []),
    (b"<a<b@c>", [b"b@c"]),
    (b'<"a@b>', []),
]


@pytest.mark.parametrize(("value", "found"), GOLDEN)
def test_message_ids(value: bytes, found: list[bytes]) -> None:
    assert message_ids(value) == found


@given(st.lists(st.sampled_from([b"<", b">", b'"', b"@", b"a", b" ", b"\\", b"."]), max_size=20).map(b"".join))
def test_what_is_found_has_two_sides(value: bytes) -> None:
    for found in message_ids(value):
        left, at, right = found.rpartition(b"@")
        assert at and right and b" " not in right
