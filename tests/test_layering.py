"""Arrows point down: no module imports one that stands above it."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mailstack"

LAYERS: tuple[tuple[str, frozenset[str]], ...] = (
    (
        "values",
        frozenset({"mailstack", "mailstack.errors", "mailstack.mail", "mailstack.mailboxes", "mailstack.quota",
                   "mailstack.surroundings", "mailstack.handover", "mailstack.names", "mailstack.acl",
                   "mailstack.journeys", "mailstack.arrivals", "mailstack.access", "mailstack.rates",
                   "mailstack.retention", "mailstack.config.sections", "mailstack.config.policy",
                   "mailstack.config.returns", "mailstack.config.outgoing",
                   "mailstack.config.observing", "mailstack.config.publishing", "mailstack.config.acme"}),
    ),
    (
        "wire",
        frozenset({"mailstack.ports", "mailstack.smtp.wire", "mailstack.imap.wire", "mailstack.pop3.wire",
                   "mailstack.auth.sasl", "mailstack.auth.saslprep", "mailstack.auth.scram", "mailstack.auth.bearer",
                   "mailstack.auth.mechanisms", "mailstack.auth.client"}),
    ),
    ("sessions", frozenset({"mailstack.smtp", "mailstack.imap", "mailstack.pop3", "mailstack.auth.login"})),
    (
        "resources",
        frozenset({"mailstack.store", "mailstack.queue", "mailstack.auth", "mailstack.observe",
                   "mailstack.config", "mailstack.dns"}),
    ),
    (
        "services",
        frozenset({"mailstack.net", "mailstack.relay", "mailstack.acme", "mailstack.web", "mailstack.smtp.service",
                   "mailstack.imap.service", "mailstack.pop3.service", "mailstack.faults",
                   "mailstack.transcripts"}),
    ),
    ("app", frozenset({"mailstack.app", "mailstack.web", "mailstack.testing", "mailstack.tour", "mailstack.load",
                      "mailstack.transfer", "mailstack.pytest_plugin"})),
    ("cli", frozenset({"mailstack.cli", "mailstack.__main__"})),
)  # fmt: skip

NO_TWISTED = ("mailstack.mail", "mailstack.smtp", "mailstack.imap", "mailstack.pop3", "mailstack.errors",
              "mailstack.ports", "mailstack.names", "mailstack.auth.sasl", "mailstack.auth.scram",
              "mailstack.auth.bearer", "mailstack.auth.mechanisms", "mailstack.auth.client",
              "mailstack.auth.login")  # fmt: skip
PURE = ("os", "socket", "threading", "pathlib", "time", "asyncio", "select", "subprocess", "tempfile", "random")
"""What wire code must not import: files, clocks, chance, threads."""


def module_name(path: Path) -> str:
    parts = ("mailstack", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> int:
    """The layer whose longest prefix names the module."""
    best, found = -1, None
    for number, (_, names) in enumerate(LAYERS):
        for name in names:
            covers = module == name or module.startswith(name + ".")
            if covers and (name != "mailstack" or module == name) and len(name) > best:
                best, found = len(name), number
    assert found is not None, f"{module} has no layer: put it into LAYERS"
    return found


@functools.cache
def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                dotted = f"{node.module}.{alias.name}"
                is_module = (PACKAGE.parent / Path(*dotted.split("."))).with_suffix(".py").exists()
                found.add(dotted if is_module else node.module)
    return found


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_arrows_point_down(path: Path) -> None:
    module = module_name(path)
    mine = layer_of(module)
    for name in imports(path):
        if name.split(".")[0] == "mailstack" and name != "mailstack":
            assert layer_of(name) <= mine, f"{module} ({LAYERS[mine][0]}) imports {name}, which stands above it"


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_sessions_and_wire_are_free_of_io(path: Path) -> None:
    module = module_name(path)
    if layer_of(module) >= 4:
        return
    names = {name.split(".")[0] for name in imports(path)}
    if module.startswith(NO_TWISTED):
        assert "twisted" not in names, f"{module} must not know Twisted"
    if layer_of(module) == 1 and module != "mailstack.ports":
        assert not names & set(PURE), f"{module} is wire code: bytes in, values out"
