"""Whatever is killed: run again, a program makes only what was not saved, and finds the same, bit for bit.

One or two rounds here; ``make test-kills ROUNDS=50`` does as many of every program, with all roles and moments.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from ranks import Ranks

from .kills import PROGRAMS, Kills

ROUNDS = int(os.environ.get("KILLS_ROUNDS", "0"))
SEED = int(os.environ.get("KILLS_SEED", time.time_ns() % 2**32))

pytestmark = [pytest.mark.mpi, pytest.mark.timeout(900 + 60 * ROUNDS)]


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_was_saved_is_never_made_again_and_results_stay_the_same(ranks: Ranks, tmp_path: Path, name: str) -> None:
    kills = Kills(ranks, PROGRAMS[name], tmp_path, SEED)
    if ROUNDS:
        kills.rounds(ROUNDS, starts=True)
    elif name == "grid":
        kills.rounds(2, ("client", "all"))
    else:
        kills.rounds(1, ("all",))
