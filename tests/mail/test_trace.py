"""Trace fields: exact octets."""

from __future__ import annotations

import email.utils
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailstack.mail import trace
from mailstack.mail.address import Address
from mailstack.mail.trace import Hop

HOP = Hop("client.example", "192.0.2.1", "mx.example", "ESMTP", "k3f2-1a.1", 1_700_000_000.0)
JOE = Address("joe", "example.com")


def test_received() -> None:
    assert trace.received(HOP) == (
        b"Received: from client.example ([192.0.2.1])\r\n"
        b"\tby mx.example with ESMTP id k3f2-1a.1;\r\n"
        b"\tTue, 14 Nov 2023 22:13:20 +0000\r\n"
    )


def test_received_with_everything() -> None:
    hop = replace(HOP, peer="2001:db8::1", tls="TLSv1.3 TLS_AES_256_GCM_SHA384", protocol="ESMTPSA")
    assert trace.received(hop, JOE) == (
        b"Received: from client.example ([IPv6:2001:db8::1])\r\n"
        b"\t(using TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n"
        b"\tby mx.example with ESMTPSA id k3f2-1a.1\r\n"
        b"\tfor <joe@example.com>;\r\n"
        b"\tTue, 14 Nov 2023 22:13:20 +0000\r\n"
    )


def test_received_from_a_unix_socket() -> None:
    assert trace.received(replace(HOP, peer="")).startswith(b"Received: from client.example\r\n")


@given(st.integers(0, 4_000_000_000))
def test_date_time_is_that_of_the_standard_library(when: int) -> None:
    assert trace.date_time(when + 0.9) == email.utils.formatdate(when).replace("-0000", "+0000")


@pytest.mark.parametrize(
    ("extended", "tls", "login", "smtputf8", "word"),
    [
        (False, False, False, False, "SMTP"),
        (True, False, False, False, "ESMTP"),
        (True, True, False, False, "ESMTPS"),
        (True, False, True, False, "ESMTPA"),
        (True, True, True, False, "ESMTPSA"),
        (True, False, False, True, "UTF8SMTP"),
        (True, True, True, True, "UTF8SMTPSA"),
    ],
)
def test_with_protocol(extended: bool, tls: bool, login: bool, smtputf8: bool, word: str) -> None:
    assert trace.with_protocol(extended=extended, tls=tls, login=login, smtputf8=smtputf8) == word


def test_the_small_ones() -> None:
    assert trace.return_path(None) == b"Return-Path: <>\r\n"
    assert trace.return_path(Address("j o", "example.com")) == b'Return-Path: <"j o"@example.com>\r\n'
    assert trace.delivered_to(Address("jö", "example.com")) == "Delivered-To: jö@example.com\r\n".encode()
    assert trace.date(0) == b"Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n"
    assert trace.message_id("k-1.1", 12.5, "mx.example") == b"Message-ID: <12.k-1.1@mx.example>\r\n"
