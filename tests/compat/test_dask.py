"""What daskhpc needs of Dask's collections beyond their public names is still there."""

from __future__ import annotations

import subprocess
import sys

DRAWS = """
import random
from daskhpc.compat.dask import isolate_dask_rng
from dask.sizeof import sizeof
isolate_dask_rng()
before = random.getstate()
sizeof([object() for _ in range(100_000)])
sizeof({i: str(i) for i in range(100_000)})
assert random.getstate() == before
import dask.sizeof, distributed.comm.core, distributed.utils_comm
assert all(isinstance(m.random, random.Random) for m in (dask.sizeof, distributed.comm.core, distributed.utils_comm))
"""


def test_dask_draws_from_a_generator_of_its_own() -> None:
    """If this fails, see which modules of Dask draw from Python's global generator in threads of their own."""
    result = subprocess.run([sys.executable, "-c", DRAWS], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
