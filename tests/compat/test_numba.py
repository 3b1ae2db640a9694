"""Numba has what daskhpc.compat.numba relies on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from daskhpc.compat.numba import compiles, what_is_compiled

PROGRAM = """
import numba
import numpy as np
from daskhpc.journal.tokens import token

@numba.njit
def plain(x): return x * 2
@numba.njit("f8(f8)")
def fixed(x): return x * 2
@numba.njit("f4(f4)")
def narrow(x): return x * 2
@numba.njit(fastmath=True)
def fast(x): return x * 2
@numba.vectorize
def each(x): return x * 2
@numba.vectorize(["f8(f8)"])
def each_fixed(x): return x * 2
@numba.guvectorize("(n)->(n)")
def rows(x, out): out[:] = x
@numba.guvectorize(["void(f8[:], f8[:])"], "(n)->(n)")
def rows_fixed(x, out): out[:] = x
def using(x): return plain(x)

found = [plain, fixed, narrow, fast, each, each_fixed, rows, rows_fixed, using]
before = [token(each).hex() for each in found]
plain(1), plain(1.0), each(1), rows(np.zeros(2), np.zeros(2))
assert [token(each).hex() for each in found] == before
print(*before)
"""


def run(folder: Path, text: str) -> list[str]:
    folder.mkdir()
    (folder / "program.py").write_text(text)
    done = subprocess.run([sys.executable, str(folder / "program.py")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_functions_that_numba_compiles_are_the_same_in_each_process(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    plain = run(tmp_path / "one", PROGRAM)
    assert len(set(plain)) == 9
    assert run(tmp_path / "moved", "\n\n" + PROGRAM) == plain
    changed = run(tmp_path / "changed", PROGRAM.replace("x * 2", "x * 3"))
    assert [a == b for a, b in zip(plain, changed, strict=True)] == [*[False] * 6, True, True, False]


def test_what_is_compiled() -> None:
    numba = pytest.importorskip("numba")
    function = numba.njit("f8(f8)")(abs_of)
    assert compiles(type(function))
    assert not compiles(type(abs_of))
    found = what_is_compiled(function)
    assert (found["py_func"], found["sigs"]) == (abs_of, ["(float64,) -> float64"])
    assert "uuid" not in found


def abs_of(x: float) -> float:
    return abs(x)
