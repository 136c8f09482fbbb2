"""Coverage-guided fuzzing of the targets in tests/fuzz/fuzz_targets.py, each in a process of its own.

What is found is kept in tests/fuzz/findings/<target>/, and stays there as a test once it is mended."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
FINDINGS = TESTS / "fuzz" / "findings"
MAX_INPUT = 16 * 1024
"""Octets of one input."""
SLOWEST = 10
"""Seconds that one input may take before it is a finding."""
MEMORY = 1024
"""MiB of a process above which its input is a finding."""
CHILD = "MAILSTACK_FUZZ_TARGET"


def seeds(folder: Path, target: str) -> None:
    """What clients say in the transcripts of the target's protocol, and the corpus's messages if it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    if target == "message":
        found = [path.read_bytes()[:MAX_INPUT] for path in sorted((ROOT.parent / "shared" / "corpus").rglob("*.eml"))]
    elif target == "proxy_header":
        version_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(range(12))
        found = [b"PROXY TCP4 192.0.2.1 192.0.2.2 1024 25\r\nEHLO", b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", version_2]
    else:
        scripts = (TESTS / "scripts" / target.split("_")[0]).glob("*.txt")
        found = [
            b"\r\n".join(line[3:] for line in path.read_bytes().splitlines() if line.startswith(b"C: ")) + b"\r\n"
            for path in sorted(scripts)
        ]
    for number, octets in enumerate(found):
        (folder / f"seed-{number}").write_bytes(octets)


def dictionary(path: Path, target: str) -> None:
    """Words that the target's protocol knows."""
    words: set[bytes] = set()
    for script in (TESTS / "scripts").rglob("*.txt"):
        for line in script.read_bytes().splitlines():
            if line.startswith(b"C: "):
                words.update(word for word in line[3:].split() if word.isalnum() and word.isascii())
    words |= {rb"\x0d\x0a", rb"\xff\xff", rb"{3}\x0d\x0a", rb"{3+}\x0d\x0a", b"(", b")"}
    path.write_bytes(b"".join(b'"%b"\n' % word for word in sorted(words)))


def fuzz(target: str, seconds: int, corpus: Path) -> bool:
    """Whether nothing was found."""
    seeds(corpus / target, target)
    dictionary(corpus / f"{target}.dict", target)
    findings = FINDINGS / target
    findings.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}", f"-max_len={MAX_INPUT}", f"-timeout={SLOWEST}", f"-rss_limit_mb={MEMORY}",
        f"-dict={corpus / (target + '.dict')}", f"-artifact_prefix={findings}/", "-print_final_stats=1",
        "-verbosity=0",
    ]  # fmt: skip
    command = [sys.executable, __file__, *options, str(corpus / target)]
    before = set(findings.iterdir())
    code = subprocess.run(command, env={**os.environ, CHILD: target}, check=False).returncode
    new = sorted(set(findings.iterdir()) - before)
    if not before and not new:
        findings.rmdir()
    if code and not new:
        sys.exit(f"{target}: the fuzzer could not run, see above")
    print(f"{target}: {f'FOUND {new[0]}' if new else 'nothing found'} in {seconds} s", flush=True)
    return not new


def child(target: str) -> None:
    """Run one target until the time is over or something is found."""
    import atheris

    sys.path[:0] = [str(ROOT), str(TESTS), str(TESTS / "fuzz")]
    with atheris.instrument_imports(include=["mailstack"]):
        from fuzz_targets import TARGETS

    run: Callable[[bytes], None] = TARGETS[target]
    atheris.Setup(sys.argv, run)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", help="which ones (default: all, one after the other)")
    parser.add_argument("--seconds", type=int, default=600, help="for each target (default: %(default)s)")
    parser.add_argument("--corpus", type=Path, help="a directory to go on from (default: a new one)")
    arguments = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(TESTS), str(TESTS / "fuzz")]
    from fuzz_targets import TARGETS

    unknown = set(arguments.target) - TARGETS.keys()
    if unknown:
        parser.error(f"there is no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    with tempfile.TemporaryDirectory(prefix="mailstack-fuzz-") as made:
        corpus = arguments.corpus or Path(made)
        clean = [fuzz(target, arguments.seconds, corpus) for target in arguments.target or TARGETS]
    return 0 if all(clean) else 1


if __name__ == "__main__":
    if CHILD in os.environ:
        child(os.environ[CHILD])
    else:
        sys.exit(main())
