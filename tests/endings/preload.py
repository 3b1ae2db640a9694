"""A Dask preload: a worker process meets its end while it starts."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any


def dask_setup(worker: Any) -> None:
    """Called by Dask in the worker process."""
    try:
        Path("once").touch(exist_ok=False)
    except FileExistsError:
        return
    cause = os.environ["ENDING"].split(";")[0]
    os.kill(os.getpid(), getattr(signal, cause))
