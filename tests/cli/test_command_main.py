"""What all commands have in common: help, mistakes, exit statuses, and that help is fast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from command_line import PROGRAM, command, environment, invoke
from server_process import REPOSITORY

from mailstack.cli import main
from mailstack.cli.main import cli


def every_command() -> Iterator[tuple[str, click.Command]]:
    """All of them by their words, those below others included."""
    context = click.Context(cli)
    for name in cli.list_commands(context):
        found = cli.get_command(context, name)
        assert found is not None
        yield from below(name, found)


def below(words: str, found: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield words, found
    if isinstance(found, click.Group):
        for name, inner in found.commands.items():
            yield from below(f"{words} {name}", inner)


COMMANDS = dict(every_command())


@pytest.mark.parametrize("words", COMMANDS)
def test_every_help_has_examples(words: str) -> None:
    result = invoke(*words.split(), "--help")
    assert result.exit_code == 0
    examples = result.stdout.partition("Examples:")[2]
    assert f"mailstack {words.split()[0]}" in examples
    assert "..." not in result.stdout.partition("Commands:")[2].partition("Examples:")[0], "a purpose is cut off"


@pytest.mark.parametrize("words", [name for name, found in COMMANDS.items() if not isinstance(found, click.Group)])
def test_every_option_says_what_it_is_for(words: str) -> None:
    for parameter in COMMANDS[words].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{words} {parameter.opts}"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("quickstrat", "'quickstart'"),
        ("accounts", "'account'"),
        ("start", "'serve'"),
        ("user add", "'account'"),
        ("account delete", "'remove'"),
        ("account lst", "'list'"),
        ("alias create", "'add'"),
        ("config validate", "'check'"),
        ("config zzz", "There are check, show."),
    ],
)
def test_a_wrong_command_says_what_was_meant(words: str, meant: str) -> None:
    result = invoke(*words.split())
    assert result.exit_code == 2
    assert meant in result.stderr


@pytest.mark.parametrize("words", ["dev --prots 0", "account list --jsn", "tour --no-colour"])
def test_a_wrong_option_is_wrong_usage(words: str) -> None:
    result = invoke(*words.split())
    assert result.exit_code == 2
    assert "No such option" in result.stderr
    assert f"mailstack {words.split()[0]}" in result.stderr  # whose help to read


def test_no_command_shows_the_help_on_standard_error() -> None:
    ended = command()
    assert ended.status == 2
    assert ended.out == ""
    assert "Commands:" in ended.err


LISTS_MODULES = """
import json, sys
from mailstack.cli.main import run
statuses = [run(["mailstack", *words.split()]) for words in sys.argv[1:]]
print(json.dumps([statuses, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""


def imported_by(*lines: str, **more: str) -> tuple[list[int], set[str]]:
    """Exit statuses of command lines in one interpreter, and the packages that it has imported for them."""
    ended = subprocess.run(
        [sys.executable, "-c", LISTS_MODULES, *lines],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment(**more),
    )  # fmt: skip
    statuses, modules = json.loads(ended.stderr.splitlines()[-1])
    return statuses, set(modules)


def test_help_and_mistakes_do_not_import_twisted() -> None:
    lines = [f"{words} --help" for words in COMMANDS]
    statuses, imported = imported_by("--help", "--version", "quickstrat", "dev --prots 0", *lines)
    assert statuses == [0, 0, 2, 2] + [0] * len(lines)
    assert "click" in imported
    assert not imported & {"twisted", "cryptography", "OpenSSL", "argon2", "cattrs", "prometheus_client"}


def test_accounts_do_not_import_twisted(config: Path) -> None:
    statuses, imported = imported_by(f"account list --config {config}", f"config show --config {config}")
    assert statuses == [0, 0]
    assert not imported & {"twisted", "cryptography", "OpenSSL", "argon2"}


def test_sendmail_imports_little() -> None:
    statuses, imported = imported_by("send --text x --to x@b.test", MAILSTACK_SERVER="127.0.0.1:1")
    assert statuses == [1]
    assert not imported & {"twisted", "cryptography", "OpenSSL", "argon2", "cattrs", "sqlite3"}


def test_the_module_and_the_console_script_are_the_same(tmp_path: Path) -> None:
    script = tmp_path / "mailstack"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom mailstack.cli.main import main\nsys.exit(main())\n")
    script.chmod(0o755)
    for words in (["--help"], ["account", "add"]):
        ended = subprocess.run([script, *words], capture_output=True, text=True, env=environment())
        as_module = command(*words)
        assert (ended.returncode, ended.stdout, ended.stderr) == (as_module.status, as_module.out, as_module.err)


def test_under_the_name_of_sendmail_it_is_sendmail(tmp_path: Path) -> None:
    link = tmp_path / "sendmail"
    link.write_text(f"#!{sys.executable}\nfrom mailstack.cli.main import main\nmain()\n")
    link.chmod(0o755)
    ended = subprocess.run([link, "-t"], input=b"Subject: x\n\n", capture_output=True, env=environment())
    assert ended.returncode == 65
    assert ended.stderr == b"sendmail: no recipients in To, Cc and Bcc\n"


def test_the_version_is_the_package_s() -> None:
    from mailstack import __version__

    assert invoke("--version").stdout == f"mailstack, version {__version__}\n"


def test_a_closed_pipe_is_no_traceback(config: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [*PROGRAM, "config", "show", "--config", config],
        stdout=writing, stderr=subprocess.PIPE, cwd=REPOSITORY, env=environment(),
    )  # fmt: skip
    os.close(writing)
    assert ended.returncode == main.EXIT_FAILED
    assert ended.stderr == b""


def test_a_closed_standard_output_is_no_traceback(config: Path) -> None:
    shell = 'exec "$@" >&-'
    for words in (["account", "list", "--config", str(config)], ["config", "show", "--config", str(config)]):
        ended = subprocess.run(
            ["sh", "-c", shell, "sh", *PROGRAM, *words], stderr=subprocess.PIPE, cwd=REPOSITORY, env=environment()
        )
        assert ended.returncode == 0
        assert ended.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line(config: Path) -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [*PROGRAM, "config", "show", "--config", config],
            stdout=full, stderr=subprocess.PIPE, cwd=REPOSITORY, env=environment(),
        )  # fmt: skip
    assert ended.returncode == main.EXIT_FAILED
    assert ended.stderr == b"Error: No space left on device\n"


def test_interrupting_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*words: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mailstack.cli.config.read_config", interrupted)
    assert main.run(["mailstack", "config", "check"]) == main.EXIT_INTERRUPTED
    assert capsys.readouterr().err.strip() == "Aborted!"
