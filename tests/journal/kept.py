"""Journals for tests: numbered keys, and results that say which one they are."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from daskhpc.journal.journal import Journal

SECONDS = 120.0
"""The deadline of every wait."""


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:32]


def append(journal: Journal, numbers: Iterable[int]) -> None:
    for number in numbers:
        journal.append(key(number), True, {"number": number}, 0.5, "host", {"candidate": number})


def fill(folder: Path, numbers: Iterable[int]) -> None:
    with Journal.open(folder, "search") as journal:
        append(journal, numbers)
        assert journal.sync(SECONDS)


def found(journal: Journal, numbers: Iterable[int]) -> list[int]:
    """Those whose results can be read back."""
    results = {number: journal.get(key(number)) for number in numbers}
    return [number for number, result in results.items() if result is not None and result.value == {"number": number}]


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "segments").glob("*.jsonl"))


def start(program: str, *args: object) -> subprocess.Popen[str]:
    """A program in a process of its own that can import this module."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", program, *map(str, args)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)


def run(program: str, *args: object) -> str:
    """What a program prints that has to succeed."""
    with start(program, *args) as process:
        out, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, out
    return out


@contextlib.contextmanager
def mounted(path: Path, size: str) -> Iterator[None]:
    """Within: a file system of its own, of a size, is at a path; skips the test where that is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nothing may be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True, timeout=SECONDS)


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True, timeout=SECONDS)
