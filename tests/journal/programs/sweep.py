"""100 draws without a seed."""

import os

from scipy.stats import uniform
from slow import on_ranks, work, write

import daskhpc


def called(number: float) -> dict[str, float]:
    return {"twice": 2 * number, "score": work(number)}


on_ranks()
table = daskhpc.sweep(called, {"number": uniform(0, 100)}, n=100, checkpoint=os.environ["KILLS_JOURNAL"])
write({name: table[name].to_numpy() for name in table if name not in ("seconds", "host")})
