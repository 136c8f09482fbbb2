"""PIPELINING: commands may come in a batch (RFC 2920). The session answers a batch with one write,
because it writes to the network only when it has nothing left to read."""

from __future__ import annotations

from mailstack.smtp.registry import Extension

PIPELINING = Extension(lambda facts: "PIPELINING")
