"""Passwords: made, read and asked for."""

from __future__ import annotations

import secrets
import sys

import click

PASSWORD_OCTETS = 15
"""Random octets of a generated password: 120 bits, 20 characters."""


def standard_input_line() -> str:
    """The first line of standard input; "" if there is none."""
    octets = sys.stdin.buffer.readline() if sys.stdin is not None else b""
    try:
        return octets.rstrip(b"\r\n").decode()
    except UnicodeDecodeError:
        raise click.ClickException("standard input is not UTF-8") from None


def ask_password(instead: str, *, confirm: bool = False) -> str:
    """Ask on the terminal. Raises: click.UsageError where there is none; `instead` says what to use."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError(f"no terminal to ask for the password: use {instead}")
    answer: str = click.prompt("Password", hide_input=True, confirmation_prompt=confirm, err=True)
    return answer


def generated_password() -> str:
    """A password that nobody guesses."""
    return secrets.token_urlsafe(PASSWORD_OCTETS)
