"""The record and the policy of MTA-STS, by their grammar (RFC 8461 §3.1, §3.2)."""

from __future__ import annotations

import pytest

from mailstack.mail.mta_sts import MAX_AGE, BadPolicy, StsMode, StsPolicy, parse_policy, record_id
from mailstack.relay.tls_policy import Policy

GOOD = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n"


@pytest.mark.parametrize(
    ("records", "id_"),
    [
        ([b"v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        ([b"v=STSv1;id=1"], "1"),
        ([b"v=STSv1 ;\tid=1 ; more.of-it=a:b ;"], "1"),
        ([b"v=spf1 -all", b"v=STSv1; id=a"], "a"),
        ([b"v=STSv12; id=b", b"v=STSv1; id=a"], "a"),
        ([b"v=STSv1; id=a", b"v=STSv1; id=a"], ""),
        ([], ""),
        ([b"v=STSv1;"], ""),
        ([b"v=STSv1"], ""),
        ([b"v=stsv1; id=a"], ""),
        ([b" v=STSv1; id=a"], ""),
        ([b"v=STSv1; id=a; id=b"], ""),
        ([b"v=STSv1; id=a-b"], ""),
        ([b"v=STSv1; id=" + b"a" * 33], ""),
        ([b"v=STSv1; id=a; rubbish"], ""),
        ([b"v=STSv1; id=a;;"], ""),
        ([b"v=STSv1; id=\xc3\xa4"], ""),
    ],
)
def test_records(records: list[bytes], id_: str) -> None:
    assert record_id(records) == id_


def test_a_policy_is_read_and_written() -> None:
    policy = parse_policy(GOOD)
    assert policy == StsPolicy(StsMode.ENFORCE, 604800, ("mail.example.com", "*.example.net"))
    assert policy.text.encode() == GOOD
    assert parse_policy(GOOD.replace(b"\r", b"")) == policy == parse_policy(GOOD.rstrip() + b" ")
    assert parse_policy(b"x-more: a b\n" + GOOD + b"mode: none\n\n") == policy, "the first one counts"
    assert policy.id.isalnum() and len(policy.id) <= 32 and parse_policy(GOOD + b"mx: c\n").id != policy.id


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ((b"STSv1", b"STSv2"), "version"),
        ((b"version", b"Version"), "version"),
        ((b"enforce", b"Enforce"), '"mode"'),
        ((b"mode: enforce\r\n", b""), '"mode"'),
        ((b"604800", b"-1"), "max_age"),
        ((b"604800", b"99999999999"), "max_age"),
        ((b"604800", b"1 day"), "max_age"),
        ((b"mx: mail.example.com\r\nmx: *.example.net\r\n", b""), "mx"),
        ((b"*.example.net", b"*"), "line 4"),
        ((b"*.example.net", b"a.*.net"), "line 4"),
        ((b"*.example.net", b"a..net"), "line 4"),
        ((b"mode: enforce", b"mode enforce"), "line 2"),
        ((b"mode: enforce\r\n", b"mode: enforce\r\n\r\n"), "line 3"),
        ((b"enforce", b"enf\0rce"), "line 2"),
        ((b"enforce", b"\xff"), "UTF-8"),
        ((b"mx: *.example.net\r\n", b"".join(b"mx: mx%d.example\n" % n for n in range(200))), "hosts"),
    ],
)
def test_what_is_no_policy(change: tuple[bytes, bytes], why: str) -> None:
    with pytest.raises(BadPolicy, match=why):
        parse_policy(GOOD.replace(*change))


def test_none_needs_no_hosts_and_a_year_is_the_most() -> None:
    assert parse_policy(b"version: STSv1\nmode: none\nmax_age: 9999999999") == StsPolicy(StsMode.NONE, MAX_AGE)
    with pytest.raises(BadPolicy):
        parse_policy(b"")


def test_which_hosts_a_policy_allows() -> None:
    policy = Policy(True, ("mail.example.com", "*.example.net"))
    allowed = [host for host in ("mail.example.com", "a.example.net", "a.b.example.net", "example.net", "x.example.com")
               if policy.allows(host)]  # fmt: skip
    assert allowed == ["mail.example.com", "a.example.net"]
