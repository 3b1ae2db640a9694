"""What daskhpc needs of Dask's collections beyond their public names."""

from __future__ import annotations

import importlib
import random

_DRAWING = ("dask.sizeof", "distributed.comm.core", "distributed.utils_comm")


def isolate_dask_rng() -> None:
    """Let Dask's own threads draw from a generator other than Python's global one.

    Dask draws from ``random`` at any moment: to sample a container's size, to wait between tries of a connection. A fit
    beside it that is watched for draws would seem to draw itself. With a release that draws elsewhere, fits seem to
    draw now and then, and are made again rather than shared.
    """
    for name in _DRAWING:
        module = importlib.import_module(name)
        if vars(module).get("random") is random:
            vars(module)["random"] = random.Random()
