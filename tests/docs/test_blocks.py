"""Every Python block of the pages runs, in the order of the page, and prints the text block that follows it.

The pages run in one process of their own, as this file's program: they start MPI and set environment variables.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import joblib
import pytest
from distributed import Client
from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser, SkipParser

import daskhpc

ROOT = Path(__file__).parents[2]
PAGES = [page for page in ROOT.glob("docs/**/*.md") if not {"generated", "_build"} & set(page.parts)]
WITH_BLOCKS = sorted(page for page in (*PAGES, ROOT / "README.md") if "```python" in page.read_text())
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
OUTPUT = re.compile(r"\s*```text\n(.*?)```", re.DOTALL)


def run(example: Example) -> str | None:
    """Run a block as a part of the program that the page is; Sybil takes what this returns for a failure."""
    printed = io.StringIO()
    source = "\n" * example.line + example.parsed
    with contextlib.redirect_stdout(printed):
        exec(compile(source, example.path, "exec", dont_inherit=True), example.namespace)
    expected = OUTPUT.match(example.document.text, example.region.end)
    if expected is None or doctest.OutputChecker().check_output(expected[1], printed.getvalue(), OPTIONS):
        return None
    return f"expected:\n{expected[1]}\nprinted:\n{printed.getvalue()}"


PARSER = Sybil(parsers=[CodeBlockParser("python", run), SkipParser()])


def failures_of(page: Path) -> str:
    """What is wrong with the blocks of a page: empty if nothing is."""
    document = PARSER.parse(page)
    document.namespace["__name__"] = "__main__"
    failures = []
    for example in document.examples():
        try:
            example.evaluate()
        except Exception as error:
            failures.append(f"{page.relative_to(ROOT)}:{example.line}: {type(error).__name__}: {error}"[:1500])
    for value in document.namespace.values():
        if isinstance(value, Client) and value is not daskhpc.start():
            value.close()
    return "\n\n".join(failures)


def main() -> None:
    """Run all pages on one cluster, which every `daskhpc.start()` of the pages finds; print the failures as JSON."""
    failures = {}
    with tempfile.TemporaryDirectory() as started, contextlib.chdir(started):  # so that no worker writes into the clone
        client = daskhpc.start(workers=2, nthreads=1, dashboard=False)
        with joblib.parallel_config(backend="daskhpc"):  # as under `daskhpc run`
            for page in WITH_BLOCKS:
                with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
                    failures[str(page)] = failures_of(page)
        client.shutdown()
    print(json.dumps(failures))


@pytest.fixture(scope="module")
def failures() -> dict[str, str]:
    """The failures of each page."""
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, timeout=1100, env=os.environ)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of(page: Path, failures: dict[str, str]) -> None:
    assert not failures[str(page)], failures[str(page)]


if __name__ == "__main__":
    main()
